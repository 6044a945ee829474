//! What a step must provide for an objective, said before the run.

/// What a step must provide for an objective; checked before the run.
///
/// ```
/// use ebm_core::Needs;
/// let needs = Needs::none().with_trail(2, Some(8)).join(Needs::none().with_trail(1, None).with_labels());
/// assert!(needs.samples && needs.exact && needs.labels);
/// assert_eq!((needs.trail, needs.trail_rows), (2, None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// Samples from the model (the sampler runs).
    pub samples: bool,
    /// Number of the last links of the sampler; `usize::MAX` for all, however many there are.
    pub trail: usize,
    /// Through how many rows the trail is needed; `None` for all.
    pub trail_rows: Option<usize>,
    /// Size of the reference set for the entropy, drawn from the replay buffer; 0 for none.
    pub bank: usize,
    /// The buffer must hold *more* than this many samples before the bank is drawn.
    pub bank_above: usize,
    /// Whether the tangent calls of the energy must be exact.
    pub exact: bool,
    /// Whether data must have labels that the energy takes as its condition.
    pub labels: bool,
    /// Whether samples must be of a discrete domain.
    pub discrete: bool,
    /// Whether the objective names the energy and the starts of the chains: see [`Objective::chains`].
    ///
    /// [`Objective::chains`]: crate::Objective::chains
    pub own_chains: bool,
}

impl Needs {
    /// Data alone.
    pub fn none() -> Self {
        Needs::default()
    }

    /// The same with samples from the model.
    #[must_use]
    pub fn with_samples(mut self) -> Self {
        self.samples = true;
        self
    }

    /// The same with exact tangent calls.
    #[must_use]
    pub fn with_exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// The same with samples, and how the first `rows` of them (`None`: all) depend on the parameters through the last
    /// `links` steps of the sampler (`usize::MAX`: all steps).
    #[must_use]
    pub fn with_trail(mut self, links: usize, rows: Option<usize>) -> Self {
        (self.trail, self.trail_rows) = (links, rows);
        self.with_samples().with_exact()
    }

    /// The same with `size` reference samples, once the replay buffer holds more than `above`.
    #[must_use]
    pub fn with_bank(mut self, size: usize, above: usize) -> Self {
        (self.bank, self.bank_above) = (size, above);
        self
    }

    /// The same with labels that the energy takes.
    #[must_use]
    pub fn with_labels(mut self) -> Self {
        self.labels = true;
        self
    }

    /// The same on samples of a discrete domain.
    #[must_use]
    pub fn with_discrete(mut self) -> Self {
        self.discrete = true;
        self
    }

    /// The same with samples of chains whose energy and starts the objective names.
    #[must_use]
    pub fn with_own_chains(mut self) -> Self {
        self.own_chains = true;
        self.with_samples()
    }

    /// What serves both. Each may get more than it asked for (a longer trail, more rows, a larger bank, and one drawn
    /// earlier: [`StepInput::held`] tells) and takes its own part of it.
    ///
    /// [`StepInput::held`]: crate::StepInput::held
    #[must_use]
    pub fn join(self, other: Needs) -> Self {
        let trail_rows = match (self.trail, other.trail) {
            (0, _) => other.trail_rows,
            (_, 0) => self.trail_rows,
            // All rows are more than any number.
            _ => self.trail_rows.zip(other.trail_rows).map(|(a, b)| a.max(b)),
        };
        let bank_above = match (self.bank, other.bank) {
            (0, _) => other.bank_above,
            (_, 0) => self.bank_above,
            _ => self.bank_above.min(other.bank_above),
        };
        Needs {
            samples: self.samples || other.samples,
            trail: self.trail.max(other.trail),
            trail_rows,
            bank: self.bank.max(other.bank),
            bank_above,
            exact: self.exact || other.exact,
            labels: self.labels || other.labels,
            discrete: self.discrete || other.discrete,
            own_chains: self.own_chains || other.own_chains,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_nothing_changes_nothing() {
        let all = Needs::none().with_trail(3, Some(7)).with_bank(50, 900).with_labels();
        assert_eq!(Needs::none().join(all.clone()), all);
        assert_eq!(all.clone().join(Needs::none()), all);
        assert_eq!(all.clone().join(all.clone()), all);
    }

    #[test]
    fn the_longer_trail_the_larger_bank_and_the_earlier_one() {
        let a = Needs::none().with_trail(1, Some(9)).with_bank(10, 500);
        let b = Needs::none().with_trail(4, Some(2)).with_bank(30, 800);
        let both = a.join(b);
        assert_eq!((both.trail, both.trail_rows), (4, Some(9)));
        assert_eq!((both.bank, both.bank_above), (30, 500));
    }
}
