//! The fused twin of an energy that has a plan of convolutional layers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};
use ebm_core::plan::NetPlan;
use ebm_core::{
    Batch, Density, EnergyFn, EnergySpec, Error, Key, ParamSet, Result, Role, RowProgram, Slope, ThetaGrad,
    Walked, WeightFn,
};

use super::plan::{Gradients, RowWeights};
use super::{Call, ConvPlan, Packed, Workspace};
use crate::pool::Pool;
use crate::simd::Isa;
use crate::twin::{direction, parameter, term_weights, walked, with_floats};
use crate::unsupported::{Unsupported, refuse};

/// The engine's name in messages.
const NAME: &str = "convolutional engine";

/// An energy whose calls in f32 on the processor run in the convolutional engine; all others (f64,
/// other devices) go to the energy it was made from. Parameters are shared with it.
pub struct ConvEnergy {
    graph: Arc<dyn EnergyFn>,
    plan: ConvPlan,
    /// What has no mixed derivative: see [`NetPlan::shifts`].
    shifts: BTreeSet<String>,
    isa: Isa,
    pool: Option<Arc<Pool>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Packed weights and the version of the parameters they were made from; stale without version.
    packed: Option<Packed>,
    version: Option<u64>,
    work: Workspace,
}

impl ConvEnergy {
    /// The twin of `energy` on the instruction set `isa` and on the pool of the process.
    ///
    /// # Errors
    /// The reason why there is none: no plan, an operation the engine lacks, or parameters that are
    /// not f32 on the processor.
    pub fn new(energy: Arc<dyn EnergyFn>, isa: Isa) -> std::result::Result<ConvEnergy, Unsupported> {
        let Some(net) = energy.plan() else {
            return refuse("the energy has no layer plan");
        };
        if net.input != energy.spec().sample_shape || net.terms.len() != energy.spec().terms.len() {
            return refuse("the plan's input or terms differ from the energy's");
        }
        let plan = ConvPlan::compile(net, isa)?;
        for (name, len, trainable) in plan.tensors() {
            let t = parameter(energy.as_ref(), name)?;
            if t.elem_count() != len {
                return refuse(format!(
                    "parameter `{name}` has {} entries, the plan wants {len}",
                    t.elem_count()
                ));
            }
            if !trainable && energy.params().role(name) == Some(Role::Trainable) {
                return refuse(format!("`{name}` is trainable, but the plan holds it constant"));
            }
        }
        let shifts = net.shifts().into_iter().map(str::to_string).collect();
        Ok(ConvEnergy { plan, shifts, isa, pool: None, state: Mutex::default(), graph: energy })
    }

    /// The same on a pool of its own.
    #[cfg(test)]
    pub fn on_pool(mut self, pool: Arc<Pool>) -> ConvEnergy {
        self.pool = Some(pool);
        self
    }

    /// Images that all calls took forward.
    #[cfg(test)]
    pub fn ahead(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).work.ahead()
    }

    /// Convolutions whose weight gradients come late.
    #[cfg(test)]
    pub fn late(&self) -> usize {
        self.plan.late()
    }

    fn pool(&self) -> &Pool {
        self.pool.as_deref().unwrap_or_else(|| Pool::global())
    }

    /// Whether the engine takes this batch; checks its shape if so.
    fn covers(&self, at: &Batch) -> Result<bool> {
        let cond = at.cond.as_ref().is_none_or(|c| c.device().is_cpu());
        if at.dtype() != DType::F32 || !at.device().is_cpu() || !cond || at.is_empty() {
            return Ok(false);
        }
        self.spec().check(NAME, at)?;
        Ok(true)
    }

    /// Runs `f` with current weights.
    fn with<R>(
        &self,
        at: &Batch,
        f: impl FnOnce(&Packed, &mut Workspace, Call<'_>) -> std::result::Result<R, Unsupported>,
    ) -> Result<R> {
        // A panic leaves at worst stale scratch, which every call overwrites.
        let mut guard: MutexGuard<'_, State> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.params().version();
        let State { packed, version: current, work } = &mut *guard;
        let failed = |e: Unsupported| Error::config(NAME, e.reason);
        if packed.is_none() || *current != Some(version) {
            *current = None;
            let mut all = BTreeMap::new();
            for (name, _, _) in self.plan.tensors() {
                let t = self
                    .params()
                    .get(name)
                    .ok_or_else(|| Error::config(name, "the parameter is gone from the energy"))?;
                all.insert(name, with_floats(t, <[f32]>::to_vec)?);
            }
            let lookup = |name: &str| all.get(name).map(Vec::as_slice);
            match packed {
                Some(old) => self.plan.repack(old, self.pool(), lookup).map_err(failed)?,
                None => *packed = Some(self.plan.pack(self.pool(), lookup).map_err(failed)?),
            }
            *current = Some(version);
        }
        let Some(packed) = packed else {
            return Err(Error::config(NAME, "weights are not packed"));
        };
        let cond = match &at.cond {
            Some(c) if self.plan.condition_len() > 0 => {
                Some(c.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
            }
            _ => None,
        };
        with_floats(&at.x, |x| f(packed, work, Call { x, cond: cond.as_deref() }))?.map_err(failed)
    }

    fn theta(&self, grads: Gradients, terms: Tensor) -> Result<ThetaGrad> {
        let mut out = BTreeMap::new();
        for (name, g) in grads {
            let params = self.params();
            if let (Some(t), Some(Role::Trainable)) = (params.get(&name), params.role(&name)) {
                out.insert(name, Tensor::from_vec(g, t.dims(), &Device::Cpu)?);
            }
        }
        Ok(ThetaGrad { terms, grads: out })
    }

    fn terms_tensor(&self, at: &Batch, terms: Vec<f32>) -> Result<Tensor> {
        Ok(Tensor::from_vec(terms, (at.len(), self.plan.terms_len()), &Device::Cpu)?)
    }

    fn terms_vec(&self, at: &Batch) -> Vec<f32> {
        vec![0.0; at.len() * self.plan.terms_len()]
    }
}

impl EnergyFn for ConvEnergy {
    fn spec(&self) -> &EnergySpec {
        self.graph.spec()
    }

    fn params(&self) -> &ParamSet {
        self.graph.params()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        if !self.covers(at)? {
            return self.graph.terms(at);
        }
        let mut out = self.terms_vec(at);
        self.with(at, |p, w, call| self.plan.terms(p, w, self.pool(), call, &mut out))?;
        self.terms_tensor(at, out)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        if !self.covers(at)? {
            return self.graph.slope(at);
        }
        let (mut terms, mut grad) = (self.terms_vec(at), vec![0.0; at.x.elem_count()]);
        self.with(at, |p, w, call| self.plan.slope(p, w, self.pool(), call, &mut terms, &mut grad))?;
        let energy: Vec<f32> = terms.chunks_exact(self.plan.terms_len()).map(|t| t.iter().sum()).collect();
        Ok(Slope {
            energy: Tensor::from_vec(energy, at.len(), &Device::Cpu)?,
            grad: Tensor::from_vec(grad, at.x.dims(), &Device::Cpu)?,
        })
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        if !self.covers(at)? {
            return self.graph.grad_theta(at, w);
        }
        let (t, mut out) = (self.plan.terms_len(), self.terms_vec(at));
        let weights: Box<RowWeights<'_, Error>> = match w {
            WeightFn::ByRow(w) => Box::new(move |rows, terms| {
                let shape = [rows.len(), t];
                term_weights(&w(rows, &Tensor::from_slice(terms, &shape, &Device::Cpu)?)?, &shape)
            }),
            // They may depend on all terms of the batch, so the terms come first, without the lock: they may ask this energy for more.
            WeightFn::OfAll(w) => {
                let terms = self.terms(at)?;
                let all = term_weights(&w(&terms)?, terms.dims())?;
                Box::new(move |rows, _| Ok(all[rows.start * t..rows.end * t].to_vec()))
            }
        };
        let grads = self.with(at, |p, work, call| {
            self.plan.grad_theta(p, work, self.pool(), call, &*weights, &mut out)
        })??;
        self.theta(grads, self.terms_tensor(at, out)?)
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        if !self.covers(at)? {
            return self.graph.grad_theta_slope(at, v);
        }
        direction(NAME, at, v)?;
        let mut out = self.terms_vec(at);
        let v: Vec<f32> = v.flatten_all()?.to_vec1()?;
        let mut grads =
            self.with(at, |p, w, call| self.plan.grad_theta_slope(p, w, self.pool(), call, &v, &mut out))?;
        grads.retain(|(name, _)| !self.shifts.contains(name));
        self.theta(grads, self.terms_tensor(at, out)?)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        if !self.covers(at)? {
            return self.graph.hvp(at, v);
        }
        direction(NAME, at, v)?;
        let mut out = vec![0.0; at.x.elem_count()];
        let v: Vec<f32> = v.flatten_all()?.to_vec1()?;
        self.with(at, |p, w, call| self.plan.hvp(p, w, self.pool(), call, &v, &mut out))?;
        Ok(Tensor::from_vec(out, at.x.dims(), &Device::Cpu)?)
    }

    fn plan(&self) -> Option<&NetPlan> {
        self.graph.plan()
    }

    fn outline(&self) -> Result<ebm_core::Outline> {
        self.graph.outline()
    }

    fn walk(&self, at: &Batch, program: &RowProgram, key: Key) -> Result<Option<Walked>> {
        if program.steps.is_empty() || !self.covers(at)? {
            return self.graph.walk(at, program, key);
        }
        let x = with_floats(&at.x, <[f32]>::to_vec)?;
        let walked = walked(at, x, program.steps.len(), |chains, out| {
            self.with(at, |p, w, call| {
                self.plan.walk(p, w, self.pool(), call.cond, program, key, chains, out)
            })
        })?;
        program.stop.check()?;
        Ok(Some(walked))
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.graph.refreshed_buffers()
    }

    fn density(&self) -> Option<&dyn Density> {
        self.graph.density()
    }

    fn layers(&self, batch: usize) -> String {
        self.plan.describe(batch)
    }

    fn engine(&self) -> String {
        format!("fused convolutional ({}, {} threads)", self.isa.name(), self.pool().threads())
    }
}
