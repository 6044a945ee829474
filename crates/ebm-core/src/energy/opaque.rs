//! A plain closure as an energy: exact gradients, tangent calls by central differences.

use candle_core::{D, DType, Tensor, Var};

use super::outline::{Outline, unwritten};
use super::severed::Severed;
use crate::{
    Batch, EnergyFn, EnergySpec, Error, Exactness, ParamSet, Result, Slope, ThetaGrad, View, WeightFn,
    per_row,
};

type Closure = dyn Fn(&View, &Tensor, Option<&Tensor>) -> Result<Tensor> + Send + Sync;

/// An energy from a closure over plain tensors. Its spec says
/// [`Exactness::CentralDifferences`], so an objective that wants exact second derivatives refuses it.
///
/// ```
/// use ebm_core::{Batch, EnergyFn, Opaque, ParamSet, candle};
/// let e = Opaque::new("bowl", &[3], ParamSet::default(), |_, x, _| {
///     Ok((x.sqr()?.sum_keepdim(1)? * 0.5)?)
/// });
/// let x = candle::Tensor::new(&[[1f64, 2.0, 3.0]], &candle::Device::Cpu)?;
/// assert_eq!(e.slope(&Batch::new(x)?)?.grad.to_vec2::<f64>()?, [[1.0, 2.0, 3.0]]);
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub struct Opaque {
    name: String,
    spec: EnergySpec,
    params: ParamSet,
    f: Box<Closure>,
    severed: Severed,
}

impl Opaque {
    /// The energy `f(parameters, x, condition) -> (B, 1)` for samples of `sample_shape`.
    pub fn new(
        name: impl Into<String>,
        sample_shape: &[usize],
        params: ParamSet,
        f: impl Fn(&View, &Tensor, Option<&Tensor>) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let mut spec = EnergySpec::new(sample_shape, &["energy"]);
        spec.exactness = Exactness::CentralDifferences;
        Opaque { name: name.into(), spec, params, f: Box::new(f), severed: Severed::default() }
    }

    fn forward(&self, p: &View, x: &Tensor, at: &Batch) -> Result<Tensor> {
        self.spec.check(&self.name, at)?;
        let out = (self.f)(p, x, at.cond.as_ref()).map_err(|e| e.within(&self.name))?;
        if out.dims() != [at.len(), 1] {
            let want = format!("({}, 1)", at.len());
            return Err(Error::shape(&self.name, out.dims(), want, "return one column: keep the last axis"));
        }
        Ok(out)
    }

    /// Steps `h_b` `(B,)` along `v` such that `‖h v‖` is a small share of `1 + ‖x‖`, and the shifted batches.
    fn displaced(&self, at: &Batch, v: &Tensor) -> Result<(Tensor, Batch, Batch)> {
        // Balance of truncation h² and rounding ε/h: the cube root of the machine precision.
        let relative = if at.dtype() == DType::F64 { 6e-6 } else { 5e-3 };
        let norm = |t: &Tensor| -> Result<Tensor> { Ok(t.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?) };
        let h = (norm(&at.x)?.affine(relative, relative)? / norm(v)?.affine(1.0, 1e-12)?)?;
        let move_by = v.broadcast_mul(&per_row(&h, v)?)?;
        Ok((h, at.with_x((&at.x + &move_by)?), at.with_x((&at.x - &move_by)?)))
    }
}

impl EnergyFn for Opaque {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.forward(self.params.frozen(), &at.x.detach(), at)
    }

    fn outline(&self) -> Result<Outline> {
        Err(unwritten(&self.name))
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let x = Var::from_tensor(&at.x)?;
        let energy = self.forward(self.params.frozen(), x.as_tensor(), at)?.sum(D::Minus1)?;
        let terms = |p: &View, x: &Tensor| self.forward(p, x, at);
        let mut store = energy.sum_all()?.backward()?;
        let grad = self.severed.of_input(&self.name, &mut store, &x, at, self.params.frozen(), &terms)?;
        Ok(Slope { energy: energy.detach(), grad })
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        let terms = self.forward(self.params.live(), &at.x.detach(), at)?;
        let store = (&terms * w.of(&terms.detach())?.detach())?.sum_all()?.backward()?;
        let again = |p: &View, x: &Tensor| self.forward(p, x, at);
        let grads = self.severed.of_params(&self.name, &store, &self.params, &at.x.detach(), &again)?;
        Ok(ThetaGrad { terms: terms.detach(), grads })
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let (h, plus, minus) = self.displaced(at, v)?;
        let w = WeightFn::fixed(h.recip()?.affine(0.5, 0.0)?.reshape((at.len(), 1))?);
        let mut up = self.grad_theta(&plus, &w)?;
        let down = self.grad_theta(&minus, &w)?;
        up.accumulate(&down.grads, -1.0)?;
        up.terms = ((up.terms + down.terms)? * 0.5)?;
        Ok(up)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let (h, plus, minus) = self.displaced(at, v)?;
        let difference = (self.slope(&plus)?.grad - self.slope(&minus)?.grad)?;
        Ok(difference.broadcast_mul(&per_row(&h.recip()?.affine(0.5, 0.0)?, &difference)?)?)
    }

    fn engine(&self) -> String {
        "graph; second derivatives by central differences, because it is a plain closure".into()
    }
}
