//! `two-speed`: most steps of one transition, the last ones of another.

use std::sync::Arc;

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

struct Program(usize, Arc<dyn Transition>, Arc<dyn Transition>);

impl Sampler for Program {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let mut state = self.1.init(e, from, key.at("init"))?;
        let (mut trail, mut info) = (Trail::default(), StepInfo::new());
        for k in 0..self.0 {
            let speed = if 4 * k < 3 * self.0 { &self.1 } else { &self.2 };
            let stepped = speed.step(e, &state, key.at(k))?;
            request.probe.on_step(k, &stepped)?;
            trail.push(stepped.link, request.trail);
            (state, info) = (stepped.state, stepped.info);
        }
        Ok(Drawn::new(state, trail, info))
    }
    fn couples_chains(&self) -> bool {
        self.1.couples_chains() || self.2.couples_chains()
    }
    fn sensitivity(&self) -> Sensitivity {
        self.2.sensitivity()
    }
    fn steps(&self) -> usize {
        self.0
    }
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        Box::new(Program(steps, self.1.clone(), self.2.clone()))
    }
    fn name(&self) -> String {
        "two-speed".into()
    }
}

#[plugin(
    "two-speed",
    source = "this example",
    example = "steps = 8
coarse = { kind = \"leaping\", step_size = 0.1, noise = 0.1, leaps = 0.05 }
fine = { kind = \"leaping\", step_size = 0.1, noise = 0.1, leaps = 0.0 }"
)]
impl SamplerConfig for TwoSpeed {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        let (coarse, fine) = (self.coarse.build_at("coarse", cx)?, self.fine.build_at("fine", cx)?);
        Ok(Box::new(Program(self.steps, coarse.into(), fine.into())))
    }
}
