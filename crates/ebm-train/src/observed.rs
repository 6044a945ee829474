//! The observers of a run, on whatever rank they are: what they are told, what they look at, how they fail.

use std::collections::BTreeMap;
use std::path::Path;

use ebm_core::candle::Tensor;
use ebm_core::{Collective, Error, Event, Look, Observer, Report, Result, Stop};
use serde::{Deserialize, Serialize};

use crate::checkpoint::disk::is_full;
use crate::ledger::Counts;
use crate::plan::Plan;
use crate::state::TrainState;
use crate::view::{View, look_key};

/// What the first rank wants of a run, on all ranks.
#[derive(Serialize, Deserialize)]
struct Wishes {
    /// Whether the run is saved.
    saves: bool,
    /// How often observers want gradient norms a term.
    reports: Vec<u64>,
    /// When observers look at the buffers.
    looks: Vec<Look>,
}

/// The observers of this rank, and what those of the first one want.
pub(crate) struct Observed {
    all: Vec<Box<dyn Observer>>,
    detached: Vec<String>,
    wishes: Wishes,
    stop: Stop,
}

impl Observed {
    /// Takes observers, and says on all ranks what those of the first want. `stop` ends what they draw.
    ///
    /// # Errors
    /// If a rank is gone.
    pub fn new(
        plan: &Plan,
        directory: Option<&Path>,
        all: Vec<Box<dyn Observer>>,
        stop: Stop,
    ) -> Result<Self> {
        let shape = plan.data.sample_shape();
        let mut wishes = Wishes {
            saves: directory.is_some(),
            reports: all.iter().map(|o| o.report_every()).collect(),
            looks: all.iter().flat_map(|o| o.looks(shape)).collect(),
        };
        let ranks: &dyn Collective = plan.ranks();
        if ranks.size() > 1 {
            let text = serde_json::to_vec(&wishes).map_err(|e| Error::plugin("ranks", e))?;
            wishes =
                serde_json::from_slice(&ranks.gather(&text)?[0]).map_err(|e| Error::plugin("ranks", e))?;
        }
        Ok(Observed { all, detached: Vec::new(), wishes, stop })
    }

    /// Whether the run is saved, on whatever rank.
    pub fn saves(&self) -> bool {
        self.wishes.saves
    }

    /// Whether one of them wants gradient norms a term at this step.
    pub fn want_norms(&self, step: u64) -> bool {
        self.wishes.reports.iter().any(|every| *every > 0 && step.is_multiple_of(*every))
    }

    /// The observers that failed, with their errors.
    pub fn into_detached(self) -> Vec<String> {
        self.detached
    }

    /// What observers have written, where they count it.
    pub fn counts(&self) -> Counts {
        self.all.iter().filter_map(|o| o.entries()).collect()
    }

    /// Tells that the run begins after `step`, and warns of what observers found amiss in their files, which it returns.
    ///
    /// # Errors
    /// As [`Observed::tell`].
    pub fn begin(&mut self, plan: &Plan, step: u64, directory: &Path) -> Result<Vec<String>> {
        let run = &plan.config.run;
        self.tell(&Event::Start { step, of: run.steps, name: &run.name, directory })?;
        let remarks: Vec<String> = self.all.iter_mut().flat_map(|o| o.remarks()).collect();
        remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
        Ok(remarks)
    }

    /// Tells of a step, with the chains that they look at; all ranks call it. Whether every observer was done with it: one
    /// that was stopped while it drew will be told again.
    ///
    /// # Errors
    /// If a buffer fails, on all ranks; as [`Observed::tell`].
    pub fn step(&mut self, plan: &Plan, state: &TrainState, report: &Report) -> Result<bool> {
        let looked = self.looked(plan, state)?;
        let view = View::new(plan, state).with_stop(&self.stop).with_looked(looked);
        self.tell(&Event::Step { report, view: &view })
    }

    /// The chains of all ranks that observers of the first look at now, by their number.
    fn looked(&self, plan: &Plan, state: &TrainState) -> Result<BTreeMap<usize, Tensor>> {
        let mut looked = BTreeMap::new();
        if plan.ranks().size() == 1 {
            return Ok(looked);
        }
        let mut rows: Vec<usize> =
            self.wishes.looks.iter().filter(|l| l.is_due(state.step)).map(|l| l.rows).collect();
        rows.sort_unstable();
        rows.dedup();
        for n in rows {
            if let Some(chains) = state.buffered_everywhere(plan, n, look_key(plan))? {
                looked.insert(n, chains);
            }
        }
        Ok(looked)
    }

    /// Tells every observer; one that fails is reported and detached. Whether none was stopped.
    ///
    /// # Errors
    /// If there is no room for what one writes: the run ends before a checkpoint that would have lost it.
    pub fn tell(&mut self, event: &Event<'_>) -> Result<bool> {
        let (detached, mut whole, mut full) = (&mut self.detached, true, None);
        self.all.retain_mut(|o| match o.on(event) {
            Ok(()) => true,
            Err(Error::Stopped) => {
                whole = false;
                true
            }
            Err(e) if is_full(&e) => {
                tracing::warn!(
                    "there is no room for what observer `{}` writes: the run ends here, and goes on from its newest checkpoint once \
                     there is",
                    o.name()
                );
                full = Some(e);
                false
            }
            Err(e) => {
                tracing::warn!("observer `{}` failed and is detached: {e}", o.name());
                detached.push(format!("{}: {e}", o.name()));
                false
            }
        });
        full.map_or(Ok(whole), Err)
    }
}
