//! Opening a model: a run directory, a configuration file, or a composition of runs.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use candle_core::Tensor;
use ebm_core::{Blind, Condition, DataSource, EnergyFn, Key, Places, Probe, Sampler};
use ebm_model::checkpoint::{self, Depth};
use ebm_model::{Facts, Generator, ModelConfig, Opening, Setup};
use toml::{Table, Value};

use crate::config::overrides::Override;
use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::model::compose;
use crate::model::energies::one_hot;
use crate::run::open::{data_of, on_device, source_of};

/// A model that can be sampled and asked for energies, and knows where the data of its training are.
pub struct Model {
    model: ebm_model::Model,
    /// Whose section `data` says what it was trained on.
    trained_on: Source,
    data: OnceLock<Arc<dyn DataSource>>,
}

impl Deref for Model {
    type Target = ebm_model::Model;

    fn deref(&self) -> &ebm_model::Model {
        &self.model
    }
}

/// How samples are drawn, where not as the model says.
#[derive(Clone, Copy, Default)]
pub struct Sampling<'a> {
    /// Steps of the generation program; as many as configured without it.
    pub steps: Option<usize>,
    /// How many of them, the first ones, adapt step sizes, which are fixed from then on; half of them without it.
    pub warm_up: Option<usize>,
    /// Seed; that of the run without it.
    pub seed: Option<u64>,
    /// An energy in place of the model's own: a restriction or a composition of it with samples of the same shape.
    pub energy: Option<&'a dyn EnergyFn>,
    /// Conditions `(m, c)` of the samples, used in turn; without them classes as often as in the training data.
    pub conditions: Option<&'a Tensor>,
    /// Where the chains start, `(n, ...)`, one row a sample, in place of fresh starts.
    pub start: Option<&'a Tensor>,
}

/// Longest vectors that are tried on an energy of which nothing says the shape of its samples.
const LONGEST: usize = 64;

/// Axes of a sample that a file names at most: tensors have eight, of which chains take up to two.
const MOST_AXES: usize = 6;
/// Numbers of such a sample at most: energies with a parameter for each of them are made before a sample is.
const MOST_NUMBERS: usize = 1 << 27;

/// The shape of one sample where there are no data: what the file says, or the only length of a vector that the energy
/// takes; `named` if the energy names runs.
fn shape_of(config: &ModelConfig, places: &Places, named: bool) -> ebm_core::Result<Vec<usize>> {
    if let Some(shape) = &config.generate.shape {
        let numbers = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        return match numbers.is_some_and(|n| n <= MOST_NUMBERS) && shape.len() <= MOST_AXES {
            true => Ok(shape.clone()),
            false => Err(ebm_core::Error::config(
                "generate.shape",
                format!("is {shape:?}, must have at most {MOST_AXES} axes and {MOST_NUMBERS} numbers"),
            )),
        };
    }
    let built = |length: usize| {
        let facts = Facts::of_shape(&[length]);
        let setup = Setup::new(&config.run, &facts, places, &candle_core::Device::Cpu);
        setup.context("energy").energy(config.energy.as_ref())
    };
    let fitting: Vec<usize> = (1..=LONGEST).filter(|length| built(*length).is_ok()).take(2).collect();
    match fitting[..] {
        [only] => Ok(vec![only]),
        [] if named => built(1).map(|_| vec![1]),
        _ => Err(ebm_core::Error::config(
            "generate.shape",
            "is missing, and neither data nor the energy say it: give the shape of one sample, such as [2]",
        )),
    }
}

/// Sections that a composition need not have: those of the first run that it names stand in for them.
const LENT: [&str; 3] = ["sampler", "chains", "generate"];

/// Most values drawn in one call: 8 GiB in f32.
const MOST_ENTRIES: usize = 1 << 31;

/// Most steps of one program: its diagnostics are kept step by step.
pub const MOST_STEPS: usize = 10_000_000;

impl Model {
    /// Opens a run directory at its newest whole checkpoint, a configuration file, or a composition of runs such as
    /// `runs/a and not 0.3 * runs/b` (see [`compose`](crate::model::compose())).
    ///
    /// Training data are opened only where nothing else says what samples are: for a configuration that names no run, and for
    /// a conditional run of a version that did not keep its conditions.
    ///
    /// # Errors
    /// If it is neither, or the checkpoint does not fit.
    pub fn open(target: &Path, changes: &[Override]) -> Result<Self> {
        Self::open_on(target, changes, None)
    }

    /// The same with other data than its training's, or the same at another place, for whatever reads them; named as in
    /// [`data_setting`](crate::inputs::data_setting).
    ///
    /// # Errors
    /// As [`Model::open`], or if there are no such data.
    pub fn open_on(target: &Path, changes: &[Override], data: Option<&str>) -> Result<Self> {
        if target.is_dir() {
            return Self::of_run(target, changes, data);
        }
        let mut source = match compose::source(target) {
            Some(composition) => composition?,
            None => Source::file(target)?,
        };
        source.overrides = changes.to_vec();
        Self::of(source, data)
    }

    fn of_run(run: &Path, changes: &[Override], data: Option<&str>) -> Result<Self> {
        if !run.join("config.toml").is_file() {
            return Err(Error::unfit(
                run.display(),
                "found no config.toml in it, wanted the directory of a run or a configuration file",
            ));
        }
        let source = with_data(source_of(run, changes)?, data)?;
        let config = source.model_of(&source.document()?)?;
        let (device, engine) = on_device(&config.run)?;
        let opening = Opening { config: Some(config), engine, ..Opening::on(&device) };
        let model = ebm_model::Model::open(run, opening).map_err(|e| source.place(e))?;
        for (path, why) in model.damaged() {
            tracing::warn!("passed over {}: {why}", path.display());
        }
        Self::complete(model, source, OnceLock::new())
    }

    /// The model of a configuration, with initial weights or those that its energy names; `data` as in [`Model::open_on`].
    ///
    /// # Errors
    /// If the configuration is wrong, or nothing says what its samples are.
    pub fn of(source: Source, data: Option<&str>) -> Result<Self> {
        let mut document = source.document()?;
        source.check_model(&document)?;
        let own_data = document.contains_key("data");
        let first = first_run(&document, &source.places);
        let lender = first.as_ref().map(|run| source_of(run, &[])).transpose()?;
        let mut lent_sections = Vec::new();
        if let Some(lender) = &lender {
            let lent = lender.document()?;
            for section in LENT {
                let (missing, theirs) = (!document.contains_key(section), lent.get(section));
                if let Some(value) = theirs.filter(|_| missing) {
                    document.insert(section.into(), value.clone());
                    lent_sections.push(section);
                }
            }
        }
        let config = source.model_of(&document)?;
        let (device, engine) = on_device(&config.run)?;
        let trained_on = with_data(lender.filter(|_| !own_data).unwrap_or_else(|| source.clone()), data)?;
        let opened = OnceLock::new();
        let facts = match &first {
            Some(run) if !own_data => checkpoint::open(run, Depth::Model)?.contents.facts(),
            None if !own_data && data.is_none() => {
                // A run that is named and is not there would have said the shape: that is what there is to tell.
                let named = document.get("energy").is_some_and(|energy| first_path(energy).is_some());
                let shape = shape_of(&config, &source.places, named).map_err(|e| source.place(e))?;
                Facts::of_shape(&shape)
            }
            _ => {
                let data = data_of(&trained_on)?;
                let key = Key::root(config.run.seed);
                let facts = ebm_train::facts(data.as_ref(), config.run.batch, key)?;
                _ = opened.set(data);
                facts
            }
        };
        let fresh =
            |config| ebm_model::Model::fresh(config, facts.clone(), &source.places, &device, engine.clone());
        let without_given = || {
            let mut document = document.clone();
            let lent = lent_sections.contains(&"generate");
            let generate = document.get_mut("generate").filter(|_| lent).and_then(Value::as_table_mut)?;
            generate.remove("given")?;
            fresh(source.model_of(&document).ok()?).ok()
        };
        let model = match fresh(config).or_else(|why| without_given().ok_or(why)) {
            // The class that the first run is drawn under is none of a whole that takes no class, as of `RUN given 8`.
            Ok(model) => Ok(model),
            // What a part was sampled with need not fit the whole, whose energies are there all the same.
            Err(why) if lent_sections.contains(&"sampler") => {
                lent_sections.iter().filter(|s| **s != "generate").for_each(|s| _ = document.remove(*s));
                if let Some(Value::Table(generate)) = document.get_mut("generate") {
                    generate.remove("sampler");
                }
                match source.model_of(&document).and_then(|config| Ok(fresh(config)?)) {
                    Ok(model) => Ok(model.refusing_to_draw(why)),
                    Err(_) => Err(why),
                }
            }
            Err(why) => Err(why),
        };
        Self::complete(model.map_err(|e| source.place(e))?, trained_on, opened)
    }

    /// With what a checkpoint of an earlier version does not keep and its data have.
    fn complete(
        model: ebm_model::Model,
        trained_on: Source,
        data: OnceLock<Arc<dyn DataSource>>,
    ) -> Result<Self> {
        let mut model = Model { model, trained_on, data };
        for note in model.notes() {
            tracing::info!("{note}");
        }
        if model.model.lacks_facts() {
            let known = model.data().and_then(|data| {
                let (batch, key) = (model.batch(), model.key());
                let facts = ebm_train::facts(data.as_ref(), batch, key)?;
                let reference = ebm_train::reference(data.as_ref(), model.sampler(), batch, key)?;
                Ok(Facts { reference, ..facts })
            });
            match known {
                Ok(facts) => model.model.learn(facts)?,
                Err(e) => {
                    tracing::warn!("the training data, which an early checkpoint needs for generation: {e}")
                }
            }
        }
        Ok(model)
    }

    /// The data that it was trained on, opened when they are first asked for.
    ///
    /// # Errors
    /// If its configuration names none, or they cannot be read.
    pub fn data(&self) -> Result<&Arc<dyn DataSource>> {
        if let Some(data) = self.data.get() {
            return Ok(data);
        }
        let opened = data_of(&self.trained_on)?;
        if let Some(columns) = opened.columns()
            && let Some(difference) = self.facts().columns.difference(columns)
        {
            let message = format!(
                "is a table with other columns than the run was trained on: {difference}, the run's first; name the table as it was then"
            );
            return Err(ebm_core::Error::config("data", message).into());
        }
        Ok(self.data.get_or_init(|| opened))
    }

    /// `n` samples `(n, ...)` from fresh starts; `steps` of the generation program, or as many as configured.
    ///
    /// # Errors
    /// If sampling fails or a sample is not finite.
    pub fn sample(&self, n: usize, steps: Option<usize>, seed: Option<u64>) -> Result<Tensor> {
        self.sample_watched(n, Sampling { steps, seed, ..Sampling::default() }, &mut Blind)
    }

    /// As [`Model::sample`], in another way; `probe` sees every step of every piece of at most `run.batch` chains.
    ///
    /// # Errors
    /// As [`Model::sample`], and if the probe fails.
    pub fn sample_watched(
        &self,
        n: usize,
        Sampling { steps, warm_up, seed, energy, conditions, start }: Sampling<'_>,
        probe: &mut dyn Probe,
    ) -> Result<Tensor> {
        let entries = n.checked_mul(self.sample_shape().iter().product::<usize>().max(1));
        if entries.is_none_or(|e| e > MOST_ENTRIES) {
            return Err(Error::invalid(
                "count",
                n,
                "fewer samples at a time: their values do not fit in memory at once",
            ));
        }
        if let Some(k) = steps.filter(|k| *k > MOST_STEPS) {
            return Err(Error::invalid("steps", k, format!("at most {MOST_STEPS}")));
        }
        let usual = self.generator();
        // Half of the program, if it is another one than the model's, too.
        let half = usual.warm_up.map(|n| steps.map_or(n, |k| k / 2));
        let mut generator = Generator { warm_up: warm_up.or(half), ..usual };
        let own: Option<Box<dyn Sampler>> = steps.map(|k| self.sampler().with_steps(k));
        if let Some(own) = &own {
            generator.sampler = own.as_ref();
        }
        if let Some(energy) = energy {
            generator.energy = energy;
        }
        if let Some(start) = start {
            if start.dims()[0] < n {
                let wanted = format!("at most {}: a starting point for each", start.dims()[0]);
                return Err(Error::invalid("count", n, wanted));
            }
            generator.begin = Some(start.clone());
        }
        let key = self.generation_key(seed);
        if let Some(conditions) = conditions {
            return Ok(generator.draw_watched(n, Some(conditions), key, probe)?);
        }
        let conditions = self.conditions_of(n, key)?;
        if conditions.is_some() && self.in_turn() {
            tracing::info!(
                "the checkpoint does not say how often each class is in the data: samples have the classes of the first training batch in turn"
            );
        }
        Ok(generator.draw_watched(n, conditions.as_ref(), key, probe)?)
    }

    /// The key of all that generation draws with this seed, or that of the run without it.
    pub(crate) fn generation_key(&self, seed: Option<u64>) -> Key {
        seed.map_or(self.key(), Key::root).at("generate")
    }

    /// Whether samples have the conditions of the first training batch in turn although these are classes: those of a
    /// checkpoint that did not count them.
    fn in_turn(&self) -> bool {
        let facts = self.facts();
        let classes = || facts.conditions.as_ref().is_some_and(|c| one_hot(c).unwrap_or(false));
        self.energy().spec().condition != Condition::None && facts.class_counts.is_empty() && classes()
    }
}

/// The same with other data, if any are named.
fn with_data(source: Source, what: Option<&str>) -> Result<Source> {
    match what {
        Some(what) => source.with_data(what),
        None => Ok(source),
    }
}

/// The first run that the energy of a configuration names by `kind = "checkpoint"`, if it is there.
fn first_run(document: &Table, places: &Places) -> Option<PathBuf> {
    let path = first_path(document.get("energy")?)?;
    Some(places.find(Path::new(path))).filter(|run| run.join("config.toml").is_file())
}

/// The path of the first trained energy, in the order of the text's tables.
fn first_path(value: &Value) -> Option<&str> {
    match value {
        Value::Table(table) => {
            let text = |name: &str| table.get(name).and_then(Value::as_str);
            let own = text("path").filter(|_| text("kind") == Some("checkpoint"));
            own.or_else(|| table.values().find_map(first_path))
        }
        Value::Array(list) => list.iter().find_map(first_path),
        _ => None,
    }
}
