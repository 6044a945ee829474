//! The unadjusted Langevin algorithm: [`Langevin`] with noise matched to the step size.

use ebm_core::{BuildCx, Param, Result, Transition, TransitionConfig, register};
use serde::{Deserialize, Serialize};

use crate::Langevin;
use crate::langevin::range;

/// Settings of `ula`: `x′ = x − h∇E(x) + √(2hT)·ε` (Roberts, Tweedie 1996).
///
/// On a Gaussian of curvature λ its variance is `T/(λ(1 − hλ/2))`: wider than the target, and
/// unstable for `hλ ≥ 2`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UlaConfig {
    /// Step size h.
    pub step_size: f64,
    /// Temperature T of the target `exp(−E/T)`.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Range of the samples after each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamp: Option<[f64; 2]>,
    /// Largest move of one coordinate by the gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub move_limit: Option<f64>,
}

fn one() -> f64 {
    1.0
}

#[typetag::serde(name = "ula")]
impl TransitionConfig for UlaConfig {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let mut step = Langevin::unadjusted(self.step_size, self.temperature);
        if let Some((low, high)) = range("ula.clamp", self.clamp)? {
            step = step.clamped(low, high);
        }
        if let Some(limit) = self.move_limit {
            step = step.limited(limit);
        }
        Ok(Box::new(step))
    }
}

register! {
    TransitionConfig, "ula" => UlaConfig,
    summary: "the unadjusted Langevin algorithm, noise matched to the step size",
    source: "Roberts, Tweedie 1996",
    example: "step_size = 0.0035",
    params: [
        Param::float("step_size", "step size h; stable below 2 / largest curvature").above(0.0),
        Param::float("temperature", "T of the target exp(-E/T)").above(0.0).default("1.0"),
        Param::floats("clamp", "range of the samples after each step").default("none"),
        Param::float("move_limit", "largest move of one coordinate by the gradient").above(0.0).default("none"),
    ],
}
