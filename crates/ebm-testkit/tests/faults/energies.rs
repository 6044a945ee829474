//! Energies: `E = Σ swish(x W) c`, with one line wrong.

use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Chains, Condition, Density, Diff, EnergyFn, EnergySpec, Forward, Key, ParamSet, Result, Role,
    View,
};
use ebm_core::{Batch, Slope, ThetaGrad, WeightFn};
use ebm_testkit::laws;

use crate::{Planted, planted};

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Derivative,
    Square,
    Constant,
    Detached,
    DetachedDerivative,
    Coupled,
    Random,
    Condition,
    NaN,
    Corner,
    Double,
    Sorted,
    Broadcast,
}

struct Net(Fault);

static CALLS: AtomicU64 = AtomicU64::new(0);

impl Forward for Net {
    fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
        let w = p.get("w")?;
        let x = x.flatten()?;
        let mut h = match self.0 {
            Fault::Detached => x.matmul(&w.detach())?,
            _ => x.matmul(w)?,
        };
        if let Some(c) = cond {
            let c = match self.0 {
                // A condition of the next row.
                Fault::Condition => {
                    Tensor::cat(&[c.narrow(0, c.dims()[0] - 1, 1)?, c.narrow(0, 0, c.dims()[0] - 1)?], 0)?
                }
                _ => c.clone(),
            };
            h = h.shift(&c.matmul(p.get("v")?)?)?;
        }
        let h = match self.0 {
            Fault::Derivative => h.pointwise(|t| t.sin(), |t| t.cos()?.affine(1.01, 0.0))?,
            Fault::DetachedDerivative => h.pointwise(|t| t.sin(), |t| t.detach().cos())?,
            Fault::Square => h.linear(|t| t.sqr())?,
            Fault::Constant => h.times(h.value())?,
            Fault::NaN => h.square()?.sqrt()?.mul(
                &x.square()?
                    .sum_last()?
                    .sqrt()?
                    .linear(|t| t.broadcast_as((t.dims()[0], 3))?.contiguous())?,
            )?,
            _ => h.sin()?,
        };
        let h = match self.0 {
            Fault::Coupled => h.linear(|t| t.broadcast_sub(&t.mean_keepdim(0)?))?,
            Fault::Random => h.scale(1.0 + 1e-9 * CALLS.fetch_add(1, Ordering::Relaxed) as f64)?,
            Fault::Sorted => h.linear(|t| {
                let n = t.dims()[0] as u32;
                let turned: Vec<u32> = (0..n).map(|i| (i + 1) % n).collect();
                t.index_select(&Tensor::new(turned.as_slice(), t.device())?, 0)
            })?,
            _ => h,
        };
        let out = h.times(p.get("c")?)?.sum_last()?;
        match self.0 {
            // A special case whose derivative nobody wrote.
            Fault::Corner => out.plus(
                &x.pointwise(
                    |t| t.cos(),
                    |t| t.sin()?.neg()?.mul(&t.ne(&t.zeros_like()?)?.to_dtype(t.dtype())?),
                )?
                .sum_last()?,
            ),
            Fault::Double => out.shift(
                &Tensor::new(&[[0.5f64]], &Device::Cpu)?.broadcast_as(out.value().shape())?.contiguous()?,
            ),
            Fault::Broadcast => out.linear(|t| Tensor::cat(&[t, t], 1)),
            _ => Ok(out),
        }
    }
}

fn spec(fault: Fault) -> EnergySpec {
    let mut spec = EnergySpec::new(&[2], &["net"]);
    spec.condition = if fault == Fault::Condition { Condition::Optional(3) } else { Condition::None };
    spec
}

fn net(fault: Fault, dtype: DType) -> Autograd<Net> {
    let make = |name: &str, dims: &[usize]| {
        let t = Key::root(4).at(name).normal(&Chains::range(0, 1), dims, DType::F32, &Device::Cpu).unwrap();
        (name.to_string(), t.squeeze(0).unwrap().to_dtype(dtype).unwrap(), Role::Trainable)
    };
    let params = ParamSet::new([make("w", &[2, 3]), make("v", &[3, 3]), make("c", &[1, 3])]).unwrap();
    Autograd::new("net", Net(fault), spec(fault), params)
}

fn check(fault: Fault) -> ebm_testkit::Verdict {
    laws::energy(&net(fault, DType::F64), Some(&net(fault, DType::F32)))
}

/// A call that is wrong by itself, around a sound energy, or a density that says more than it knows.
struct Wrapped<F> {
    inner: Autograd<F>,
    what: &'static str,
    spec: EnergySpec,
    known: bool,
}

impl<F: Forward> EnergyFn for Wrapped<F> {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }
    fn params(&self) -> &ParamSet {
        self.inner.params()
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.inner.terms(at)
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        let mut s = self.inner.slope(at)?;
        match self.what {
            "slope" => s.grad = s.grad.affine(1.0001, 0.0)?,
            "energies" => s.energy = s.energy.affine(1.0, 0.1)?,
            _ => {}
        }
        Ok(s)
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        // Weights of another pass: all ones.
        let ones = WeightFn::ones();
        let mut g = self.inner.grad_theta(at, if self.what == "weights" { &ones } else { w })?;
        if self.what == "missing" {
            g.grads.remove("c");
        }
        Ok(g)
    }
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(at, &if self.what == "mixed" { v.neg()? } else { v.clone() })
    }
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let h = self.inner.hvp(at, v)?;
        match self.what {
            "hvp" => Ok(v.clone()),
            "no number" => Ok((h * f64::NAN)?),
            _ => Ok(h),
        }
    }
    fn density(&self) -> Option<&dyn Density> {
        self.known.then_some(self)
    }
}

fn wrapped(what: &'static str) -> ebm_testkit::Verdict {
    let mut spec = spec(Fault::None);
    if what == "unlabelled" {
        spec.condition = Condition::Required(3);
    }
    laws::energy(&Wrapped { inner: net(Fault::None, DType::F64), what, spec, known: false }, None)
}

/// The standard normal law.
struct Bowl;
impl Forward for Bowl {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.square()?.sum_last()?.scale(0.5)
    }
}

impl<F: Forward> Density for Wrapped<F> {
    fn log_density(&self, at: &Batch) -> Result<Tensor> {
        let factor = if self.what == "log density" { -1.1 } else { -1.0 };
        Ok(self.inner.energy(at)?.affine(factor, -(2.0 * std::f64::consts::PI).ln())?)
    }
    fn draw(&self, chains: &Chains, key: Key) -> Result<Tensor> {
        let (rows, key) = match self.what {
            "rows" => (Chains::range(0, chains.len()), key),
            "key" => (chains.clone(), Key::root(1)),
            _ => (chains.clone(), key),
        };
        let x = key.normal(&rows, &[2], DType::F64, &Device::Cpu)?;
        Ok(if self.what == "width" { x.affine(1.1, 0.0)? } else { x })
    }
    fn variance(&self) -> Option<Vec<f64>> {
        Some(vec![if self.what == "variance" { 1.2 } else { 1.0 }; 2])
    }
    fn mean(&self) -> Option<Vec<f64>> {
        Some(vec![if self.what == "mean" { 0.2 } else { 0.0 }; 2])
    }
}

fn known(what: &'static str) -> ebm_testkit::Verdict {
    let spec = EnergySpec::new(&[2], &["bowl"]);
    let inner = Autograd::new("bowl", Bowl, spec.clone(), ParamSet::default());
    laws::energy(&Wrapped { inner, what, spec, known: true }, None)
}

pub(crate) fn all() -> Vec<Planted> {
    let p = |fault, says, run: fn() -> ebm_testkit::Verdict| planted("energy", fault, says, run);
    vec![
        p("sound net", "", || check(Fault::None)),
        p("sound call by call", "", || wrapped("")),
        p("sound density", "", || known("")),
        p("wrong derivative in `pointwise`", "slope against", || check(Fault::Derivative)),
        p("square passed as `linear`", "against differences", || check(Fault::Square)),
        p("constant from `value()`", "against differences", || check(Fault::Constant)),
        p("derivative detached", "against differences", || check(Fault::DetachedDerivative)),
        p("parameter detached", "nor has what was detached", || check(Fault::Detached)),
        p("mean over the batch", "rows alone", || check(Fault::Coupled)),
        p("a row's number from the next row", "rows alone", || check(Fault::Sorted)),
        p("counter in the energy", "gave two results", || check(Fault::Random)),
        p("condition of the next row", "condition", || check(Fault::Condition)),
        p("root at zero", "corners", || check(Fault::NaN)),
        p("special case at zero without derivative", "corners", || check(Fault::Corner)),
        p("constant in f64", "single precision", || check(Fault::Double)),
        p("two columns, one term", "found shape [3, 2]", || check(Fault::Broadcast)),
        p("slope off by one in ten thousand", "slope against", || wrapped("slope")),
        p("energies of `slope` shifted", "energies of slope and terms", || wrapped("energies")),
        p("weights of `grad_theta` ignored", "grad_theta against", || wrapped("weights")),
        p("gradient of a parameter missing", "in c[", || wrapped("missing")),
        p("sign of the mixed derivative", "grad_theta_slope against", || wrapped("mixed")),
        p("Hessian-vector product of a bowl", "hvp against", || wrapped("hvp")),
        p("Hessian-vector product NaN", "hvp against", || wrapped("no number")),
        p("condition required but not asked for", "conditions", || wrapped("unlabelled")),
        p("log p with another factor", "log p + E", || known("log density")),
        p("draws ten per cent too wide", "not those of exp(−E)", || known("width")),
        p("draws by row", "a chain drawn alone", || known("rows")),
        p("draws without the key", "another key", || known("key")),
        p("variance stated wrongly", "variance of coordinate", || known("variance")),
        p("mean stated wrongly", "the mean of coordinate", || known("mean")),
    ]
}
