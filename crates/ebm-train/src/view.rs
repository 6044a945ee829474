//! What observers see of a run.

use ebm_core::candle::Tensor;
use ebm_core::{Batch, EnergyFn, Result, RunView, Split};

use crate::plan::Plan;
use crate::state::TrainState;

/// A read-only view of a plan and its state.
pub struct View<'a> {
    plan: &'a Plan,
    state: &'a TrainState,
}

impl<'a> View<'a> {
    /// The view of `plan` at `state`.
    pub fn new(plan: &'a Plan, state: &'a TrainState) -> Self {
        View { plan, state }
    }
}

impl RunView for View<'_> {
    fn energy(&self) -> &dyn EnergyFn {
        self.plan.parts.energy.as_ref()
    }

    /// The key is that of generation, the same at every step, so that sheets of one run show the
    /// same chains under changing weights.
    fn samples(&self, n: usize) -> Result<Tensor> {
        let generator = self.state.generator(self.plan)?;
        generator.draw(n, self.plan.conditions()?.as_ref(), self.plan.key.at("generate"))
    }

    fn buffered(&self, n: usize) -> Result<Option<Tensor>> {
        self.state.buffered(self.plan, n, self.plan.key.at("buffered"))
    }

    fn data(&self, n: usize) -> Result<Option<Tensor>> {
        Ok(self.plan.data.stored(Split::Train, n)?.map(|l| l.x))
    }

    fn drawn(&self, n: usize) -> Result<Option<Batch>> {
        let Batch { x, cond, .. } = self.plan.batch_at(0, 0)?;
        let n = n.min(x.dim(0)?);
        let cond = cond.map(|c| c.narrow(0, 0, n)).transpose()?;
        Ok(Some(Batch::new(x.narrow(0, 0, n)?)?.with_cond(cond)))
    }

    fn sample_shape(&self) -> &[usize] {
        self.plan.data.sample_shape()
    }
}
