//! A run's live parts, built from its configuration and checked against each other before it starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Alone, Batch, BuildCx, Collective, DataSource, EnergyFn, Engine, Error, Key, Needs, Objective, Optimiser,
    ParamSet, Policy, ReplayBuffer, Result, Sampler,
};

use crate::chains::Replay;
use crate::config::{EngineChoice, Fill, From, RunConfig, Weights};
use crate::engine_watch::EngineWatch;
use crate::fulfil::OBJECTIVE;
use crate::labels::Rows;
use crate::shares::{Layout, Share};
use crate::starts::Starts;
use crate::state::TrainState;
use crate::{capabilities, config};

/// Everything a run needs besides its state. It holds the energy, so one plan serves one
/// [`TrainState`] at a time.
pub struct Plan {
    pub(crate) config: RunConfig,
    pub(crate) text: String,
    pub(crate) tree: serde_json::Value,
    pub(crate) base: PathBuf,
    pub(crate) key: Key,
    pub(crate) dtype: DType,
    pub(crate) device: Device,
    pub(crate) data: Arc<dyn DataSource>,
    pub(crate) energy: Arc<dyn EnergyFn>,
    pub(crate) averaged: Arc<dyn EnergyFn>,
    pub(crate) sampler: Box<dyn Sampler>,
    pub(crate) generator: Box<dyn Sampler>,
    pub(crate) objective: Box<dyn Objective>,
    /// Everything that is trained: the energy's parameters under their names, the objective's as `objective.<name>`.
    pub(crate) params: ParamSet,
    pub(crate) needs: Needs,
    pub(crate) optimiser: Box<dyn Optimiser>,
    pub(crate) policies: Vec<Box<dyn Policy>>,
    pub(crate) starts: Starts,
    pub(crate) notes: Vec<String>,
    pub(crate) ranks: Arc<dyn Collective>,
    pub(crate) layout: Layout,
}

impl Plan {
    /// Builds all parts of `config` and checks that they fit.
    ///
    /// Relative paths in the configuration count from `base`. `engine` offers fused twins of the
    /// energy; `run.engine` says whether they are used.
    ///
    /// # Errors
    /// If a part cannot be built (the part's error), or two parts do not fit (naming both).
    pub fn build(
        config: &RunConfig,
        base: &Path,
        device: &Device,
        engine: Option<Arc<dyn Engine>>,
    ) -> Result<Plan> {
        config.check()?;
        let (config, text, tree) = owned(config)?;
        let dtype = config.run.dtype.dtype();
        let key = Key::root(config.run.seed);

        let mut cx = BuildCx::new(&[], dtype, device, key.at("data")).with_base(base).with_path("data");
        let data = config.data.build(&mut cx)?;
        let mut notes = cx.notes().to_vec();
        if data.is_empty() {
            return Err(Error::config("data", format!("{} has no training samples", data.name())));
        }
        let context = |part: &str| {
            BuildCx::new(data.sample_shape(), dtype, device, key.at(part))
                .with_condition(data.condition())
                .with_products(config.run.dtype.products())
                .with_range(data.range())
                .with_base(base)
                .with_path(part)
        };

        let watch = engine.filter(|_| config.run.engine != EngineChoice::Graph).map(EngineWatch::new);
        let mut cx = context("energy").with_engine(watch.clone().map(|w| w as Arc<dyn Engine>));
        let energy = cx.energy(config.energy.as_ref())?;
        notes.extend_from_slice(cx.notes());
        if config.run.engine == EngineChoice::Require {
            EngineWatch::require(watch.as_ref(), energy.as_ref())?;
        }
        // The same key gives the averaged energy the same initial values.
        let mut cx = context("energy").with_engine(watch.map(|w| w as Arc<dyn Engine>));
        let averaged = cx.energy(config.energy.as_ref())?;

        let mut cx = context("sampler");
        let sampler = config.sampler.build(&mut cx)?;
        notes.extend_from_slice(cx.notes());
        let mut cx = context("generate.sampler");
        let generator = match &config.generate.sampler {
            Some(own) => own.build(&mut cx)?,
            None => sampler.with_steps(config.generate.steps),
        };
        let mut cx = context("objective");
        let objective = config.objective.build(&mut cx)?;
        notes.extend_from_slice(cx.notes());
        let mut cx = context("optimiser");
        let optimiser = config.optimiser.build(&mut cx)?;
        notes.extend_from_slice(cx.notes());
        let mut cx = context("policy").with_path("");
        let policies = cx.each("policy", &config.policies, |p, cx| p.build(cx))?;
        let mut cx = context("chains");
        let chains = &config.chains;
        let starts = Starts::build(&mut cx, chains.start.as_deref(), &chains.transitions, chains.restart)?;
        notes.extend_from_slice(cx.notes());
        if config.generate.weights == Weights::Average && optimiser.average().is_none() {
            notes.push(format!(
                "generate: {} keeps no average, so samples come from the live weights",
                optimiser.name()
            ));
        }
        let needs = objective.needs();
        let params = ParamSet::merge([("", energy.params()), (OBJECTIVE, &objective.params())])?;
        let layout = Layout::new(config.run.batch, config.run.shards, 0, 1)?;
        let mut plan = Plan {
            config,
            text,
            tree,
            base: base.to_path_buf(),
            key,
            dtype,
            device: device.clone(),
            data,
            energy,
            averaged,
            sampler,
            generator,
            objective,
            params,
            needs,
            optimiser,
            policies,
            starts,
            notes,
            ranks: Arc::new(Alone),
            layout,
        };
        let remarks = capabilities::check(&plan)?;
        plan.notes.extend(remarks);
        Ok(plan)
    }

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
            if self.sampler.couples_chains() {
                return refused(alone, format!("sampler `{}`", self.sampler.name()));
            }
            if self.starts.couples_chains() {
                return refused(alone, "a transition of `chains`".into());
            }
        }
        self.ranks = ranks;
        Ok(self)
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
        crate::digest::config_digest(&self.tree)
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
        &self.energy
    }

    /// The energy that samples are drawn from: averaged weights, or the live ones if
    /// `generate.weights` says so or there is no average. Takes the weights of `state`.
    ///
    /// # Errors
    /// If the weights cannot be written.
    pub fn sampled_energy(&self, state: &TrainState) -> Result<&Arc<dyn EnergyFn>> {
        let Some(average) = &state.average else { return Ok(&self.energy) };
        if self.config.generate.weights == config::Weights::Live {
            return Ok(&self.energy);
        }
        for name in self.energy.params().names() {
            // Buffers (power-iteration vectors) are those of the live energy; they have no average.
            if let Some(value) = average.get(name).or_else(|| self.energy.params().get(name)) {
                self.averaged.params().set(name, value)?;
            }
        }
        Ok(&self.averaged)
    }

    /// The data source.
    pub fn data(&self) -> &Arc<dyn DataSource> {
        &self.data
    }

    /// The program of a training step.
    pub fn sampler(&self) -> &dyn Sampler {
        self.sampler.as_ref()
    }

    /// The program for generation.
    pub fn generator(&self) -> &dyn Sampler {
        self.generator.as_ref()
    }

    /// Makes fresh starts.
    pub fn starts(&self) -> &Starts {
        &self.starts
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

    /// The data batch at a place of the data, which wraps at the end of an epoch.
    pub(crate) fn batch_at(&self, epoch: u64, cursor: usize) -> Result<Batch> {
        let size = self.config.run.batch;
        self.cast(self.data.batch(epoch, cursor, size, self.key.at("data"))?)
    }

    /// What a row of the buffer is.
    pub(crate) fn rows(&self) -> Rows {
        Rows::new(self.data.sample_shape(), self.data.condition(), self.config.chains.labels)
    }

    /// `n` chains of the buffers that are here `(n, ...)`; `None` without any, or while they give none.
    ///
    /// # Errors
    /// If a buffer fails.
    pub fn buffered(&self, state: &TrainState, n: usize, key: Key) -> Result<Option<Tensor>> {
        let Some(replay) = &state.replay else { return Ok(None) };
        replay.look(n, key)?.map(|rows| Ok(self.rows().split(rows)?.0)).transpose()
    }

    /// `key` for one of several shards.
    pub(crate) fn key_of(&self, key: Key, shard: usize) -> Key {
        if self.layout.shards == 1 { key } else { key.at("shard").at(shard) }
    }

    /// The rows of a whole shard of the data batch at a place of the data.
    pub(crate) fn shard_at(&self, epoch: u64, cursor: usize, share: &Share) -> Result<Batch> {
        if self.layout.shards == 1 {
            return self.batch_at(epoch, cursor);
        }
        let (batch, first) = (self.config.run.batch, share.shard * share.of);
        self.cast(self.data.rows(epoch, cursor, batch, first, share.of, self.key.at("data"))?)
    }

    /// An empty buffer for each shard that is here, if the run has any.
    pub(crate) fn empty_replay(&self) -> Result<Option<Replay>> {
        let Some(config) = &self.config.replay else { return Ok(None) };
        let build = |share: &Share| -> Result<(usize, Box<dyn ReplayBuffer>)> {
            let key = self.key_of(self.key.at("replay"), share.shard);
            let mut cx = BuildCx::new(&self.rows().shape(), self.dtype, &self.device, key)
                .with_condition(self.data.condition())
                .with_range(self.data.range())
                .with_base(&self.base)
                .with_path("replay")
                .with_shards(self.layout.shards);
            Ok((share.shard, config.build(&mut cx)?))
        };
        let shards = self.layout.mine.iter().map(build).collect::<Result<_>>()?;
        Ok(Some(Replay { shards, of: self.layout.shards }))
    }

    /// Buffers filled as `chains.fill` says.
    pub(crate) fn new_replay(&self) -> Result<Option<Replay>> {
        let Some(mut replay) = self.empty_replay()? else { return Ok(None) };
        for share in &self.layout.mine {
            if let Some(buffer) = replay.shard_mut(share.shard) {
                self.fill(buffer.as_mut(), share)?;
            }
        }
        Ok(Some(replay))
    }

    fn fill(&self, buffer: &mut dyn ReplayBuffer, share: &Share) -> Result<()> {
        let (key, rows) = (self.key.at("fill"), self.rows());
        let batches = self.data.batches(self.config.run.batch);
        for i in 0..FILL_LIMIT {
            let data = || self.shard_at((i / batches) as u64, i % batches, share);
            let (x, cond) = match self.config.chains.fill {
                Fill::None => break,
                Fill::Data => {
                    let data = data()?;
                    (data.x, data.cond)
                }
                Fill::Start => {
                    let first = i * self.config.run.batch + share.shard * share.of;
                    let chains = ebm_core::Chains::range(first as u64, share.of);
                    let cond = if rows.keep() { data()?.cond } else { None };
                    (self.starts.fresh(self.energy.as_ref(), &chains, cond.as_ref(), key)?, cond)
                }
            };
            let x = rows.join(x, cond.as_ref())?;
            let before = buffer.len();
            buffer.put(None, &x, self.key_of(key.at(i), share.shard))?;
            if buffer.len() < before + x.dims().first().copied().unwrap_or(0) {
                break;
            }
        }
        Ok(())
    }

    /// Whether chains start from the buffer.
    pub(crate) fn starts_on_replay(&self) -> bool {
        self.config.chains.from == From::Replay
    }
}

/// Batches after which filling a buffer that never gets full stops.
const FILL_LIMIT: usize = 100_000;

/// A copy of `config` with its text and tree; the copy is read from the text, which proves that the
/// text is complete.
fn owned(config: &RunConfig) -> Result<(RunConfig, String, serde_json::Value)> {
    let text = config.to_toml()?;
    let copy = RunConfig::from_toml(&text)?;
    let tree = config::tree_of(&text)?;
    let again = copy.tree()?;
    if again != tree {
        let paths = crate::digest::differences(&tree, &again).join(", ");
        return Err(Error::config(
            "configuration",
            format!(
                "these settings change when written and read again: {paths}; report this to the plugin's author"
            ),
        ));
    }
    Ok((copy, text, tree))
}
