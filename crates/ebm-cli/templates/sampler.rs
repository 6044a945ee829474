//! `two-speed`: most steps of one transition, the last ones of another.

use ebm_core::*;

/// Most steps of one transition, the last quarter of another.
#[derive(Debug, Settings)]
pub struct TwoSpeed {
    /// Number of steps.
    #[setting(at_least = 1)]
    steps: usize,
    /// The first three quarters.
    coarse: Box<dyn TransitionConfig>,
    /// The last quarter.
    fine: Box<dyn TransitionConfig>,
}

#[plugin(
    "two-speed",
    source = "this example",
    example = "steps = 8
coarse = { kind = \"langevin\", step_size = 0.1, noise = 0.1 }
fine = { kind = \"langevin\", step_size = 0.1, noise = 0.0 }"
)]
impl SamplerConfig for TwoSpeed {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        let parts = vec![self.coarse.build_at("coarse", cx)?, self.fine.build_at("fine", cx)?];
        Ok(Box::new(Program::new("two-speed", self.steps, parts, |k, of| usize::from(4 * k >= 3 * of))))
    }
}
