//! Bilinear resizing of bytes that agrees with PIL to the last bit.
//!
//! Source: the 8-bit path of Pillow's `ImagingResample` with the bilinear (triangle) filter: the support
//! widens with the factor when shrinking, weights are rounded to 22 bits, the horizontal pass comes
//! first, and bytes are rounded after each pass.

/// Bits behind the point of a weight: 32 − 8 (a byte) − 2 (head room), as Pillow has it.
const PRECISION: u32 = 32 - 8 - 2;

/// Planes `(C, H, W)` resized to `(C, to.0, to.1)`.
///
/// Values stay within the range of the input, so images of fewer than 256 levels stay valid.
/// Returns an empty vector if a size is 0 or `bytes` does not hold whole planes.
///
/// ```
/// use ebm_data::resize::bilinear;
/// assert_eq!(bilinear(&[0, 100, 200, 100], (2, 2), (1, 1)), [100]);
/// ```
pub fn bilinear(bytes: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let (h, w) = from;
    let plane = h.saturating_mul(w);
    if plane == 0 || to.0 == 0 || to.1 == 0 || !bytes.len().is_multiple_of(plane) {
        return Vec::new();
    }
    let rows = bytes.len() / w;
    let wide = if w == to.1 { bytes.to_vec() } else { horizontal(bytes, rows, w, &Taps::new(w, to.1)) };
    if h == to.0 {
        return wide;
    }
    let taps = Taps::new(h, to.0);
    wide.chunks_exact(h * to.1).flat_map(|p| vertical(p, to.1, &taps)).collect()
}

/// The input range and the weights of every output position along one axis.
struct Taps {
    /// `(first input, weights)` of each output.
    of: Vec<(usize, Vec<i32>)>,
}

impl Taps {
    fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let tap = |o: usize| {
            let center = (o as f64 + 0.5) * scale;
            let first = (center - stretch + 0.5).max(0.0) as usize;
            let last = ((center + stretch + 0.5) as usize).min(input);
            let weights: Vec<f64> = (first..last)
                .map(|x| {
                    // In Pillow's order of operations: the division by `stretch` is a product there.
                    let d = ((x as f64 - center + 0.5) * (1.0 / stretch)).abs();
                    if d < 1.0 { 1.0 - d } else { 0.0 }
                })
                .collect();
            let total: f64 = weights.iter().sum();
            let fixed = |w: &f64| {
                let share = if total == 0.0 { *w } else { w / total };
                // Weights of this filter are never negative, so rounding is adding a half.
                (0.5 + share * f64::from(1u32 << PRECISION)) as i32
            };
            (first, weights.iter().map(fixed).collect())
        };
        Self { of: (0..output).map(tap).collect() }
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

fn horizontal(bytes: &[u8], rows: usize, width: usize, taps: &Taps) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows * taps.of.len());
    for row in bytes.chunks_exact(width) {
        out.extend(taps.of.iter().map(|(first, weights)| {
            to_byte(row[*first..].iter().zip(weights).fold(HALF, |s, (&b, w)| s + i32::from(b) * w))
        }));
    }
    out
}

fn vertical(plane: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    let mut out = Vec::with_capacity(taps.of.len() * width);
    let mut sums = vec![0i32; width];
    for (first, weights) in &taps.of {
        sums.fill(HALF);
        for (row, w) in plane.chunks_exact(width).skip(*first).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(s, &b)| *s += i32::from(b) * w);
        }
        out.extend(sums.iter().map(|&s| to_byte(s)));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// `(h, w, out_h, out_w, seed)`
    type Case = (u64, u64, usize, usize, u64);

    fn pattern(h: u64, w: u64, seed: u64) -> Vec<u8> {
        (0..h * w).map(|i| ((i * i * 37 + i * 101 + seed * 59) % 251) as u8).collect()
    }

    /// Results of Pillow 11.3.0 for `pattern(h, w, seed)`:
    ///
    /// ```text
    /// i = np.arange(h*w); a = ((i*i*37 + i*101 + seed*59) % 251).astype(np.uint8).reshape(h, w)
    /// np.array(Image.fromarray(a).resize((out_w, out_h), Image.BILINEAR)).ravel().tolist()
    /// ```
    #[test]
    fn small_results_equal_pillows_to_the_last_bit() {
        let golden: [(Case, &[u8]); 5] = [
            ((5, 7, 3, 4, 1), &[131, 164, 107, 168, 148, 132, 93, 71, 127, 172, 76, 77]),
            (
                (9, 5, 9, 2, 3),
                &[91, 87, 123, 106, 190, 160, 179, 136, 136, 172, 163, 94, 158, 156, 86, 162, 95, 159],
            ),
            ((6, 8, 2, 8, 4), &[138, 106, 148, 108, 235, 91, 116, 88, 163, 106, 90, 149, 125, 143, 79, 120]),
            (
                (13, 11, 5, 5, 5),
                &[
                    107, 130, 120, 108, 116, 139, 140, 121, 108, 98, 142, 142, 143, 86, 105, 107, 167, 144,
                    103, 87, 96, 152, 132, 129, 131,
                ],
            ),
            ((1, 6, 3, 3, 6), &[176, 207, 86, 176, 207, 86, 176, 207, 86]),
        ];
        for ((h, w, oh, ow, seed), expected) in golden {
            let got = bilinear(&pattern(h, w, seed), (h as usize, w as usize), (oh, ow));
            assert_eq!(got, expected, "{h}x{w} to {oh}x{ow}");
        }
        let enlarged = bilinear(&pattern(4, 4, 2), (4, 4), (7, 9));
        assert_eq!(enlarged[..9], [118, 99, 49, 17, 111, 205, 133, 37, 1]);
        assert_eq!(enlarged[54..], [132, 136, 145, 159, 202, 245, 219, 183, 169]);
    }

    /// `zlib.crc32(a.tobytes())` of the same recipe at the sizes that training uses.
    #[test]
    fn checksums_of_larger_results_equal_pillows() {
        for ((h, w, oh, ow, seed), crc) in [
            ((32, 32, 28, 28, 7), 3_254_165_413),
            ((28, 28, 64, 48, 8), 552_990_063),
            ((200, 150, 32, 32, 9), 826_837_214),
        ] {
            let got = bilinear(&pattern(h, w, seed), (h as usize, w as usize), (oh, ow));
            let mut sum = flate2::Crc::new();
            sum.update(&got);
            assert_eq!(sum.sum(), crc, "{h}x{w} to {oh}x{ow}");
        }
    }

    #[test]
    fn planes_do_not_mix_and_bad_sizes_give_nothing() {
        let (a, b) = (pattern(6, 5, 1), pattern(6, 5, 2));
        let both = bilinear(&[a.clone(), b.clone()].concat(), (6, 5), (4, 9));
        assert_eq!(both, [bilinear(&a, (6, 5), (4, 9)), bilinear(&b, (6, 5), (4, 9))].concat());
        assert!(bilinear(&a, (6, 5), (0, 3)).is_empty());
        assert!(bilinear(&a, (7, 5), (1, 1)).is_empty());
        assert!(bilinear(&[], (0, 5), (1, 1)).is_empty());
    }

    proptest! {
        #[test]
        fn the_range_is_kept_and_a_flat_image_stays_flat(
            h in 1u64..12, w in 1u64..12, oh in 1usize..20, ow in 1usize..20, seed in 0u64..9, v in any::<u8>(),
        ) {
            let a = pattern(h, w, seed);
            let from = (h as usize, w as usize);
            let got = bilinear(&a, from, (oh, ow));
            prop_assert_eq!(got.len(), oh * ow);
            prop_assert!(got.iter().max() <= a.iter().max() && got.iter().min() >= a.iter().min());
            prop_assert!(bilinear(&vec![v; a.len()], from, (oh, ow)).iter().all(|&x| x == v));
            prop_assert_eq!(bilinear(&a, from, from), a);
        }
    }
}
