//! An energy that does not learn.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use super::no_terms;
use crate::energy::outline::Outline;
use crate::{Batch, EnergyFn, EnergySpec, ParamSet, Result, Slope, ThetaGrad, WeightFn};

/// An energy whose parameters are not trained: it shows none.
pub struct Frozen {
    inner: Arc<dyn EnergyFn>,
    params: ParamSet,
}

impl Frozen {
    /// `inner` with its parameters hidden.
    pub fn new(inner: Arc<dyn EnergyFn>) -> Self {
        Frozen { inner, params: ParamSet::default() }
    }
}

impl EnergyFn for Frozen {
    fn spec(&self) -> &EnergySpec {
        self.inner.spec()
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.inner.terms(at)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.inner.slope(at)
    }

    fn identity(&self) -> Option<crate::operators::Identity> {
        self.inner.identity()
    }

    fn grad_theta(&self, at: &Batch, _: &WeightFn<'_>) -> Result<ThetaGrad> {
        Ok(ThetaGrad { terms: self.inner.terms(at)?, grads: BTreeMap::new() })
    }

    fn grad_theta_slope(&self, at: &Batch, _: &Tensor) -> Result<ThetaGrad> {
        Ok(ThetaGrad { terms: no_terms(at)?, grads: BTreeMap::new() })
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(at, v)
    }

    fn walk(
        &self,
        at: &Batch,
        program: &crate::RowProgram,
        key: crate::Key,
    ) -> Result<Option<crate::Walked>> {
        self.inner.walk(at, program, key)
    }

    fn outline(&self) -> Result<Outline> {
        self.inner.outline()
    }

    fn density(&self) -> Option<&dyn crate::Density> {
        self.inner.density()
    }

    fn conditionals(&self) -> Option<&dyn crate::Conditionals> {
        self.inner.conditionals()
    }

    fn engine(&self) -> String {
        format!("frozen {}", self.inner.engine())
    }

    fn layers(&self, batch: usize) -> String {
        self.inner.layers(batch)
    }
}
