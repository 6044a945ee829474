//! Noise levels of data: their law, and the weights of their losses.

use ebm_core::bounds::clamped;
use ebm_core::candle::Tensor;
use ebm_core::{Batch, BuildCx, Key, Result, Settings, centre_and_spread};

/// Levels σ whose logarithm is normal.
#[derive(Clone, Debug, Settings)]
pub struct NoiseLevelsSettings {
    /// Mean of log σ, in units of the data.
    #[setting(default = -1.5)]
    pub mean: f64,
    /// Deviation of log σ.
    #[setting(default = 1.4, at_least = 0.0)]
    pub deviation: f64,
    /// Least and largest level; what is drawn beyond is put there.
    #[setting(default = [0.01, 40.0], above = 0.0)]
    pub range: [f64; 2],
    /// Deviation d of the data a value, of the weights `(σ² + d²)/d²`; absent: that of the training data.
    #[setting(above = 0.0)]
    pub spread: Option<f64>,
}

/// Levels σ whose logarithm is normal, for data of deviation `spread`.
#[derive(Clone, Debug)]
pub struct NoiseLevels {
    mean: f64,
    deviation: f64,
    range: (f64, f64),
    spread: f64,
}

impl NoiseLevelsSettings {
    /// The levels for the data of `cx`.
    ///
    /// # Errors
    /// If the range does not rise, or there are no data whose deviation is asked for.
    pub(crate) fn levels(&self, cx: &BuildCx) -> Result<NoiseLevels> {
        let Some(range) = cx.interval("range", Some(self.range))? else {
            return Err(cx.refuse("range", "is missing"));
        };
        let known = match (self.spread, cx.data()) {
            (Some(spread), _) => Some(spread),
            (None, Some(data)) => centre_and_spread(data.as_ref())?.map(|(_, spread)| spread),
            (None, None) => None,
        };
        let Some(spread) = known else {
            return Err(cx.refuse("spread", "is missing, and there are no data whose deviation it could be"));
        };
        Ok(NoiseLevels::log_normal(self.mean, self.deviation, range, spread))
    }
}

impl NoiseLevels {
    /// Logarithms of mean `mean` and deviation `deviation`, levels within `range`, for data of deviation `spread` a value.
    pub fn log_normal(mean: f64, deviation: f64, range: (f64, f64), spread: f64) -> Self {
        NoiseLevels { mean, deviation, range, spread }
    }

    /// A level for each row, `(B,)`.
    pub(crate) fn draw(&self, data: &Batch, key: Key) -> Result<Tensor> {
        let n = key.normal(&data.chains, &[1], data.dtype(), data.device())?.squeeze(1)?;
        Ok(clamped(&n.affine(self.deviation, self.mean)?.exp()?, self.range.0, self.range.1)?)
    }

    /// `(σ² + d²)/d²`, `(B,)`: with it every level has a loss of about 1 at first, and one gradient does not drown the others.
    pub(crate) fn weight(&self, sigma: &Tensor) -> Result<Tensor> {
        Ok(sigma.sqr()?.affine(1.0 / (self.spread * self.spread), 1.0)?)
    }
}
