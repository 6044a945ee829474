//! The fused twin of a plan with weights of about unit gain.

use std::sync::Arc;
use std::time::Instant;

use ebm_core::candle::{DType, Device};
use ebm_core::energy::Condition;
use ebm_core::plan::NetPlan;
use ebm_core::{Accelerated, Autograd, Chains, EnergyFn, EnergySpec, Engine, Error, Key, ParamSet, Result};
use ebm_engine_cpu::{CpuEngine, Isa};
use ebm_nn::{PlanNet, plan_tensors};

/// The twin of `plan` on the instruction set `isa`.
pub fn twin(plan: NetPlan, isa: Isa) -> Result<Arc<dyn EnergyFn>> {
    let mut tensors = Vec::new();
    for (i, t) in plan_tensors(&plan)?.into_iter().enumerate() {
        let inputs: usize = t.shape.iter().skip(1).product();
        let flat = Key::root(7).at(i).normal(&Chains::range(0, 1), &t.shape, DType::F32, &Device::Cpu)?;
        tensors.push((t.name, flat.squeeze(0)?.affine((1.0 / inputs as f64).sqrt(), 0.0)?, t.role));
    }
    let mut spec = EnergySpec::new(&plan.input, &["energy"]);
    if plan.condition > 0 {
        spec.condition = Condition::Optional(plan.condition);
    }
    let net =
        Autograd::new("net", PlanNet::new(plan.clone())?, spec, ParamSet::new(tensors)?).with_plan(plan);
    let graph: Arc<dyn EnergyFn> = Arc::new(net);
    match CpuEngine::with_isa(isa).accelerate(&graph)? {
        Accelerated::Twin(twin) => Ok(twin),
        Accelerated::Graph(why) => Err(Error::config("engine", why)),
    }
}

/// Seconds of each of `n` calls, after some to warm up, in order of size.
pub fn seconds(n: usize, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    for _ in 0..n / 8 + 1 {
        call()?;
    }
    let mut all = Vec::with_capacity(n);
    for _ in 0..n {
        let began = Instant::now();
        call()?;
        all.push(began.elapsed().as_secs_f64());
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}
