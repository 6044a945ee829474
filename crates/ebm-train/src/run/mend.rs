//! The healthy states of a run on its way: kept, gone back to, left where it ends ill.

use std::path::Path;

use ebm_core::{Action, Error, Finding, Level, Result, agree};

use super::Course;
use crate::checkpoint::healthy;
use crate::ledger::Counts;
use crate::state::TrainState;

impl Course<'_> {
    /// Keeps the state if it is healthy, and warns once of one that is not.
    pub(super) fn examine(&mut self, state: &mut TrainState) -> Result<()> {
        if state.care.watch.is_calm(&self.plan.watched) {
            return self.keep(state);
        }
        let health = state.health(self.plan);
        if health.level == Level::Ill && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                "step {}: the run looks ill and goes on, it may recover: {}",
                state.step,
                health.sentence
            );
        }
        Ok(())
    }

    /// Keeps the state with which the run begins, if none was kept yet.
    pub(super) fn first_healthy(&mut self, state: &mut TrainState) -> Result<()> {
        if state.care.healthy.is_none() {
            return self.keep(state);
        }
        let swept = match self.directory.filter(|_| self.keeps) {
            Some(_) => healthy::sweep(state, &self.checkpoints()),
            None => Ok(()),
        };
        agree(self.plan.ranks(), swept)
    }

    /// Keeps the state as a healthy one. A disk without room for it is no reason to end a run.
    fn keep(&mut self, state: &mut TrainState) -> Result<()> {
        if !self.keeps {
            return Ok(());
        }
        match healthy::keep(self.plan, state, &self.checkpoints()) {
            Err(e @ Error::Io { .. }) if self.plan.ranks().size() == 1 => {
                tracing::warn!("healthy states are kept no more: {e}");
                self.keeps = false;
                Ok(())
            }
            kept => kept,
        }
    }

    /// Asks the policies about a finding and does what they say; whether the run goes on.
    pub(super) fn go_back(&mut self, state: &mut TrainState, finding: &Finding) -> Result<bool> {
        let mut asked = None;
        for (policy, memory) in self.plan.policies.iter().zip(&mut state.policies) {
            for action in policy.answer(memory, finding)? {
                match action {
                    Action::RollBack { factors } => asked = asked.or(Some(factors)),
                    other => tracing::warn!(
                        "an answer of a policy to a finding is unknown to this version: {other:?}"
                    ),
                }
            }
        }
        let (Some(factors), Some(to)) =
            (asked, state.care.healthy.filter(|_| self.guarded && self.observed.saves()))
        else {
            return Ok(false);
        };
        let from = state.step;
        tracing::warn!("step {from}: {finding}; goes back to step {to}");
        healthy::go_back(self.plan, state, &self.checkpoints(), finding, &factors)?;
        // What observers have written is of later steps until they begin again.
        self.save_with(state, Counts::new())?;
        let forgotten = self.directory.map_or(Ok(()), |_| {
            healthy::forget_later(&self.checkpoints(), to)?;
            healthy::sweep(state, &self.checkpoints())
        });
        agree(self.plan.ranks(), forgotten)?;
        self.in_ledger(|ledger| ledger.forget(to));
        self.observed.begin(self.plan, to, self.directory.unwrap_or(Path::new("")))?;
        let counts = self.observed.counts();
        self.in_ledger(|ledger| ledger.note(to, counts).and_then(|()| ledger.prune()));
        Ok(true)
    }

    /// Leaves the last healthy state as the newest checkpoint of a run that diverged.
    pub(super) fn leave_healthy(&mut self, state: &TrainState) -> Result<()> {
        let Some(step) = state.care.healthy.filter(|_| self.guarded && self.observed.saves()) else {
            return Ok(());
        };
        let left = self.directory.map(|_| healthy::leave(self.plan, &self.checkpoints(), step)).transpose();
        if let Some(path) = agree(self.plan.ranks(), left)? {
            tracing::warn!("the last healthy state, of step {step}, is {}", path.display());
            self.checkpoint = Some((step, path));
        }
        Ok(())
    }
}
