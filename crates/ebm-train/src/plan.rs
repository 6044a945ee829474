//! A run's live parts: those of its model, and what trains them.

use std::sync::{Arc, OnceLock};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, Collective, DataSource, EnergyFn, Error, Key, Needs, Objective, Optimiser, ParamSet, Places,
    Policy, Result, Sampler,
};
use ebm_model::checkpoint::Fingerprint;
use ebm_model::{Facts, Parts, Starts, one_condition};

use crate::ahead::Ahead;
use crate::config::{From, RunConfig};
use crate::fingerprint::fingerprint;
use crate::labels::Rows;
use crate::shares::{Layout, Share};

/// What a plan is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// A run from its beginning: settings that would spoil it are refused.
    #[default]
    Begin,
    /// The continuation of a run: settings that it was trained with are remarked upon.
    Continue {
        /// Whether it may go on with other data than it was trained on.
        other_data: bool,
    },
}

impl Purpose {
    pub(crate) fn takes_other_data(self) -> bool {
        self == Purpose::Continue { other_data: true }
    }
}

/// Everything a run needs besides its state: the parts of its model, data, objective, optimiser, policies, and how the batch
/// lies on its ranks. It holds the energy, so one plan serves one [`TrainState`](crate::TrainState) at a time.
pub struct Plan {
    pub(crate) config: RunConfig,
    pub(crate) text: String,
    pub(crate) tree: serde_json::Value,
    pub(crate) places: Places,
    pub(crate) key: Key,
    pub(crate) dtype: DType,
    pub(crate) device: Device,
    pub(crate) data: Arc<dyn DataSource>,
    /// Batches of it that are being made.
    pub(crate) ahead: Ahead,
    pub(crate) facts: Facts,
    pub(crate) parts: Parts,
    /// The same energy for averaged weights.
    pub(crate) averaged: Arc<dyn EnergyFn>,
    pub(crate) objective: Box<dyn Objective>,
    /// Everything that is trained: the energy's parameters under their names, the objective's as `objective.<name>`.
    pub(crate) params: ParamSet,
    pub(crate) needs: Needs,
    pub(crate) optimiser: Box<dyn Optimiser>,
    pub(crate) policies: Vec<Box<dyn Policy>>,
    pub(crate) notes: Vec<String>,
    /// Files that only grow of the observers of the configuration, by [`ebm_core::RunPaths::growing`].
    pub(crate) growing: Vec<String>,
    pub(crate) ranks: Arc<dyn Collective>,
    pub(crate) layout: Layout,
    /// What the run's numbers are read against.
    pub(crate) watched: ebm_health::Facts,
    pub(crate) purpose: Purpose,
    pub(crate) fingerprint: OnceLock<Fingerprint>,
}

impl Plan {
    /// The same as one of several ranks that share the work. Every rank builds its plan from the same configuration;
    /// from then on all make the same calls of this crate.
    ///
    /// # Errors
    /// If the batch and its shards cannot be spread over so many ranks.
    pub fn with_ranks(mut self, ranks: Arc<dyn Collective>) -> Result<Plan> {
        let run = &self.config.run;
        self.layout = Layout::new(run.batch, run.shards, ranks.rank(), ranks.size())?;
        if self.layout.sharers > 1 {
            let refused = |needs: &str, part: String| {
                let hint = format!("set run.shards to {} or a multiple of it", ranks.size());
                Err(Error::capability(
                    format!("{} ranks that share a shard", ranks.size()),
                    needs,
                    part,
                    hint,
                ))
            };
            let alone = "chains that do not depend on each other";
            if !self.objective.portions() {
                let part = format!("objective `{}`", self.objective.name());
                return refused("a loss as a sum over rows of the batch", part);
            }
            if self.parts.sampler.couples_chains() {
                return refused(alone, format!("sampler `{}`", self.parts.sampler.name()));
            }
            if self.parts.starts.couples_chains() {
                return refused(alone, "a transition of `chains`".into());
            }
        }
        self.ranks = ranks;
        // A run alone hears nobody, and need not make buffers to know their size.
        if self.ranks.size() > 1
            && let Some(longest) = self.longest_message()?
        {
            self.ranks.bound(longest);
        }
        Ok(self)
    }

    /// A bound of what a rank says at once: sums of gradients in either precision, or its part of the buffers, and room for
    /// all that is small (numbers of reports, step sizes of chains, messages). None for buffers of any size.
    fn longest_message(&self) -> Result<Option<u64>> {
        const SMALL: usize = 64 << 20;
        let params = &self.params;
        let entries: usize = params.names().filter_map(|n| params.get(n)).map(Tensor::elem_count).sum();
        let buffers = match self.empty_replay()? {
            None => Some(0),
            Some(replay) => replay.full_bytes(),
        };
        let all = |buffers: usize| entries.saturating_mul(16).saturating_add(buffers.saturating_mul(2));
        Ok(buffers.map(|buffers| all(buffers).saturating_add(SMALL) as u64))
    }

    /// The ranks that share the work; one if nothing else was said.
    pub fn ranks(&self) -> &dyn Collective {
        self.ranks.as_ref()
    }

    /// The configuration, complete.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Digest of the settings that a continuation must share, seed included.
    pub fn digest(&self) -> String {
        ebm_model::digest::config_digest(&self.tree)
    }

    /// The configuration's complete text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The energy with live weights.
    pub fn energy(&self) -> &Arc<dyn EnergyFn> {
        &self.parts.energy
    }

    /// What a model of this run knows of its samples.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The conditions that samples are drawn under, in turn: what `generate.given` says, else those of the first data batch.
    ///
    /// # Errors
    /// If there is no such class.
    pub fn conditions(&self) -> Result<Option<Tensor>> {
        let (given, energy) = (self.config.generate.given.as_ref(), self.parts.energy.as_ref());
        match self.facts.given(given, energy)? {
            Some(vector) => Ok(Some(one_condition(&vector, self.dtype, &self.device)?)),
            None => Ok(self.facts.conditions.clone()),
        }
    }

    /// The conditions of `n` samples that are measured, to be used in turn: what `generate.given` says, else classes as often
    /// as in the data.
    ///
    /// # Errors
    /// If there is no such class.
    pub fn conditions_of(&self, n: usize, key: Key) -> Result<Option<Tensor>> {
        match self.config.generate.given {
            Some(_) => self.conditions(),
            None => self.facts.drawn_for(n, self.parts.energy.as_ref(), key),
        }
    }

    /// What tells its data from others.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn fingerprint(&self) -> Result<&Fingerprint> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known);
        }
        let found = fingerprint(self.data.as_ref())?;
        Ok(self.fingerprint.get_or_init(|| found))
    }

    /// Where files that the configuration names are looked for.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The data source.
    pub fn data(&self) -> &Arc<dyn DataSource> {
        &self.data
    }

    /// The program of a training step.
    pub fn sampler(&self) -> &dyn Sampler {
        self.parts.sampler.as_ref()
    }

    /// The program for generation.
    pub fn generator(&self) -> &dyn Sampler {
        self.parts.generator.as_ref()
    }

    /// Whether there is a program for generation.
    pub fn draws(&self) -> bool {
        self.parts.draws
    }

    /// Makes fresh starts.
    pub fn starts(&self) -> &Starts {
        &self.parts.starts
    }

    /// The root of the run's random streams.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Remarks of the parts, for `ebm check`.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether gradient norms a term are due in the report of step `step` (from 1).
    pub(crate) fn expensive_at(&self, step: u64) -> bool {
        let every = self.config.run.report_every;
        every > 0 && step.is_multiple_of(every)
    }

    /// A batch in the run's number type, on its device.
    pub(crate) fn cast(&self, batch: Batch) -> Result<Batch> {
        let to = |t: &Tensor| -> Result<Tensor> { Ok(t.to_dtype(self.dtype)?.to_device(&self.device)?) };
        let x = to(&batch.x)?;
        let cond = batch.cond.as_ref().map(to).transpose()?;
        Ok(batch.with_x(x).with_cond(cond))
    }

    /// The data batch at a place of the data, which wraps at the end of an epoch; not one of those that steps go through.
    pub(crate) fn batch_at(&self, epoch: u64, cursor: usize) -> Result<Batch> {
        let size = self.config.run.batch;
        self.cast(self.data.batch(epoch, cursor, size, self.key.at("data"))?)
    }

    /// What a row of the buffer is.
    pub(crate) fn rows(&self) -> Rows {
        Rows::new(self.data.sample_shape(), self.data.condition(), self.config.chains.labels)
    }

    /// `key` for one of several shards.
    pub(crate) fn key_of(&self, key: Key, shard: usize) -> Key {
        if self.layout.shards == 1 { key } else { key.at("shard").at(shard) }
    }

    /// The rows of a whole shard of the data batch at a place of the data; asked for in order, place by place.
    pub(crate) fn shard_at(&self, epoch: u64, cursor: usize, share: &Share) -> Result<Batch> {
        let batch = self.config.run.batch;
        let rows = if self.layout.shards == 1 { (0, batch) } else { (share.shard * share.of, share.of) };
        self.cast(self.ahead.rows(&self.data, (epoch, cursor), batch, rows, self.key.at("data"))?)
    }

    /// Whether chains start from the buffer.
    pub(crate) fn starts_on_replay(&self) -> bool {
        self.config.chains.from == From::Replay
    }
}
