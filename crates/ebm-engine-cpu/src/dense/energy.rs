//! The fused twin of an energy that has a plan of fully connected layers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use ebm_core::plan::NetPlan;
use ebm_core::{
    Batch, Density, EnergyFn, EnergySpec, Error, Key, ParamSet, Result, Role, RowProgram, Slope, ThetaGrad,
    Walked, WeightFn,
};

use super::{Dense, DensePlan, Slot};
use crate::pool::Pool;
use crate::simd::Isa;
use crate::twin::{direction, parameter, term_weights, walked, with_floats};
use crate::unsupported::{Unsupported, refuse};

/// The engine's name in messages.
const NAME: &str = "dense engine";

/// An energy whose calls in f32 on the processor run in the dense engine; all others (f64, other
/// devices) go to the energy it was made from. Parameters are shared with it.
pub struct DenseEnergy {
    graph: Arc<dyn EnergyFn>,
    plan: Arc<DensePlan>,
    /// What has no mixed derivative: see [`NetPlan::shifts`].
    shifts: BTreeSet<String>,
    /// Runners not in use. A call takes one and gives it back, so that calls at the same time, or
    /// from inside the weights of `grad_theta`, each have their own.
    idle: Mutex<Vec<State>>,
}

struct State {
    dense: Dense,
    /// Version of the parameters that are packed.
    packed: Option<u64>,
    params: Vec<f32>,
    buffers: Vec<f32>,
}

impl DenseEnergy {
    /// The twin of `energy` on the instruction set `isa` and on the pool of the process.
    ///
    /// # Errors
    /// The reason why there is none: no plan, an operation the engine lacks, or parameters that are not f32 on the
    /// processor.
    pub fn new(energy: Arc<dyn EnergyFn>, isa: Isa) -> std::result::Result<DenseEnergy, Unsupported> {
        let Some(net) = energy.plan() else { return refuse("the energy has no layer plan") };
        let plan = Arc::new(DensePlan::compile(net, isa)?);
        if net.input != energy.spec().sample_shape || net.terms.len() != energy.spec().terms.len() {
            return refuse("the plan's input or terms differ from the energy's");
        }
        if let Some(s) =
            plan.buffers().iter().find(|s| energy.params().role(&s.name) == Some(Role::Trainable))
        {
            return refuse(format!("`{}` is trainable, but the plan holds it constant", s.name));
        }
        for s in plan.params().iter().chain(plan.buffers()) {
            let t = parameter(energy.as_ref(), &s.name)?;
            if t.dims() != s.shape {
                let shapes = format!("shape {:?}, the plan needs {:?}", t.dims(), s.shape);
                return refuse(format!("parameter `{}` has {shapes}", s.name));
            }
        }
        let shifts = net.shifts().into_iter().map(str::to_string).collect();
        Ok(DenseEnergy { plan, shifts, idle: Mutex::new(Vec::new()), graph: energy })
    }

    /// Whether the engine can take this batch: the plan has no word for a condition that is missing.
    fn covers(&self, at: &Batch) -> bool {
        let cond = self.plan.condition() == 0 || at.cond.as_ref().is_some_and(|c| c.device().is_cpu());
        at.dtype() == DType::F32 && at.device().is_cpu() && !at.is_empty() && cond
    }

    /// Calls `f` with the rows of `x` `(B, ...)` as the engine reads them, each with its condition behind it.
    fn rows<R>(&self, x: &Tensor, at: &Batch, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        match &at.cond {
            Some(c) if self.plan.condition() > 0 => {
                let c = c.to_dtype(DType::F32)?;
                with_floats(&Tensor::cat(&[&x.flatten_from(1)?, &c], 1)?, f)
            }
            _ => with_floats(x, f),
        }
    }

    /// The same for directions `v`, in which conditions stay.
    fn directions<R>(&self, v: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        match self.plan.condition() {
            0 => with_floats(v, f),
            n => with_floats(&v.flatten_from(1)?.pad_with_zeros(1, 0, n)?, f),
        }
    }

    /// Derivatives in the samples, from those in the engine's rows.
    fn of_samples(&self, rows: Vec<f32>, at: &Batch) -> Result<Tensor> {
        let (b, width, condition) = (at.len(), self.plan.width(), self.plan.condition());
        if condition == 0 {
            return Ok(Tensor::from_vec(rows, at.x.dims(), &Device::Cpu)?);
        }
        let all = Tensor::from_vec(rows, (b, width), &Device::Cpu)?;
        Ok(all.narrow(1, 0, width - condition)?.contiguous()?.reshape(at.x.dims())?)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<State>> {
        // Nothing can panic while a runner is moved in or out.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with a runner that has the current weights.
    fn with<R>(&self, f: impl FnOnce(&mut Dense) -> Result<R>) -> Result<R> {
        let idle = self.idle().pop();
        let mut state = idle.unwrap_or_else(|| {
            let dense = Dense::new(self.plan.clone());
            let (params, buffers) = (vec![0.0; self.plan.param_count()], vec![0.0; self.plan.buffer_count()]);
            State { dense, packed: None, params, buffers }
        });
        let version = self.params().version();
        if state.packed != Some(version) {
            state.packed = None;
            gather(self.params(), self.plan.params(), &mut state.params)?;
            gather(self.params(), self.plan.buffers(), &mut state.buffers)?;
            state.dense.load(&state.params, &state.buffers);
            state.packed = Some(version);
        }
        let result = f(&mut state.dense);
        self.idle().push(state);
        result
    }

    fn check(&self, at: &Batch) -> Result<()> {
        self.spec().check(NAME, at)
    }

    /// Gradients by name; those of `absent` do not enter.
    fn theta(&self, flat: &[f32], terms: Tensor, absent: &BTreeSet<String>) -> Result<ThetaGrad> {
        let mut grads = BTreeMap::new();
        for s in self.plan.params() {
            if self.params().role(&s.name) == Some(Role::Trainable) && !absent.contains(&s.name) {
                let part = flat[s.offset..s.offset + s.len()].to_vec();
                grads.insert(s.name.clone(), Tensor::from_vec(part, s.shape.as_slice(), &Device::Cpu)?);
            }
        }
        Ok(ThetaGrad { terms, grads })
    }
}

/// Copies tensors into one flat vector.
fn gather(params: &ParamSet, slots: &[Slot], out: &mut [f32]) -> Result<()> {
    for s in slots {
        let t = params
            .get(&s.name)
            .ok_or_else(|| Error::config(&s.name, "the parameter is gone from the energy"))?;
        with_floats(t, |v| out[s.offset..s.offset + s.len()].copy_from_slice(v))?;
    }
    Ok(())
}

impl EnergyFn for DenseEnergy {
    fn spec(&self) -> &EnergySpec {
        self.graph.spec()
    }

    fn params(&self) -> &ParamSet {
        self.graph.params()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        if !self.covers(at) {
            return self.graph.terms(at);
        }
        self.check(at)?;
        let (b, t) = (at.len(), self.plan.term_count());
        let mut out = vec![0f32; b * t];
        self.with(|d| self.rows(&at.x, at, |x| d.terms(x, &mut out)))?;
        Ok(Tensor::from_vec(out, (b, t), &Device::Cpu)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        if !self.covers(at) {
            return self.graph.slope(at);
        }
        self.check(at)?;
        let (mut energy, mut grad) = (vec![0f32; at.len()], vec![0f32; at.len() * self.plan.width()]);
        self.with(|d| self.rows(&at.x, at, |x| d.slope(x, &mut energy, &mut grad)))?;
        Ok(Slope {
            energy: Tensor::from_vec(energy, at.len(), &Device::Cpu)?,
            grad: self.of_samples(grad, at)?,
        })
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        if !self.covers(at) {
            return self.graph.grad_theta(at, w);
        }
        self.check(at)?;
        let (b, t) = (at.len(), self.plan.term_count());
        let (mut out, mut flat) = (vec![0f32; b * t], vec![0f32; self.plan.param_count()]);
        let mut tensor = None;
        self.with(|d| {
            self.rows(&at.x, at, |x| {
                let weights = |rows: Range<usize>, terms: &[f32]| -> Result<Vec<f32>> {
                    let shape = [rows.len(), t];
                    let terms = Tensor::from_slice(terms, &shape, &Device::Cpu)?;
                    let w = w.of_rows(rows.clone(), &terms)?;
                    tensor = (rows == (0..b)).then_some(terms);
                    term_weights(&w, &shape)
                };
                d.grad_theta(x, &mut out, w.is_by_row(), weights, &mut flat)
            })?
        })?;
        let terms = match tensor {
            Some(t) => t,
            None => Tensor::from_vec(out, (b, t), &Device::Cpu)?,
        };
        self.theta(&flat, terms, &BTreeSet::new())
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        if !self.covers(at) {
            return self.graph.grad_theta_slope(at, v);
        }
        self.check(at)?;
        direction(NAME, at, v)?;
        let (b, t) = (at.len(), self.plan.term_count());
        let (mut terms, mut flat) = (vec![0f32; b * t], vec![0f32; self.plan.param_count()]);
        self.with(|d| {
            self.rows(&at.x, at, |x| self.directions(v, |v| d.grad_theta_slope(x, v, &mut terms, &mut flat)))?
        })?;
        self.theta(&flat, Tensor::from_vec(terms, (b, t), &Device::Cpu)?, &self.shifts)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        if !self.covers(at) {
            return self.graph.hvp(at, v);
        }
        self.check(at)?;
        direction(NAME, at, v)?;
        let mut out = vec![0f32; at.len() * self.plan.width()];
        self.with(|d| self.rows(&at.x, at, |x| self.directions(v, |v| d.hvp(x, v, &mut out)))?)?;
        self.of_samples(out, at)
    }

    fn plan(&self) -> Option<&NetPlan> {
        self.graph.plan()
    }

    fn outline(&self) -> Result<ebm_core::Outline> {
        self.graph.outline()
    }

    fn walk(&self, at: &Batch, program: &RowProgram, key: Key) -> Result<Option<Walked>> {
        // A walk moves whole rows, and conditions are to stay.
        if !self.covers(at) || program.steps.is_empty() || self.plan.condition() > 0 {
            return self.graph.walk(at, program, key);
        }
        self.check(at)?;
        let x = with_floats(&at.x, <[f32]>::to_vec)?;
        let walked = walked(at, x, program.steps.len(), |chains, out| {
            self.with(|d| {
                d.walk(program, key, chains, out);
                Ok(())
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

    fn layers(&self, _: usize) -> String {
        self.plan.describe()
    }

    fn engine(&self) -> String {
        let threads = Pool::global().threads();
        format!("fused dense ({}, {threads} threads)", self.plan.isa().name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::plan::Activation;
    use ebm_core::{Autograd, Chains, Diff, Forward, RowStep, View};

    use super::super::tests::reference::Writer;
    use super::*;

    /// `3-20-1` with swish.
    struct Net;

    impl Forward for Net {
        fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
            let h = x.linear_layer(p.get("l1.weight")?, Some(p.get("l1.bias")?))?.swish()?;
            h.linear_layer(p.get("l3.weight")?, Some(p.get("l3.bias")?))
        }
    }

    fn energy(dtype: DType) -> Arc<dyn EnergyFn> {
        let mut w = Writer::new(&[3]);
        let h = w.linear(0, 20, true);
        let h = w.act(h, Activation::Swish);
        let e = w.linear(h, 1, true);
        w.term(e);
        let normal = |seed: u64, shape: &[usize]| {
            let mut v = vec![0f32; shape.iter().product()];
            Key::root(seed).fill_normal(0, &mut v);
            Tensor::from_vec(v, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        };
        let params = ParamSet::new([
            ("l1.weight".to_string(), normal(1, &[20, 3]), Role::Trainable),
            ("l1.bias".to_string(), normal(2, &[20]), Role::Trainable),
            ("l3.weight".to_string(), normal(3, &[1, 20]), Role::Trainable),
            ("l3.bias".to_string(), normal(4, &[1]), Role::Trainable),
        ])
        .unwrap();
        let spec = EnergySpec::new(&[3], &["e"]);
        Arc::new(Autograd::new("net", Net, spec, params).with_plan(w.0))
    }

    fn batch() -> Batch {
        let x = Key::root(9).normal(&Chains::range(0, 7), &[3], DType::F32, &Device::Cpu).unwrap();
        Batch::new(x).unwrap().with_chains(Chains::range(40, 7))
    }

    fn close(a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims());
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in flat(a).iter().zip(flat(b)) {
            // Two f32 programs with sums of 20 in different order.
            assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "{a} {b}");
        }
    }

    #[test]
    fn the_twin_agrees_with_the_graph_in_all_calls_and_follows_new_weights() {
        let graph = energy(DType::F32);
        let twin = DenseEnergy::new(graph.clone(), Isa::detect()).unwrap();
        let (at, v) = (batch(), batch().x.affine(0.3, 1.0).unwrap());
        for round in 0..2 {
            close(&twin.terms(&at).unwrap(), &graph.terms(&at).unwrap());
            let (a, b) = (twin.slope(&at).unwrap(), graph.slope(&at).unwrap());
            close(&a.energy, &b.energy);
            close(&a.grad, &b.grad);
            close(&twin.hvp(&at, &v).unwrap(), &graph.hvp(&at, &v).unwrap());
            let squares = WeightFn::by_row(|_, t| Ok(t.affine(2.0, 0.0)?));
            let pairs = [
                (twin.grad_theta(&at, &squares).unwrap(), graph.grad_theta(&at, &squares).unwrap()),
                (twin.grad_theta_slope(&at, &v).unwrap(), graph.grad_theta_slope(&at, &v).unwrap()),
            ];
            for (a, b) in &pairs {
                // A shift of the energy has no mixed derivative: both leave it out.
                assert!(a.grads.keys().eq(b.grads.keys()), "{round}");
                for (name, g) in &b.grads {
                    close(&a.grads[name], g);
                }
            }
            close(&pairs[0].0.terms, &pairs[0].1.terms);
            let w = graph.params().get("l1.weight").unwrap().affine(0.5, 0.1).unwrap();
            graph.params().set("l1.weight", &w).unwrap();
        }
        assert!(twin.engine().starts_with("fused dense"));
    }

    #[test]
    fn a_walk_equals_the_steps_written_in_tensors() {
        let twin = DenseEnergy::new(energy(DType::F32), Isa::detect()).unwrap();
        let (at, key) = (batch(), Key::root(3).at("walk"));
        let step = RowStep {
            step_size: 0.05,
            noise: 0.1,
            noise_first: true,
            clamp: Some((-1.0, 1.0)),
            move_limit: Some(0.2),
        };
        let program = RowProgram::new(vec![step, RowStep { noise: 0.02, ..step }, step]);
        let walked = twin.walk(&at, &program, key).unwrap().unwrap();
        let mut x = at.x.clone();
        let (mut energies, mut squares) = (Vec::new(), Vec::new());
        for (k, s) in program.steps.iter().enumerate() {
            let eps = key.at(k).normal(&at.chains, &[3], DType::F32, &Device::Cpu).unwrap();
            let hat = (x + (eps * s.noise).unwrap()).unwrap();
            let slope = twin.slope(&at.with_x(hat.clone())).unwrap();
            let d = (slope.grad.clone() * s.step_size).unwrap().clamp(-0.2f32, 0.2f32).unwrap();
            x = (&hat - d).unwrap().clamp(-1f32, 1f32).unwrap();
            energies.push(slope.energy);
            squares.push(slope.grad.sqr().unwrap().mean(1).unwrap());
            if k == 2 {
                // Bit for bit: the engine promises the order of operations.
                let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(bits(&walked.hat), bits(&hat));
                assert_eq!(bits(&walked.grad), bits(&slope.grad));
                assert_eq!(bits(&walked.x), bits(&x));
            }
        }
        close(&walked.energy, &Tensor::stack(&energies, 0).unwrap());
        close(&walked.grad_square, &Tensor::stack(&squares, 0).unwrap());
    }

    #[test]
    fn weights_by_row_give_the_bits_of_those_of_all_rows() {
        let twin = DenseEnergy::new(energy(DType::F32), Isa::detect()).unwrap();
        // More rows than are kept at a time.
        let rows = 2500;
        let chains = Chains::range(0, rows);
        let x = Key::root(9).normal(&chains, &[3], DType::F32, &Device::Cpu).unwrap();
        let own = Key::root(4).normal(&chains, &[1], DType::F32, &Device::Cpu).unwrap();
        let at = Batch::new(x).unwrap();
        let weight = |rows: Range<usize>, t: &Tensor| -> Result<Tensor> {
            Ok((t * 0.5 + own.narrow(0, rows.start, rows.len())?)?)
        };
        let asked = Mutex::new(Vec::new());
        let by_row = WeightFn::by_row(|rows, t| {
            asked.lock().unwrap().push(rows.clone());
            weight(rows, t)
        });
        let one = twin.grad_theta(&at, &by_row).unwrap();
        assert_eq!(*asked.lock().unwrap(), [0..1024, 1024..2048, 2048..2500], "part by part");
        let two = twin.grad_theta(&at, &WeightFn::of_all(|t| weight(0..rows, t))).unwrap();
        let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&one.terms), bits(&two.terms));
        for (name, g) in &two.grads {
            assert_eq!(bits(&one.grads[name]), bits(g), "{name}");
        }
    }

    #[test]
    fn weights_may_call_the_energy_again() {
        let twin = DenseEnergy::new(energy(DType::F32), Isa::detect()).unwrap();
        let at = batch();
        let own = WeightFn::of_all(|t| Ok(t.clone()));
        let nested = WeightFn::of_all(|t| {
            assert_eq!(t.to_vec2::<f32>()?, twin.terms(&at)?.to_vec2::<f32>()?);
            twin.slope(&at)?;
            Ok(twin.grad_theta(&at, &own)?.terms)
        });
        let (a, b) = (twin.grad_theta(&at, &nested).unwrap(), twin.grad_theta(&at, &own).unwrap());
        for (name, g) in &b.grads {
            let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(&a.grads[name]), bits(g));
        }
        // An error of the weights comes back as it is, and the energy stays usable.
        let refused = WeightFn::of_all(|_| Err(Error::config("w", "no")));
        assert!(twin.grad_theta(&at, &refused).unwrap_err().to_string().contains("no"));
        assert!(twin.slope(&at).is_ok());
    }

    #[test]
    fn other_dtypes_go_to_the_graph_and_f64_parameters_are_refused() {
        let graph = energy(DType::F64);
        let why = DenseEnergy::new(graph, Isa::detect()).err().unwrap().to_string();
        assert!(why.contains("l1.bias") || why.contains("l1.weight"), "{why}");
        assert!(why.contains("f32"), "{why}");
        let twin = DenseEnergy::new(energy(DType::F32), Isa::detect()).unwrap();
        let mut at = batch();
        at.x = at.x.narrow(1, 0, 2).unwrap();
        // Wrong shape: the spec's message, not a panic.
        assert!(twin.slope(&at).unwrap_err().to_string().contains("(B, 3)"));
        let v = Tensor::zeros((7, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(twin.hvp(&batch(), &v).is_err());
    }

    #[test]
    fn samples_that_are_views_are_read_in_order() {
        let twin = DenseEnergy::new(energy(DType::F32), Isa::detect()).unwrap();
        let at = batch();
        let view = at.with_x(at.x.t().unwrap().contiguous().unwrap().t().unwrap());
        let rows = at.narrow(2, 3).unwrap();
        let all = twin.slope(&at).unwrap();
        close(&twin.slope(&view).unwrap().grad, &all.grad);
        close(&twin.slope(&rows).unwrap().grad, &all.grad.narrow(0, 2, 3).unwrap());
    }
}
