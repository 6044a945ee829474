//! Dual averaging: a step size that reaches an acceptance during a warm-up and is kept afterwards.

/// How strongly step sizes are drawn to their start: γ.
const SHRINKAGE: f64 = 0.05;
/// Steps by which the first ones count less: t₀.
const OFFSET: f64 = 10.0;
/// Weight of step m in the average is m^−κ: the early ones are forgotten.
const FORGETTING: f64 = 0.75;

/// Numbers of one state where it is stored.
pub(super) const WIDTH: usize = 4;

/// Nesterov's dual averaging of log step sizes with the constants of Hoffman, Gelman 2014 (section 3.2, algorithm 5):
/// steps are taken at an iterate that moves fast, what is kept is a weighted average of all.
///
/// Unlike there, iterates are drawn to the size that the warm-up begins with, not to ten times that: here it is configured
/// or was learnt in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DualAveraging {
    /// Logarithm of the first step size: μ.
    start: f64,
    /// Mean shortfall of the acceptance: H̄.
    shortfall: f64,
    /// Averaged logarithm of the step size.
    average: f64,
    /// Steps so far.
    count: f64,
}

impl DualAveraging {
    /// At the step size `h`, before the first step.
    pub(super) fn new(h: f64) -> Self {
        DualAveraging { start: h.ln(), shortfall: 0.0, average: h.ln(), count: 0.0 }
    }

    /// The next step size, after a step of acceptance `target − shortfall`.
    pub(super) fn update(&mut self, shortfall: f64, (low, high): (f64, f64)) -> f64 {
        self.count += 1.0;
        let new = 1.0 / (self.count + OFFSET);
        self.shortfall += new * (shortfall - self.shortfall);
        let log = self.start - self.count.sqrt() / SHRINKAGE * self.shortfall;
        let log = log.clamp(low.ln(), high.ln());
        self.average += self.count.powf(-FORGETTING) * (log - self.average);
        log.exp()
    }

    /// The step size to keep.
    pub(super) fn averaged(&self) -> f64 {
        self.average.exp()
    }

    /// As numbers.
    pub(super) fn numbers(self) -> [f64; WIDTH] {
        [self.start, self.shortfall, self.average, self.count]
    }

    /// From [`WIDTH`] numbers, as [`Self::numbers`] gives them.
    pub(super) fn from_numbers(n: &[f64]) -> Option<Self> {
        let [start, shortfall, average, count] = *n else { return None };
        Some(DualAveraging { start, shortfall, average, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acceptance falls with the step size as exp(−h): the size that accepts 0.6 is −ln 0.6, from a start 1000 times too small
    /// or too large.
    #[test]
    fn the_average_is_where_the_acceptance_is_met() {
        for start in [5e-4, 500.0] {
            let mut state = DualAveraging::new(start);
            let mut h = start;
            for _ in 0..1000 {
                h = state.update(0.6 - (-h).exp(), (1e-9, 1e9));
            }
            // Without noise the iterate itself converges; the average forgets the first steps as 1000^(κ − 1).
            assert!((state.averaged() / -(0.6f64.ln()) - 1.0).abs() < 0.05, "{}", state.averaged());
            assert_eq!(DualAveraging::from_numbers(&state.numbers()), Some(state));
        }
        assert_eq!(DualAveraging::from_numbers(&[1.0]), None);
    }

    #[test]
    fn limits_hold_iterates_and_average() {
        let mut state = DualAveraging::new(1.0);
        for _ in 0..100 {
            assert!(state.update(-0.4, (0.1, 2.0)) <= 2.0 + 1e-12);
        }
        assert!(state.averaged() <= 2.0 + 1e-12);
    }
}
