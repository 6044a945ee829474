//! `two-speed`: most steps of one transition, the last ones of another.

use std::sync::Arc;

use ebm_core::*;
use serde::{Deserialize, Serialize};

/// `steps` steps, of which the last quarter are of `fine`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoSpeed {
    steps: usize,
    coarse: Box<dyn TransitionConfig>,
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

#[typetag::serde(name = "two-speed")]
impl SamplerConfig for TwoSpeed {
    fn build(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(Program(self.steps, self.coarse.build(cx)?.into(), self.fine.build(cx)?.into())))
    }
}

register! {
    SamplerConfig, "two-speed" => TwoSpeed,
    summary: "most steps of one transition, the last quarter of another",
    source: "this example",
    example: "steps = 8\ncoarse = { kind = \"leaping\", step_size = 0.1, noise = 0.1, leaps = 0.05 }\nfine = { kind = \"leaping\", step_size = 0.1, noise = 0.1, leaps = 0.0 }",
    params: [
        Param::int("steps", "number of steps").at_least(1.0),
        Param::part("coarse", Family::Transition, "the first three quarters"),
        Param::part("fine", Family::Transition, "the last quarter"),
    ],
}
