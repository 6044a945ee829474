//! What a run's settings and data say, without which its numbers cannot be read.

/// What is known of a run besides its reports; what is not known is absent, and rules that need it are silent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Samples in a step; a spread of one says nothing.
    pub batch: Option<usize>,
    /// Trainable parameters.
    pub trainable: Option<usize>,
    /// The box that holds the chains.
    pub clamp: Option<(f64, f64)>,
    /// Least and greatest value of the data.
    pub data: Option<(f64, f64)>,
    /// Share of the data's values at the ends of `clamp`.
    pub data_at_ends: Option<f64>,
    /// Factor of the gradient in a step of a chain.
    pub step_size: Option<f64>,
    /// Standard deviation of the noise of such a step.
    pub noise: Option<f64>,
}

impl Facts {
    /// Middle and half width of the data's range; a range of no width has the half width 1.
    pub fn middle_and_half(&self) -> Option<(f64, f64)> {
        let (low, high) = self.data?;
        let half = (high - low) / 2.0;
        Some((low + half, if half > 0.0 { half } else { 1.0 }))
    }
}
