//! The unadjusted Langevin algorithm: [`Langevin`] with noise matched to the step size.

use ebm_core::{BuildCx, Result, Settings, Transition, TransitionConfig, plugin};

use crate::Langevin;

/// Settings of `ula`: `x′ = x − h∇E(x) + √(2hT)·ε` (Roberts, Tweedie 1996).
///
/// On a Gaussian of curvature λ its variance is `T/(λ(1 − hλ/2))`: wider than the target, and
/// unstable for `hλ ≥ 2`.
#[derive(Debug, Clone, Settings)]
pub struct UlaConfig {
    /// Step size h; stable below 2 / largest curvature.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
    /// Range of the samples after each step.
    pub clamp: Option<[f64; 2]>,
    /// Largest move of one coordinate by the gradient.
    #[setting(above = 0.0)]
    pub move_limit: Option<f64>,
}

#[plugin(
    "ula",
    summary = "the unadjusted Langevin algorithm, noise matched to the step size",
    source = "Roberts, Tweedie 1996",
    example = "step_size = 0.0035"
)]
impl TransitionConfig for UlaConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let mut step = Langevin::unadjusted(self.step_size, self.temperature);
        if let Some((low, high)) = cx.interval("clamp", self.clamp)? {
            step = step.clamped(low, high);
        }
        if let Some(limit) = self.move_limit {
            step = step.limited(limit);
        }
        Ok(Box::new(step))
    }
}
