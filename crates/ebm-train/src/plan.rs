//! A run's live parts, built from its configuration and checked against each other before it starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, BuildCx, DataSource, EnergyFn, Engine, Error, Key, Needs, Objective, Optimiser, Policy,
    ReplayBuffer, Result, Sampler,
};

use crate::config::{EngineChoice, Fill, From, RunConfig, Weights};
use crate::engine_watch::EngineWatch;
use crate::labels::Rows;
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
    pub(crate) needs: Needs,
    pub(crate) optimiser: Box<dyn Optimiser>,
    pub(crate) policies: Vec<Box<dyn Policy>>,
    pub(crate) starts: Starts,
    pub(crate) notes: Vec<String>,
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
        let mut cx = context("policy");
        let policies = config.policies.iter().map(|p| p.build(&mut cx)).collect::<Result<Vec<_>>>()?;
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
        let plan = Plan {
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
            needs,
            optimiser,
            policies,
            starts,
            notes,
        };
        capabilities::check(&plan)?;
        Ok(plan)
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

    /// `n` chains of the buffer `(n, ...)`; `None` without a buffer, or while it gives none.
    ///
    /// # Errors
    /// If the buffer fails.
    pub fn buffered(&self, state: &TrainState, n: usize, key: Key) -> Result<Option<Tensor>> {
        let Some(replay) = &state.replay else { return Ok(None) };
        replay.draw(n, key)?.map(|(_, rows)| Ok(self.rows().split(rows)?.0)).transpose()
    }

    /// An empty buffer, if the run has one.
    pub(crate) fn empty_replay(&self) -> Result<Option<Box<dyn ReplayBuffer>>> {
        let Some(config) = &self.config.replay else { return Ok(None) };
        let shape = self.rows().shape();
        let mut cx = BuildCx::new(&shape, self.dtype, &self.device, self.key.at("replay"))
            .with_condition(self.data.condition())
            .with_range(self.data.range())
            .with_base(&self.base)
            .with_path("replay");
        Ok(Some(config.build(&mut cx)?))
    }

    /// A buffer filled as `chains.fill` says.
    pub(crate) fn new_replay(&self) -> Result<Option<Box<dyn ReplayBuffer>>> {
        let Some(mut replay) = self.empty_replay()? else { return Ok(None) };
        let (key, rows) = (self.key.at("fill"), self.rows());
        let batches = self.data.batches(self.config.run.batch);
        for i in 0..FILL_LIMIT {
            let data = || self.batch_at((i / batches) as u64, i % batches);
            let (x, cond) = match self.config.chains.fill {
                Fill::None => break,
                Fill::Data => {
                    let data = data()?;
                    (data.x, data.cond)
                }
                Fill::Start => {
                    let b = self.config.run.batch;
                    let chains = ebm_core::Chains::range((i * b) as u64, b);
                    let cond = if rows.keep() { data()?.cond } else { None };
                    (self.starts.fresh(self.energy.as_ref(), &chains, cond.as_ref(), key)?, cond)
                }
            };
            let x = rows.join(x, cond.as_ref())?;
            let before = replay.len();
            replay.put(None, &x, key.at(i))?;
            if replay.len() < before + x.dims().first().copied().unwrap_or(0) {
                break;
            }
        }
        Ok(Some(replay))
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
