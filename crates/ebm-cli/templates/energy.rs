//! `squared-experts`: a zero-mean Gaussian whose precision is learned.

use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Init, Result, Settings, View, plugin};

/// A Gaussian whose precision is learned: E(x) = ½ Σ_j (w_j·x)².
#[derive(Clone, Debug, Settings)]
pub struct SquaredExperts {
    /// Number of directions w_j.
    #[setting(at_least = 1)]
    pub experts: usize,
}

impl Forward for SquaredExperts {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.flatten()?.matmul(p.get("w")?)?.square()?.sum_last()?.scale(0.5)
    }
}

#[plugin("squared-experts", source = "textbook", example = "experts = 4")]
impl EnergyConfig for SquaredExperts {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        cx.param("w", (cx.sample_len(), self.experts), Init::Normal(0.5))?;
        cx.autograd(self.clone(), &["experts"])
    }
}
