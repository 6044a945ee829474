//! An energy under one condition.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::energy::outline::Outline;
use crate::operators::Identity;
use crate::{Batch, Condition, EnergyFn, EnergySpec, Error, ParamSet, Result, Slope, ThetaGrad, WeightFn};

/// An energy under one fixed condition for all rows.
pub struct Conditioned {
    inner: Arc<dyn EnergyFn>,
    condition: Vec<f64>,
    spec: EnergySpec,
    identity: Identity,
}

impl Conditioned {
    /// `inner` under `condition`.
    ///
    /// # Errors
    /// If `inner` takes no condition, or one of another length.
    pub fn new(inner: Arc<dyn EnergyFn>, condition: Vec<f64>) -> Result<Self> {
        match inner.spec().condition {
            Condition::Optional(n) | Condition::Required(n) if n == condition.len() => {}
            c => {
                return Err(Error::config(
                    "conditioned.condition",
                    format!("has length {}, but the energy takes {c:?}", condition.len()),
                ));
            }
        }
        let mut spec = inner.spec().clone();
        spec.condition = Condition::None;
        Ok(Conditioned { inner, condition, spec, identity: Identity::new() })
    }

    fn at(&self, at: &Batch) -> Result<Batch> {
        let row = crate::host::given(&self.condition, at.dtype(), at.device())?;
        let cond = row.unsqueeze(0)?.broadcast_as((at.len(), self.condition.len()))?.contiguous()?;
        Ok(at.clone().with_cond(Some(cond)))
    }
}

impl EnergyFn for Conditioned {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        self.inner.params()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.inner.terms(&self.at(at)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.inner.slope(&self.at(at)?)
    }

    fn identity(&self) -> Option<Identity> {
        self.identity.with([self.inner.identity()])
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.inner.grad_theta(&self.at(at)?, w)
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(&self.at(at)?, v)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(&self.at(at)?, v)
    }

    fn walk(
        &self,
        at: &Batch,
        program: &crate::RowProgram,
        key: crate::Key,
    ) -> Result<Option<crate::Walked>> {
        self.inner.walk(&self.at(at)?, program, key)
    }

    fn outline(&self) -> Result<Outline> {
        Ok(Outline::Given { condition: self.condition.clone(), inner: Box::new(self.inner.outline()?) })
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.refreshed_buffers()
    }

    fn engine(&self) -> String {
        format!("conditioned {}", self.inner.engine())
    }

    fn layers(&self, batch: usize) -> String {
        self.inner.layers(batch)
    }
}
