//! Passes over many numbers, beside the reading of files: here they are compiled for speed.

/// Bytes of `levels` grey values as numbers: each the middle of its level in [0, 1].
pub fn middles(bytes: &[u8], levels: u32) -> Vec<f64> {
    let table: [f64; 256] = std::array::from_fn(|b| (b as f64 + 0.5) / f64::from(levels));
    bytes.iter().map(|b| table[usize::from(*b)]).collect()
}

/// Index of the first number that is not finite, in single precision unless `double`.
pub fn first_infinite(values: &[f64], double: bool) -> Option<usize> {
    // Blocks without a way out run in vectors.
    const AT_ONCE: usize = 1024;
    let most = if double { f64::MAX } else { f64::from(f32::MAX) };
    let sound = |v: &f64| if double { v.is_finite() } else { (*v as f32).is_finite() };
    let blocks = values.chunks(AT_ONCE).enumerate();
    // What rounds to an infinity lies beyond `most`, and so may what does not: those are looked at one by one.
    let mut doubtful = blocks.filter(|(_, b)| !b.iter().fold(true, |all, v| all & (v.abs() <= most)));
    doubtful.find_map(|(i, b)| b.iter().position(|v| !sound(v)).map(|at| i * AT_ONCE + at))
}

/// Least and greatest of the numbers, infinities the other way round for none, and how many lie outside of `low..=high`.
pub fn extent(values: &[f64], (low, high): (f64, f64)) -> (f64, f64, usize) {
    // Lanes, so that it is not one chain of comparisons.
    const LANES: usize = 8;
    let (mut least, mut greatest) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    let mut outside = [0u64; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for part in whole {
        for l in 0..LANES {
            let v = part[l];
            least[l] = if v < least[l] { v } else { least[l] };
            greatest[l] = if v > greatest[l] { v } else { greatest[l] };
            outside[l] += u64::from(!((v >= low) & (v <= high)));
        }
    }
    let lanes = (
        least.into_iter().fold(f64::INFINITY, f64::min),
        greatest.into_iter().fold(f64::NEG_INFINITY, f64::max),
    );
    rest.iter().fold((lanes.0, lanes.1, outside.into_iter().sum::<u64>() as usize), |(a, b, n), v| {
        (a.min(*v), b.max(*v), n + usize::from(!(low..=high).contains(v)))
    })
}

/// The numbers in single precision.
pub fn singles(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_in_the_middle_of_their_levels() {
        assert_eq!(middles(&[0, 255], 256), [0.5 / 256.0, 255.5 / 256.0]);
        assert_eq!(middles(&[0, 1], 2), [0.25, 0.75]);
    }

    #[test]
    fn the_first_number_without_end_is_found_in_the_precision_of_its_use() {
        let mut all = vec![1.0; 5000];
        assert_eq!(first_infinite(&all, false), None);
        // Rounds to the greatest f32, and beyond it.
        all[7] = f64::from(f32::MAX) * (1.0 + 1e-9);
        assert_eq!(first_infinite(&all, false), None);
        all[4000] = f64::NAN;
        all[4500] = f64::INFINITY;
        assert_eq!((first_infinite(&all, false), first_infinite(&all, true)), (Some(4000), Some(4000)));
        all[3999] = 1e300;
        assert_eq!((first_infinite(&all, false), first_infinite(&all, true)), (Some(3999), Some(4000)));
    }

    #[test]
    fn extents_count_what_is_outside() {
        assert_eq!(extent(&[0.5, -3.0, 2.0, 7.0], (-1.0, 2.0)), (-3.0, 7.0, 2));
        let many: Vec<f64> = (0..100).map(|i| f64::from(i * 37 % 100)).chain([f64::NAN]).collect();
        assert_eq!(extent(&many, (0.0, 89.0)), (0.0, 99.0, 11));
        assert_eq!(extent(&[], (0.0, 1.0)), (f64::INFINITY, f64::NEG_INFINITY, 0));
    }
}
