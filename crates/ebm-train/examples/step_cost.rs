//! What a training step costs besides the energy: the step of a digits run whose energy has the
//! parameters of an 82k perceptron but answers every call at once.
//!
//! `cargo run --release -p ebm-train --example step_cost [REPETITIONS]`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Batch, BuildCx, EnergyConfig, EnergyFn, EnergySpec, Init, ParamSet, Result, Slope, ThetaGrad, WeightFn,
};
use ebm_train::{Plan, RunConfig, TrainState, step};
use serde::{Deserialize, Serialize};
use {ebm_objectives as _, ebm_optimisers as _, ebm_replays as _, ebm_samplers as _, ebm_sources as _};

/// Answers every call with numbers made once.
#[derive(Debug, Serialize, Deserialize)]
struct Instantly {}

struct Answers {
    spec: EnergySpec,
    params: ParamSet,
    grads: BTreeMap<String, Tensor>,
    slope: Tensor,
    terms: Tensor,
}

impl ebm_core::settings::Check for Instantly {}

#[typetag::serde(name = "instant")]
impl EnergyConfig for Instantly {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        for (name, shape) in [("a.weight", (256, 64)), ("b.weight", (256, 256)), ("c.weight", (1, 256))] {
            cx.param(name, shape, Init::Normal(0.1))?;
        }
        for (name, n) in [("a.bias", 256), ("b.bias", 256), ("c.bias", 1)] {
            cx.param(name, n, Init::Normal(0.1))?;
        }
        let params = cx.take_params()?;
        let mut shape = vec![64];
        shape.extend_from_slice(cx.sample_shape());
        Ok(Arc::new(Answers {
            spec: EnergySpec::new(cx.sample_shape(), &["energy"]),
            grads: params.snapshot()?,
            params,
            slope: Tensor::rand(-0.1f32, 0.1, shape, cx.device())?,
            terms: Tensor::rand(-1f32, 1.0, (128, 1), cx.device())?,
        }))
    }
}

impl EnergyFn for Answers {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }
    fn params(&self) -> &ParamSet {
        &self.params
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        Ok(self.terms.narrow(0, 0, at.len())?)
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        let energy = self.terms.narrow(0, 0, at.len())?.flatten_all()?;
        Ok(Slope { energy, grad: self.slope.narrow(0, 0, at.len())? })
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        let terms = self.terms(at)?;
        w.of(&terms)?;
        Ok(ThetaGrad { terms, grads: self.grads.clone() })
    }
    fn grad_theta_slope(&self, at: &Batch, _: &Tensor) -> Result<ThetaGrad> {
        self.grad_theta(at, &WeightFn::of_all(|t| Ok(t.clone())))
    }
    fn hvp(&self, _: &Batch, v: &Tensor) -> Result<Tensor> {
        Ok(v.clone())
    }
}

fn fastest(steps: usize, repetitions: u32) -> Result<f64> {
    let text = format!(
        "format = 1\n[run]\nsteps = 1000000\nreport_every = 0\n[data]\nkind = \"digits\"\n[energy]\nkind = \"instant\"\n\
         [sampler]\nkind = \"chain\"\nsteps = {steps}\n\
         transition = {{ kind = \"langevin\", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] }}\n\
         [replay]\nkind = \"random-overwrite\"\ncapacity = 10000\n\
         [objective]\nkind = \"contrastive\"\nenergy_l2 = 1.0\n\
         [optimiser]\nkind = \"adam\"\nrate = 2e-3\nclip_norm = 0.5\naverage = 0.99\n"
    );
    let plan = Plan::build(&RunConfig::from_toml(&text)?, Path::new("."), &Device::Cpu, None)?;
    let mut state = TrainState::new(&plan)?;
    // The fastest of many is what the machine can do when nothing else runs on it.
    let mut best = f64::INFINITY;
    for _ in 0..repetitions {
        let began = Instant::now();
        step(&plan, &mut state)?;
        best = best.min(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

fn main() -> Result<()> {
    let repetitions = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(2000);
    let (one, twenty) = (fastest(1, repetitions)?, fastest(20, repetitions)?);
    println!("a step with 1 sampler step {one:.3} ms, with 20 sampler steps {twenty:.3} ms");
    Ok(())
}
