//! How steps of a program learn from it: on and on in training, in a warm-up only where chains are measured.

/// What a step may learn (its step size), and how.
///
/// A kernel that goes on learning leaves no law invariant: its chains have a bias that no statistic of them shows. Training
/// can live with it, since its energy moves as well; figures, samples and normalising constants cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learning {
    /// On and on, at the gain that is configured, after an energy that moves: training.
    #[default]
    Follow,
    /// Towards a value that is kept afterwards: the warm-up of a program whose chains are measured.
    WarmUp,
    /// No more: the kernel is fixed at what the warm-up found, or at what was learnt before if there was none.
    Done,
}

impl Learning {
    /// That of step `index` of a program whose first `warm_up` steps are its warm-up; without a number it follows.
    ///
    /// ```
    /// use ebm_core::Learning;
    ///
    /// assert_eq!(Learning::at(3, None), Learning::Follow);
    /// assert_eq!([2, 3].map(|k| Learning::at(k, Some(3))), [Learning::WarmUp, Learning::Done]);
    /// ```
    pub fn at(index: usize, warm_up: Option<usize>) -> Self {
        match warm_up {
            None => Learning::Follow,
            Some(first) if index < first => Learning::WarmUp,
            Some(_) => Learning::Done,
        }
    }
}
