//! What observers see of a run.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Batch, EnergyFn, Key, Result, RunView, Split, Stop};

use crate::plan::Plan;
use crate::state::TrainState;

/// The key under which observers look at buffers, the same at every step.
pub(crate) fn look_key(plan: &Plan) -> Key {
    plan.key.at("buffered")
}

/// A read-only view of a plan and its state.
pub struct View<'a> {
    plan: &'a Plan,
    state: &'a TrainState,
    stop: Stop,
    /// Chains of the buffers of all ranks, by their number.
    looked: BTreeMap<usize, Tensor>,
}

impl<'a> View<'a> {
    /// The view of `plan` at `state`.
    pub fn new(plan: &'a Plan, state: &'a TrainState) -> Self {
        View { plan, state, stop: Stop::default(), looked: BTreeMap::new() }
    }

    /// The same, whose samples are given up once somebody wishes to stop.
    #[must_use]
    pub fn with_stop(self, stop: &Stop) -> Self {
        View { stop: stop.clone(), ..self }
    }

    /// The same with chains that were collected from the buffers of all ranks, by their number.
    #[must_use]
    pub(crate) fn with_looked(self, looked: BTreeMap<usize, Tensor>) -> Self {
        View { looked, ..self }
    }
}

impl RunView for View<'_> {
    fn energy(&self) -> &dyn EnergyFn {
        self.plan.parts.energy.as_ref()
    }

    /// The key is that of generation, the same at every step, so that sheets of one run show the
    /// same chains under changing weights.
    fn samples(&self, n: usize) -> Result<Tensor> {
        self.state.generator(self.plan)?.stopped_by(&self.stop).draw(
            n,
            self.plan.conditions()?.as_ref(),
            self.plan.key.at("generate"),
        )
    }

    fn buffered(&self, n: usize) -> Result<Option<Tensor>> {
        if let Some(chains) = self.looked.get(&n) {
            return Ok(Some(chains.clone()));
        }
        self.state.buffered(self.plan, n, look_key(self.plan))
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
