//! A model: parts, weights, facts, and what its sampler learnt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Condition, Conditioned, EnergyFn, Engine, Error, Key, Places, Result, Sampler};

use crate::absent::Absent;
use crate::checkpoint::{self, Contents, Depth, Manifest, Newest, entries_of};
use crate::config::{ModelConfig, Weights};
use crate::energies::Energies;
use crate::facts::Facts;
use crate::generate::Generator;
use crate::parts::{Parts, Setup};
use crate::{Starts, digest};

/// A trained energy, or a fresh one, with what is needed to sample it.
pub struct Model {
    parts: Parts,
    facts: Facts,
    config: ModelConfig,
    memory: BTreeMap<String, Tensor>,
    dtype: DType,
    device: Device,
    from: Option<Checkpoint>,
}

/// The checkpoint of a model.
struct Checkpoint {
    path: PathBuf,
    manifest: Manifest,
    damaged: Vec<(PathBuf, String)>,
}

/// How a checkpoint is opened.
pub struct Opening<'a> {
    /// Settings in place of those in the checkpoint; the energy's must be the same.
    pub config: Option<ModelConfig>,
    /// Which weights; as `generate.weights` says without it. The average gives the live ones where the run kept none.
    pub weights: Option<Weights>,
    /// The number type; the run's own without it.
    pub dtype: Option<DType>,
    /// Where tensors shall be.
    pub device: &'a Device,
    /// Offers fused twins of the energy.
    pub engine: Option<Arc<dyn Engine>>,
}

impl<'a> Opening<'a> {
    /// As the run says, on a device.
    pub fn on(device: &'a Device) -> Self {
        Opening { config: None, weights: None, dtype: None, device, engine: None }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("path", &self.path())
            .field("step", &self.step())
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Opens the newest whole checkpoint of the run directory `path`, or the checkpoint at `path`. Training data, buffer and
    /// moments of its run are not read.
    ///
    /// # Errors
    /// If there is no whole checkpoint, a part of the model cannot be built, or the weights do not fit.
    pub fn open(path: &Path, opening: Opening<'_>) -> Result<Self> {
        Self::of(checkpoint::open(path, Depth::Model)?, opening)
    }

    /// The model of a checkpoint that was read.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn of(read: Newest, opening: Opening<'_>) -> Result<Self> {
        let Newest { contents, damaged } = read;
        let mut config = ModelConfig::from_toml(&contents.config)?;
        if let Some(own) = opening.config {
            same_energy(&config, &own, &contents)?;
            config = own;
        }
        let dtype = opening.dtype.unwrap_or(config.run.dtype.dtype());
        let facts = contents.facts().to(dtype, opening.device)?;
        let model = Self::built(config, facts, &contents.places(), dtype, opening.device, opening.engine)?;
        let mut weights = contents.part("params");
        if opening.weights.unwrap_or(model.config.generate.weights) == Weights::Average {
            weights.extend(contents.part("average"));
        }
        let here = |t: Tensor| -> Result<Tensor> { Ok(t.to_dtype(dtype)?.to_device(opening.device)?) };
        let all = |tensors: BTreeMap<String, Tensor>| -> Result<BTreeMap<String, Tensor>> {
            tensors.into_iter().map(|(k, v)| Ok((k, here(v)?))).collect()
        };
        model.parts.energy.params().restore(&all(weights)?)?;
        // Several shards have a memory each; they are all alike.
        let memory = entries_of(0, model.config.run.shards, &contents.part("sampler"));
        let memory = memory.into_iter().map(|(k, v)| Ok((k, v.to_device(opening.device)?)));
        let memory = memory.collect::<Result<_>>()?;
        let from = Some(Checkpoint { path: contents.path, manifest: contents.manifest, damaged });
        Model { memory, from, ..model }.under_given()
    }

    /// A model with initial weights, or those that its energy names, of samples that `facts` describe.
    ///
    /// # Errors
    /// If a part cannot be built.
    pub fn fresh(
        config: ModelConfig,
        facts: Facts,
        places: &Places,
        device: &Device,
        engine: Option<Arc<dyn Engine>>,
    ) -> Result<Self> {
        config.sections().check(config.format)?;
        let dtype = config.run.dtype.dtype();
        let facts = facts.to(dtype, device)?;
        let model = Self::built(config, facts, places, dtype, device, engine)?;
        let (wanted, found) = (&model.energy().spec().sample_shape, &model.facts.sample_shape);
        if wanted != found {
            let expected = format!("{wanted:?} for one sample");
            let hint = "change the energy's shape, or name samples that have it";
            return Err(Error::shape("energy", found, expected, hint));
        }
        model.under_given()
    }

    /// The same where the program that there is was refused, for whoever only asks for energies: to draw says why.
    #[must_use]
    pub fn refusing_to_draw(mut self, why: Error) -> Self {
        let absent = Absent::refused("sampler", why);
        self.parts.sampler = Box::new(absent.clone());
        self.parts.generator = Box::new(absent);
        self.parts.draws = false;
        self
    }

    /// The same with the energy under the one condition that `generate.given` says.
    fn under_given(mut self) -> Result<Self> {
        let energy = &self.parts.energy;
        if let Some(condition) = self.facts.given(self.config.generate.given.as_ref(), energy.as_ref())? {
            self.parts.energy = Arc::new(Conditioned::new(energy.clone(), condition)?);
        }
        Ok(self)
    }

    fn built(
        config: ModelConfig,
        facts: Facts,
        places: &Places,
        dtype: DType,
        device: &Device,
        engine: Option<Arc<dyn Engine>>,
    ) -> Result<Self> {
        let setup = Setup { dtype, ..Setup::new(&config.run, &facts, places, device) };
        let parts = Parts::build(&config.sections(), &setup, engine)?;
        let (memory, device) = (BTreeMap::new(), device.clone());
        Ok(Model { parts, facts, config, memory, dtype, device, from: None })
    }

    /// The energy, with the weights that were asked for.
    pub fn energy(&self) -> &Arc<dyn EnergyFn> {
        &self.parts.energy
    }

    /// The program for generation.
    pub fn sampler(&self) -> &dyn Sampler {
        self.parts.generator.as_ref()
    }

    /// Makes fresh starts.
    pub fn starts(&self) -> &Starts {
        &self.parts.starts
    }

    /// Remarks of the parts.
    pub fn notes(&self) -> &[String] {
        &self.parts.notes
    }

    /// What it knows of its samples.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether generation needs to know more of the samples than the checkpoint says: one of format 1 kept neither conditions nor
    /// reference samples.
    pub fn lacks_facts(&self) -> bool {
        self.conditions().is_err() || (self.sampler().needs_reference() && self.facts.reference.is_none())
    }

    /// Takes what the checkpoint does not say from facts that were read elsewhere.
    ///
    /// # Errors
    /// If tensors cannot be moved to the model's device.
    pub fn learn(&mut self, more: Facts) -> Result<()> {
        let more = more.to(self.dtype, &self.device)?;
        let own = &mut self.facts;
        own.levels = own.levels.or(more.levels);
        if own.class_names.is_empty() {
            own.class_names = more.class_names;
        }
        own.conditions = own.conditions.take().or(more.conditions);
        own.reference = own.reference.take().or(more.reference);
        Ok(())
    }

    /// Shape of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        &self.facts.sample_shape
    }

    /// The settings that it was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The root of its random streams.
    pub fn key(&self) -> Key {
        Key::root(self.config.run.seed)
    }

    /// Number type of parameters and samples.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where its tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Samples that go through it together: the batch of its training.
    pub fn batch(&self) -> usize {
        self.config.run.batch.max(1)
    }

    /// Updates of its checkpoint; `None` without one.
    pub fn step(&self) -> Option<u64> {
        self.from.as_ref().map(|c| c.manifest.step)
    }

    /// Its checkpoint.
    pub fn path(&self) -> Option<&Path> {
        self.from.as_ref().map(|c| c.path.as_path())
    }

    /// The numbers of its checkpoint.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.from.as_ref().map(|c| &c.manifest)
    }

    /// Digest of the settings of its run, seed included, if it has a checkpoint: with the step it tells the weights.
    pub fn digest(&self) -> Option<&str> {
        self.manifest().map(|m| m.config_digest.as_str())
    }

    /// Newer checkpoints that are damaged and were passed over, with the reason.
    pub fn damaged(&self) -> &[(PathBuf, String)] {
        self.from.as_ref().map_or(&[], |c| &c.damaged)
    }

    /// A generator of samples with its own program.
    pub fn generator(&self) -> Generator<'_> {
        Generator {
            stop: ebm_core::Stop::default(),
            energy: self.parts.energy.as_ref(),
            sampler: self.parts.generator.as_ref(),
            starts: &self.parts.starts,
            begin: None,
            memory: self.memory.clone(),
            reference: self.facts.reference.clone(),
            batch: self.batch(),
            warm_up: self.manifest().is_none_or(|m| m.format > 1).then(|| self.sampler().steps() / 2),
        }
    }

    /// The conditions of the first data batch, `(m, c)`: those of samples where the classes of the data are not counted.
    ///
    /// # Errors
    /// If the energy takes one and the checkpoint is so old that it keeps none.
    pub fn conditions(&self) -> Result<Option<&Tensor>> {
        self.facts.conditions_for(self.parts.energy.as_ref())
    }

    /// The conditions of `n` samples, to be used in turn: see [`Facts::drawn_for`].
    ///
    /// # Errors
    /// As [`Model::conditions`].
    pub fn conditions_of(&self, n: usize, key: Key) -> Result<Option<Tensor>> {
        self.facts.drawn_for(n, self.parts.energy.as_ref(), key)
    }

    /// Energies under the conditions of generation.
    ///
    /// # Errors
    /// As [`Model::conditions`].
    pub fn energies(&self) -> Result<Energies<'_>> {
        self.energies_of(self.parts.energy.as_ref())
    }

    /// The same of another energy of such samples.
    ///
    /// # Errors
    /// As [`Model::conditions`].
    pub fn energies_of<'a>(&self, energy: &'a dyn EnergyFn) -> Result<Energies<'a>> {
        let plain = Energies::of(energy, self.batch(), self.dtype, self.device.clone());
        Ok(match energy.spec().condition {
            Condition::None => plain,
            _ => plain.under(self.facts.conditions_for(energy)?),
        })
    }
}

/// Refuses settings of another energy than the weights are of.
fn same_energy(saved: &ModelConfig, own: &ModelConfig, contents: &Contents) -> Result<()> {
    let (saved, own) = (saved.tree()?, own.tree()?);
    let all = digest::different(&saved["energy"], &own["energy"]);
    if all.is_empty() {
        return Ok(());
    }
    let (path, all) = (contents.path.display(), all.join("; "));
    Err(Error::config(
        "energy",
        format!("does not fit the checkpoint {path}: {all}; its weights are of that energy"),
    ))
}
