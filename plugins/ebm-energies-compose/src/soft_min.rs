//! `soft-min`: the disjunction ("or") of energies.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Param, Result, SoftMin, register};
use serde::{Deserialize, Serialize};

use crate::sum::{PART, PartConfig, build_parts};

/// `E = −(1/β) log Σ exp(−β αₖ Eₖ)`: a mixture of densities for β = 1, their minimum for β → ∞
/// (Du, Li, Mordatch 2020; the published program uses β = 100).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftMinConfig {
    /// β.
    #[serde(default = "one")]
    pub sharpness: f64,
    /// The parts.
    pub parts: Vec<PartConfig>,
}

fn one() -> f64 {
    1.0
}

#[typetag::serde(name = "soft-min")]
impl EnergyConfig for SoftMinConfig {
    fn build(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        Ok(Arc::new(SoftMin::new(build_parts(&self.parts, cx)?, self.sharpness)?))
    }
}

register! {
    EnergyConfig, "soft-min" => SoftMinConfig,
    summary: "soft minimum of energies: any of them",
    source: "Du, Li, Mordatch 2020, section 3",
    example: "sharpness = 1.0\nparts = [{ name = \"a\", energy = { kind = \"mlp\", hidden = [8] } }]",
    params: [
        Param::float("sharpness", "β: 1 is a mixture, large is the minimum").default("1.0").above(0.0),
        Param::tables("parts", PART, "the parts"),
    ],
}
