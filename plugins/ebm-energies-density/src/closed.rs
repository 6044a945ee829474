//! An energy that also knows its normalised density: the five calls of `Autograd`, and exact answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::plan::NetPlan;
use ebm_core::{
    Autograd, Batch, BuildCx, Chains, Density, EnergyFn, EnergySpec, Error, Forward, Key, ParamSet, Result,
    Slope, ThetaGrad, View, WeightFn,
};

use crate::Stream;

/// Writes one exact draw, flattened, into a slice as long as a sample.
pub type Drawer<'a> = Box<dyn Fn(&mut Stream, &mut [f64]) + 'a>;

/// A forward function of one term whose integral, draws and moments are known.
///
/// All answers are for the parameters `p` of the moment, so they stay right while an energy is trained.
pub trait KnownDensity: Forward {
    /// `log Z = log ∫ exp(−E(x)) dx`, nats.
    ///
    /// # Errors
    /// If a parameter cannot be read, or the density has no finite integral.
    fn log_z(&self, p: &View) -> Result<f64>;

    /// What draws a sample; prepared once for many draws.
    ///
    /// # Errors
    /// If a parameter cannot be read, or the density has no finite integral.
    fn drawer(&self, p: &View) -> Result<Drawer<'_>>;

    /// Exact mean of each coordinate, flattened, if finite.
    fn mean(&self, p: &View) -> Option<Vec<f64>>;

    /// Exact variance of each coordinate, flattened, if finite.
    fn variance(&self, p: &View) -> Option<Vec<f64>>;
}

/// The energy `net` with its [`Density`].
pub struct Closed<F> {
    inner: Autograd<F>,
    dtype: DType,
    device: Device,
}

impl<F: KnownDensity> Closed<F> {
    /// The energy `net` over the parameters declared in `cx`, with one term called `term`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn build(cx: &mut BuildCx, net: F, term: &str) -> Result<Arc<dyn EnergyFn>> {
        let spec = EnergySpec::new(cx.sample_shape(), &[term]);
        let params = cx.take_params()?;
        let inner = Autograd::new(cx.path(), net, spec, params);
        Ok(Arc::new(Closed { inner, dtype: cx.dtype(), device: cx.device().clone() }))
    }

    fn view(&self) -> &View {
        self.inner.params().frozen()
    }
}

impl<F: KnownDensity> EnergyFn for Closed<F> {
    fn spec(&self) -> &EnergySpec {
        self.inner.spec()
    }
    fn params(&self) -> &ParamSet {
        self.inner.params()
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.inner.terms(at)
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.inner.slope(at)
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.inner.grad_theta(at, w)
    }
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(at, v)
    }
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(at, v)
    }
    fn plan(&self) -> Option<&NetPlan> {
        self.inner.plan()
    }
    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.refreshed_buffers()
    }
    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl<F: KnownDensity> Density for Closed<F> {
    fn log_density(&self, at: &Batch) -> Result<Tensor> {
        let log_z = self.inner.net().log_z(self.view())?;
        Ok(self.energy(at)?.affine(-1.0, -log_z)?)
    }

    fn draw(&self, chains: &Chains, key: Key) -> Result<Tensor> {
        let mut shape = vec![chains.len()];
        shape.extend_from_slice(&self.spec().sample_shape);
        let len: usize = self.spec().sample_shape.iter().product();
        let mut data = vec![0f64; len * chains.len()];
        let draw = self.inner.net().drawer(self.view())?;
        if len > 0 {
            for (row, chain) in data.chunks_mut(len).zip(chains.ids()) {
                draw(&mut Stream::new(key, *chain), row);
            }
        }
        Ok(Tensor::from_vec(data, shape, &self.device)?.to_dtype(self.dtype)?)
    }

    fn mean(&self) -> Option<Vec<f64>> {
        self.inner.net().mean(self.view())
    }

    fn variance(&self) -> Option<Vec<f64>> {
        self.inner.net().variance(self.view())
    }
}

/// The entries of parameter `name`, row by row.
pub(crate) fn numbers(p: &View, name: &str) -> Result<Vec<f64>> {
    Ok(p.get(name)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// Refuses a value that is not positive and finite, as setting `name` of the energy that `cx` builds.
pub(crate) fn positive(cx: &BuildCx, name: &str, value: f64) -> Result<f64> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(Error::config(format!("{}.{name}", cx.path()), format!("is {value}, must be positive and finite")))
}

/// Refuses samples of other than two values.
pub(crate) fn plane(cx: &BuildCx) -> Result<()> {
    if cx.sample_len() == 2 {
        return Ok(());
    }
    Err(Error::shape(cx.path(), cx.sample_shape(), "(2,)", "this energy lives on the plane; use 2-D data"))
}

/// Refuses samples of fewer than two values.
pub(crate) fn at_least_two(cx: &BuildCx) -> Result<()> {
    if cx.sample_len() >= 2 {
        return Ok(());
    }
    Err(Error::shape(cx.path(), cx.sample_shape(), "two values or more", "use wider samples"))
}
