//! `squared-experts`: a zero-mean Gaussian whose precision is learned.

use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{
    BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Init, Param, Result, View, register, typetag,
};
use serde::{Deserialize, Serialize};

/// E(x) = ½ Σ_j (w_j·x)²; the precision matrix is Σ_j w_j w_jᵀ.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SquaredExperts {
    /// Number of directions w_j.
    pub experts: usize,
}

struct Net;

impl Forward for Net {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.flatten()?.matmul(p.get("w")?)?.square()?.sum_last()?.scale(0.5)
    }
}

#[typetag::serde(name = "squared-experts")]
impl EnergyConfig for SquaredExperts {
    fn build(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        cx.param("w", (cx.sample_len(), self.experts), Init::Normal(0.5))?;
        cx.autograd(Net, &["experts"])
    }
}

register! {
    EnergyConfig, "squared-experts" => SquaredExperts,
    summary: "a Gaussian whose precision is learned",
    source: "textbook",
    example: "experts = 4",
    params: [Param::int("experts", "number of directions").at_least(1.0)],
}
