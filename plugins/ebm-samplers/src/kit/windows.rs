//! The windows of a warm-up in which a metric is learnt.

/// Steps at the start in which the chains find the typical set and only step sizes adapt.
const FIRST: usize = 75;
/// Steps of the first window; each that follows is twice as long.
const BASE: usize = 25;
/// Steps at the end in which step sizes adapt to the last metric.
const LAST: usize = 50;
/// A shorter warm-up learns no metric.
const LEAST: usize = 20;

/// Stan's schedule of a warm-up (Carpenter et al. 2017; Reference Manual, "Automatic parameter tuning"): draws are gathered in
/// windows that double in length, and the metric is set at the end of each. In a short warm-up 15 % and 10 % go to its start and its end.
///
/// ```text
/// 1000 steps:  75 | 25 | 50 | 100 | 200 | 500 | 50
/// ```
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Windows {
    /// First step (from 0) of the first window.
    start: usize,
    /// Number of steps when each window ends.
    ends: Vec<usize>,
}

impl Windows {
    /// Those of a warm-up of `total` steps.
    pub(crate) fn of(total: usize) -> Self {
        if total < LEAST {
            return Windows { start: total, ends: Vec::new() };
        }
        let (start, base, rest) = match total < FIRST + BASE + LAST {
            true => {
                let (first, last) = (total * 15 / 100, total / 10);
                (first, total - first - last, last)
            }
            false => (FIRST, BASE, LAST),
        };
        let stop = total - rest;
        let (mut end, mut size) = (start + base, base);
        let mut ends = vec![end];
        while end < stop {
            size *= 2;
            // A window after which the next one would not fit takes its place.
            end = if end + 3 * size <= stop { end + size } else { stop };
            ends.push(end);
        }
        Windows { start, ends }
    }

    /// Whether the draw of step `k` (from 0) is gathered.
    pub(crate) fn gathers(&self, k: usize) -> bool {
        k >= self.start && self.ends.last().is_some_and(|end| k < *end)
    }

    /// Whether a window ends after `steps` steps.
    pub(crate) fn end_at(&self, steps: usize) -> bool {
        self.ends.contains(&steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_steps_have_the_windows_of_stan() {
        assert_eq!(Windows::of(1000), Windows { start: 75, ends: vec![100, 150, 250, 450, 950] });
        assert_eq!(Windows::of(500), Windows { start: 75, ends: vec![100, 150, 250, 450] });
        assert_eq!(Windows::of(151), Windows { start: 75, ends: vec![100, 101] });
        assert_eq!(Windows::of(150), Windows { start: 75, ends: vec![100] });
    }

    #[test]
    fn short_warm_ups_have_one_window_or_none() {
        assert_eq!(Windows::of(100), Windows { start: 15, ends: vec![90] });
        assert_eq!(Windows::of(20), Windows { start: 3, ends: vec![18] });
        let none = Windows::of(19);
        assert!((0..40).all(|k| !none.gathers(k) && !none.end_at(k)));
    }

    #[test]
    fn every_step_of_the_windows_is_gathered_and_no_other() {
        let all = Windows::of(1000);
        let gathered: Vec<usize> = (0..1000).filter(|k| all.gathers(*k)).collect();
        assert_eq!(gathered, (75..950).collect::<Vec<_>>());
        assert!(all.end_at(450) && !all.end_at(449));
    }
}
