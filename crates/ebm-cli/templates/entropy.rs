//! `spread`: how far samples are from the middle of earlier samples.

use ebm_core::candle::Tensor;
use ebm_core::{
    BuildCx, EntropyConfig, EntropyEstimate, EntropyEstimator, Key, Result, Settings, per_row, plugin,
};

/// Log distance to the mean of earlier samples: log ‖x_b − m‖, which rises with the samples' spread.
#[derive(Clone, Debug, Settings)]
pub struct Spread {}

impl EntropyEstimator for Spread {
    fn estimate(&self, x: &Tensor, bank: &Tensor, _: Key) -> Result<EntropyEstimate> {
        let off = x.broadcast_sub(&bank.mean_keepdim(0)?)?;
        // Far above rounding, far below any distance that matters: a sample on the mean has a finite gradient.
        let square = off.flatten_from(1)?.sqr()?.sum(1)?.affine(1.0, 1e-12)?;
        let value = square.log()?.affine(0.5, 0.0)?;
        // ∇ of the mean over the batch: (x − m) / (B ‖x − m‖²).
        let grad = off.broadcast_div(&per_row(&square, x)?)?.affine(1.0 / x.dim(0)? as f64, 0.0)?;
        Ok(EntropyEstimate { value, grad })
    }
    fn name(&self) -> String {
        "spread".into()
    }
}

#[plugin("spread", source = "this example", example = "")]
impl EntropyConfig for Spread {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn EntropyEstimator>> {
        Ok(Box::new(self.clone()))
    }
}
