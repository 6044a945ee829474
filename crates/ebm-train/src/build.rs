//! A plan from its configuration, its parts checked against each other.

use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Alone, DataSource, Engine, Error, Key, ParamSet, Places, Result, Sampler};
use ebm_model::{Facts, Parts, Setup, digest};

use crate::capabilities;
use crate::config::{self, RunConfig, Weights};
use crate::fulfil::OBJECTIVE;
use crate::plan::Plan;
use crate::shares::Layout;

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
        let setup = Setup::new(run, &facts, &places, device);
        let sections = config.sections();
        let parts = Parts::build(&sections, &setup, engine.clone())?;
        notes.extend_from_slice(&parts.notes);
        // The same key gives the averaged energy the same initial values.
        let (averaged, _) = Parts::energy(&sections, &setup, engine)?;
        let reference = reference(data.as_ref(), parts.generator.as_ref(), run.batch, key)?;

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
        let params = ParamSet::merge([("", parts.energy.params()), (OBJECTIVE, &objective.params())])?;
        let (needs, layout) = (objective.needs(), Layout::new(run.batch, run.shards, 0, 1)?);
        let mut plan = Plan {
            text,
            tree,
            places,
            key,
            dtype,
            device: device.clone(),
            data,
            facts: Facts { reference, ..facts.clone() }.to(dtype, device)?,
            parts,
            averaged,
            objective,
            params,
            needs,
            optimiser,
            policies,
            notes,
            ranks: Arc::new(Alone),
            layout,
            config,
        };
        let remarks = capabilities::check(&plan)?;
        plan.notes.extend(remarks);
        Ok(plan)
    }
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
        range: data.range(),
        levels: data.levels(),
        conditions,
        reference: None,
    })
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
