//! A plan from its configuration, its parts checked against each other.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Alone, DataSource, EnergyFn, Engine, Error, Key, Objective, Optimiser, ParamSet, Places, Policy, Result,
    RunPaths, Sampler, SamplerConfig, Split,
};
use ebm_model::{Facts, Parts, Setup, Starts, digest};

use crate::ahead::Ahead;
use crate::capabilities;
use crate::config::{self, ChainsSection, FORMAT, From, GenerateSection, Precision, RunConfig, Weights};
use crate::given::Given;
use crate::plan::{Plan, Purpose};
use crate::run;
use crate::shares::Layout;
use crate::step::fulfil::OBJECTIVE;
use crate::training::Training;
use crate::{tuned, watched};

impl Plan {
    /// Builds all parts of `config` and checks that they fit.
    ///
    /// Relative paths in the configuration are looked for in `places`: a folder, or several. `engine` offers fused twins of
    /// the energy; `run.engine` says whether they are used.
    ///
    /// # Errors
    /// If a part cannot be built (the part's error), or two parts do not fit (naming both).
    pub fn build(
        config: &RunConfig,
        places: impl Into<Places>,
        device: &Device,
        engine: Option<Arc<dyn Engine>>,
    ) -> Result<Plan> {
        Self::build_for(Purpose::Begin, config, places, device, engine)
    }

    /// As [`Plan::build`], for the beginning or the continuation of a run.
    ///
    /// # Errors
    /// As [`Plan::build`].
    pub fn build_for(
        purpose: Purpose,
        config: &RunConfig,
        places: impl Into<Places>,
        device: &Device,
        engine: Option<Arc<dyn Engine>>,
    ) -> Result<Plan> {
        config.check()?;
        let (places, (config, text, tree)) = (places.into(), owned(config)?);
        let run = &config.run;
        let (dtype, key) = (run.dtype.dtype(), Key::root(run.seed));

        let nothing = Facts::default();
        let mut cx = Setup::new(run, &nothing, &places, device).context("data");
        let built = config.data.build(&mut cx);
        let data = cx.located(built)?;
        let mut notes = cx.notes().to_vec();
        if data.is_empty() {
            return Err(Error::config("data", format!("{} has no training samples", data.name())));
        }
        let facts = facts(data.as_ref(), run.batch, key)?.to(dtype, device)?;
        let setup = Setup::new(run, &facts, &places, device).with_data(&data);
        let sections = config.sections();
        let parts = Parts::build(&sections, &setup, engine.clone())?;
        notes.extend_from_slice(&parts.notes);
        // The same key gives the averaged energy the same initial values.
        let (averaged, _) = Parts::energy(&sections, &setup, engine)?;

        let mut cx = setup.context("objective");
        let objective = config.objective.build(&mut cx)?;
        notes.extend_from_slice(cx.notes());
        let mut cx = setup.context("optimiser");
        let optimiser = config.optimiser.build(&mut cx)?;
        notes.extend_from_slice(cx.notes());
        let mut cx = setup.context("policy").with_path("");
        let policies = cx.each("policy", &config.policies, |p, cx| p.build(cx))?;
        if config.generate.weights == Weights::Average && optimiser.average().is_none() {
            notes.push(format!(
                "generate: {} keeps no average, so samples come from the live weights",
                optimiser.name()
            ));
        }
        let device = device.clone();
        let pieces = Pieces { purpose, device, data, parts, averaged, objective, optimiser, policies, notes };
        Plan::assemble((config, text, tree), places, facts, pieces)
    }

    /// The plan of pieces that were made each for itself, checked against each other.
    fn assemble(
        (config, text, tree): (RunConfig, String, serde_json::Value),
        places: Places,
        facts: Facts,
        pieces: Pieces,
    ) -> Result<Plan> {
        let Pieces { purpose, device, data, parts, averaged, objective, optimiser, policies, notes } = pieces;
        let (run, key) = (&config.run, Key::root(config.run.seed));
        let dtype = run.dtype.dtype();
        let own = parts.energy.spec().domain;
        let domain = Some(own).filter(|d| d.is_discrete()).or(facts.domain);
        let reference = reference(data.as_ref(), parts.generator.as_ref(), run.batch, key)?;
        let plan = Plan {
            text,
            tree,
            places,
            key,
            dtype,
            data,
            ahead: Ahead::default(),
            facts: Facts { reference, domain, ..facts }.to(dtype, &device)?,
            params: ParamSet::merge([("", parts.energy.params()), (OBJECTIVE, &objective.params())])?,
            needs: objective.needs(),
            layout: Layout::new(run.batch, run.shards, 0, 1)?,
            device,
            parts,
            averaged,
            objective,
            optimiser,
            policies,
            notes,
            growing: Vec::new(),
            ranks: Arc::new(Alone),
            watched: ebm_health::Facts::default(),
            purpose,
            fingerprint: OnceLock::new(),
            config,
        };
        plan.checked()
    }

    /// The plan with what is remarked on parts that fit, or the first two that do not.
    fn checked(mut self) -> Result<Plan> {
        self.conditions()?;
        let remarks = capabilities::check(&self)?;
        // They write nothing before a run begins, and refuse what they cannot have.
        let paths = RunPaths::new("");
        run::observers_at(&self, &paths)?;
        self.growing = paths.growing();
        self.notes.extend(remarks);
        self.watched = watched::of(&self)?;
        tuned::check_schedules(&self)?;
        for (i, policy) in self.policies.iter().enumerate() {
            tuned::check(&self, &format!("policy[{i}].scale"), &policy.scales())?;
        }
        Ok(self)
    }

    /// The plan of parts that were given as values; its configuration has their names.
    ///
    /// # Errors
    /// If a part is missing, or two do not fit.
    pub(crate) fn given(training: Training) -> Result<Plan> {
        let Training { energy, data, sampler, objective, optimiser, replay, mut run, .. } = training;
        let missing = |what: &str| {
            Error::config(
                what,
                format!("is missing; give the training one with `.{what}(..)` before it runs"),
            )
        };
        let objective = objective.ok_or_else(|| missing("objective"))?;
        let optimiser = optimiser.ok_or_else(|| missing("optimiser"))?;
        let params = energy.params();
        let first = params.names().next().and_then(|name| params.get(name));
        let device = first.map_or(Device::Cpu, |t| t.device().clone());
        run.dtype =
            if first.is_some_and(|t| t.dtype() == DType::F64) { Precision::F64 } else { Precision::F32 };
        let from = if replay.is_some() { From::Replay } else { From::Data };
        let config = RunConfig {
            format: FORMAT,
            run,
            data: Given::boxed(data.name()),
            energy: Given::boxed(energy.engine()),
            sampler: sampler.as_ref().map(|s| Given::boxed(s.name()) as Box<dyn SamplerConfig>),
            chains: ChainsSection { from, ..ChainsSection::default() },
            replay,
            objective: Given::boxed(objective.name()),
            optimiser: Given::boxed(optimiser.name()),
            schedules: Vec::new(),
            // There is one energy, whose live weights are those that are sampled.
            generate: GenerateSection { weights: Weights::Live, ..GenerateSection::default() },
            observers: Vec::new(),
            policies: Vec::new(),
        };
        config.check()?;
        let (places, (config, text, tree)) = (Places::from(Path::new(".")), owned(&config)?);
        let (dtype, key) = (config.run.dtype.dtype(), Key::root(config.run.seed));
        let facts = facts(data.as_ref(), config.run.batch, key)?.to(dtype, &device)?;
        let setup = Setup::new(&config.run, &facts, &places, &device);
        let starts = Starts::build(&mut setup.context("chains"), None, &[], config.chains.restart)?;
        let parts = Parts::given(energy, sampler, config.generate.steps, starts);
        let (purpose, averaged, policies, notes) =
            (Purpose::Begin, parts.energy.clone(), Vec::new(), Vec::new());
        let pieces = Pieces { purpose, device, data, parts, averaged, objective, optimiser, policies, notes };
        Plan::assemble((config, text, tree), places, facts, pieces)
    }
}

/// What a plan is put together from.
struct Pieces {
    purpose: Purpose,
    device: Device,
    data: Arc<dyn DataSource>,
    parts: Parts,
    averaged: Arc<dyn EnergyFn>,
    objective: Box<dyn Objective>,
    optimiser: Box<dyn Optimiser>,
    policies: Vec<Box<dyn Policy>>,
    notes: Vec<String>,
}

/// What a model must know of these data; its conditions are those of the first batch.
///
/// # Errors
/// If that batch cannot be read.
pub fn facts(data: &dyn DataSource, batch: usize, key: Key) -> Result<Facts> {
    let conditions = match data.condition() {
        0 => None,
        _ => data.batch(0, 0, batch, key.at("data"))?.cond,
    };
    Ok(Facts {
        sample_shape: data.sample_shape().to_vec(),
        condition: data.condition(),
        class_names: data.class_names().to_vec(),
        class_counts: data.class_counts()?,
        range: data.range(),
        seen: match data.range() {
            Some(_) => None,
            None => crate::misfits::seen(data)?,
        },
        domain: Some(data.domain()).filter(|d| d.is_discrete()),
        mean: mean(data)?,
        levels: data.levels(),
        columns: data.columns().cloned().unwrap_or_default(),
        conditions,
        reference: None,
    })
}

/// Samples that the mean of discrete data is taken of.
const MEAN_OF: usize = 16_384;

/// Mean of the stored samples, where they are of a discrete domain.
fn mean(data: &dyn DataSource) -> Result<Option<Tensor>> {
    if !data.domain().is_discrete() {
        return Ok(None);
    }
    let some = data.stored(Split::Train, MEAN_OF)?;
    some.map(|s| Ok(s.x.mean(0)?)).transpose()
}

/// Samples of the first batch, if the program for generation looks at such.
///
/// # Errors
/// If that batch cannot be read.
pub fn reference(
    data: &dyn DataSource,
    generator: &dyn Sampler,
    batch: usize,
    key: Key,
) -> Result<Option<Tensor>> {
    if !generator.needs_reference() {
        return Ok(None);
    }
    Ok(Some(data.batch(0, 0, batch, key.at("data"))?.x))
}

/// A copy of `config` with its text and tree; the copy is read from the text, which proves that the
/// text is complete.
fn owned(config: &RunConfig) -> Result<(RunConfig, String, serde_json::Value)> {
    let text = config.to_toml()?;
    let copy = RunConfig::from_toml(&text)?;
    let tree = config::tree_of(&text)?;
    let again = copy.tree()?;
    if again != tree {
        let paths = digest::differences(&tree, &again).join(", ");
        return Err(Error::config(
            "configuration",
            format!(
                "these settings change when written and read again: {paths}; report this to the plugin's author"
            ),
        ));
    }
    Ok((copy, text, tree))
}
