//! A long noisy line as what is drawn of it: its spikes, and a smooth line in front.

/// Lines of fewer points are not smoothed: each point is seen.
const FEW: usize = 24;
/// The smooth line is a median over one in so many of the parts.
const WINDOWS: usize = 30;

/// A point or a gap.
pub(crate) type Points = Vec<Option<(f64, f64)>>;

/// What is drawn of a line.
pub(crate) struct Condensed {
    /// The least and the greatest of each part, in order: no spike is lost.
    pub raw: Points,
    /// Running median and then mean of the parts' medians; empty where the raw line is smooth or short.
    pub smooth: Points,
}

/// Condenses points in order of `x`, in heights, to so many parts; one that is not finite is a gap. Holds a few numbers a part, and the
/// numbers of one part, whatever their number.
pub(crate) fn condensed(
    points: impl ExactSizeIterator<Item = (f64, Option<f64>)>,
    parts: usize,
) -> Condensed {
    let n = points.len();
    let parts = n.min(parts.max(1));
    let (mut raw, mut middles) = (Vec::new(), Vec::new());
    let mut part: Vec<(f64, f64)> = Vec::new();
    let (mut seen, mut index) = (0, 0);
    for (i, (x, height)) in points.enumerate() {
        if let Some(y) = height.filter(|y| y.is_finite() && x.is_finite()) {
            part.push((x, y));
            seen += 1;
        }
        if i + 1 == (index + 1) * n / parts.max(1) {
            raw.extend(ends(&part));
            middles.push(middle(&mut part));
            part.clear();
            index += 1;
        }
    }
    let smooth = if seen < FEW { Vec::new() } else { smoothed(&middles) };
    Condensed { raw, smooth }
}

/// The least and the greatest point in order of their steps, one if they are the same; a gap of none.
fn ends(part: &[(f64, f64)]) -> Points {
    let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    match (part.iter().min_by(by), part.iter().max_by(by)) {
        (Some(least), Some(most)) if least == most => vec![Some(*least)],
        (Some(least), Some(most)) if least.0 <= most.0 => vec![Some(*least), Some(*most)],
        (Some(least), Some(most)) => vec![Some(*most), Some(*least)],
        _ => vec![None],
    }
}

/// The middle of a part: median of its heights at the middle of its steps.
fn middle(part: &mut [(f64, f64)]) -> Option<(f64, f64)> {
    let x = part.get(part.len() / 2)?.0;
    part.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some((x, part[part.len() / 2].1))
}

/// Running median, then running mean over half as many; windows end at the ends.
fn smoothed(middles: &Points) -> Points {
    let half = (middles.len() / WINDOWS / 2).max(2);
    let running = |from: &Points, half: usize, of: fn(&mut Vec<f64>) -> f64| -> Points {
        let one = |i: usize| {
            let window = i.saturating_sub(half)..(i + half + 1).min(from.len());
            let mut near: Vec<f64> = from[window].iter().flatten().map(|p| p.1).collect();
            from[i].map(|(x, _)| (x, of(&mut near)))
        };
        (0..from.len()).map(one).collect()
    };
    let medians = running(middles, half, |near| {
        near.sort_by(f64::total_cmp);
        near[near.len() / 2]
    });
    // Half of each, as the sum of two large ones may be none.
    running(&medians, half.div_ceil(2), |near| {
        let n = near.len() as f64;
        near.iter().map(|v| v / n).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: usize = 600;

    fn of(values: impl ExactSizeIterator<Item = f64>) -> Condensed {
        condensed(values.enumerate().map(|(i, v)| (i as f64, Some(v))), PARTS)
    }

    #[test]
    fn spikes_stay_in_the_raw_line_and_not_in_the_smooth_one() {
        let spiky = |i: i32| if i == 7_777 { 50.0 } else { f64::from(i % 7) - 3.0 };
        let drawn = of((0..10_000).map(spiky));
        assert!(drawn.raw.len() <= 2 * PARTS && drawn.smooth.len() <= PARTS);
        assert!(drawn.raw.contains(&Some((7_777.0, 50.0))));
        // Medians of a symmetric noise of seven values are its middle, within one value.
        assert!(drawn.smooth.iter().flatten().all(|p| p.1.abs() <= 1.0));
        // Each of few points is a part of its own, and the median over parts has to do it.
        let few = of((0..200).map(|i| if i == 90 { 1e9 } else { 0.5 }));
        assert!(few.smooth.iter().flatten().all(|p| (p.1 - 0.5).abs() < 1e-12));
        let steps: Vec<f64> = drawn.raw.iter().flatten().map(|p| p.0).collect();
        assert!(steps.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn a_rise_is_followed_to_both_ends() {
        let drawn = of((0..3_000).map(f64::from));
        for (x, y) in drawn.smooth.iter().flatten() {
            // At an end the median is that of one half of a window: ten parts of five points, of which it is the middle.
            assert!((x - y).abs() <= 40.0, "{x} {y}");
        }
    }

    #[test]
    fn ten_million_points_few_none_and_gaps() {
        let many = of((0..10_000_000).map(f64::from));
        assert!(many.raw.len() == 2 * PARTS && many.smooth.len() == PARTS);
        assert_eq!(of([].into_iter()).raw.len(), 0);
        let one = of([2.5].into_iter());
        assert_eq!((one.raw, one.smooth.len()), (vec![Some((0.0, 2.5))], 0));
        let gaps = of([1.0, f64::NAN, 3.0, f64::INFINITY].into_iter());
        assert_eq!(gaps.raw, [Some((0.0, 1.0)), None, Some((2.0, 3.0)), None]);
        assert!(of(std::iter::repeat_n(f64::NAN, 1_000)).smooth.is_empty());
    }
}
