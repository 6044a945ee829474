//! A network as a plug-in's own energy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;
use ebm_core::{Batch, EnergyFn, EnergySpec, ParamSet, Result, Slope, ThetaGrad, WeightFn};

/// What becomes of a slope, by how many there were before.
type Change = dyn Fn(usize, Slope) -> Result<Slope> + Send + Sync;

/// An energy that says nothing of what it starts, and does as it likes with its slopes.
pub struct Own {
    inner: Arc<dyn EnergyFn>,
    slopes: AtomicUsize,
    change: Box<Change>,
}

impl Own {
    pub fn new(
        inner: Arc<dyn EnergyFn>,
        change: impl Fn(usize, Slope) -> Result<Slope> + Send + Sync + 'static,
    ) -> Own {
        Own { inner, slopes: AtomicUsize::new(0), change: Box::new(change) }
    }
}

impl EnergyFn for Own {
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
        (self.change)(self.slopes.fetch_add(1, Ordering::Relaxed), self.inner.slope(at)?)
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
}
