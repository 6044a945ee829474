//! Settings on schedules and times factors: the parts that train, made again with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::{Error, Objective, Optimiser, ParamSet, Result, Sampler};
use ebm_model::Setup;
use serde_json::Value;

use crate::config::RunConfig;
use crate::plan::Plan;
use crate::step::fulfil::OBJECTIVE;

/// What a step is made with.
#[derive(Clone, Copy)]
pub(crate) struct Trained<'a> {
    pub sampler: &'a dyn Sampler,
    pub objective: &'a dyn Objective,
    pub optimiser: &'a dyn Optimiser,
}

/// The parts that train, with schedules and factors on their settings; those without any are their plan's.
pub(crate) struct Tuned {
    sampler: Option<Box<dyn Sampler>>,
    objective: Option<Box<dyn Objective>>,
    optimiser: Option<Box<dyn Optimiser>>,
    /// The energy's parameters, and those of this objective.
    pub params: ParamSet,
    /// Where the schedules are.
    pub places: Vec<u64>,
    /// Values of the scheduled settings that the parts were made with, factors and all, by their paths.
    pub values: Vec<(String, f64)>,
}

impl Tuned {
    /// The parts.
    pub fn parts<'a>(&'a self, plan: &'a Plan) -> Trained<'a> {
        Trained {
            sampler: self.sampler.as_ref().unwrap_or(&plan.parts.sampler).as_ref(),
            objective: self.objective.as_ref().unwrap_or(&plan.objective).as_ref(),
            optimiser: self.optimiser.as_ref().unwrap_or(&plan.optimiser).as_ref(),
        }
    }
}

/// Where the schedules are at `step`: settings change when this does.
pub(crate) fn places(plan: &Plan, step: u64) -> Vec<u64> {
    let of = plan.config.run.schedule();
    plan.config.schedules.iter().map(|s| s.place(step, of)).collect()
}

/// Values of the scheduled settings at `step`, by their paths.
///
/// # Errors
/// If a path names no number.
fn scheduled(plan: &Plan, step: u64) -> Result<Vec<(&str, f64)>> {
    if plan.config.schedules.is_empty() {
        return Ok(Vec::new());
    }
    let (mut tree, of, mut all) = (plan.tree.clone(), plan.config.run.schedule(), Vec::new());
    for s in &plan.config.schedules {
        let at = number_at(&mut tree, &s.setting)?;
        put(at, s.value(at.as_f64().unwrap_or_default(), step, of));
        all.push((s.setting.as_str(), at.as_f64().unwrap_or_default()));
    }
    Ok(all)
}

/// The parts of `plan` at `step` with these factors on its settings; `None` without factors and schedules.
///
/// # Errors
/// If a path names no number, or a part refuses a setting that came out of its range.
pub(crate) fn with(plan: &Plan, factors: &BTreeMap<String, f64>, step: u64) -> Result<Option<Arc<Tuned>>> {
    let scheduled = scheduled(plan, step)?;
    if factors.is_empty() && scheduled.is_empty() {
        return Ok(None);
    }
    let mut tree = plan.tree.clone();
    for (path, value) in &scheduled {
        put(number_at(&mut tree, path)?, *value);
    }
    for (path, factor) in factors {
        scale(number_at(&mut tree, path)?, *factor);
    }
    let mut values = Vec::with_capacity(scheduled.len());
    for (path, _) in &scheduled {
        values.push((path.to_string(), number_at(&mut tree, path)?.as_f64().unwrap_or_default()));
    }
    let text = toml::to_string(&tree).map_err(|e| Error::config("configuration", format!("as TOML: {e}")))?;
    let config = RunConfig::from_toml(&text)?;
    let setup = Setup::new(&config.run, &plan.facts, &plan.places, &plan.device).with_data(&plan.data);
    let touched = |section: &str| {
        let mut paths = scheduled.iter().map(|(path, _)| *path).chain(factors.keys().map(String::as_str));
        paths.any(|path| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
    };
    let sampler = config.sampler.as_ref().filter(|_| touched("sampler"));
    let sampler = sampler.map(|s| s.build(&mut setup.context("sampler"))).transpose()?;
    let optimiser = touched("optimiser").then(|| config.optimiser.build(&mut setup.context("optimiser")));
    let objective = touched("objective").then(|| config.objective.build(&mut setup.context("objective")));
    let objective = objective.transpose()?;
    let params = match &objective {
        Some(own) => ParamSet::merge([("", plan.parts.energy.params()), (OBJECTIVE, &own.params())])?,
        None => plan.params.clone(),
    };
    let (optimiser, places) = (optimiser.transpose()?, places(plan, step));
    Ok(Some(Arc::new(Tuned { sampler, objective, optimiser, params, places, values })))
}

/// Remarks on settings of the sampler that end at other values than are written: samples of the trained model are drawn by the sampler
/// that the configuration writes, since a model knows no training. Schedules that cannot be are refused elsewhere.
pub(crate) fn drawn_otherwise(plan: &Plan) -> Vec<String> {
    let (mut tree, mut all) = (plan.tree.clone(), Vec::new());
    for (i, (path, end)) in scheduled(plan, u64::MAX).into_iter().flatten().enumerate() {
        let written = number_at(&mut tree, path).ok().and_then(|v| v.as_f64()).unwrap_or(end);
        // Samples of the model take `generate.steps` steps.
        if path.starts_with("sampler.") && path != "sampler.steps" && end != written {
            all.push(format!(
                "schedule[{i}].to: is {end:?}, and samples after the training are drawn with {path} = {written:?} as written: to draw them \
                 with {end:?}, write {end:?} there and give the schedule its `from`, or set generate.sampler"
            ));
        }
    }
    all
}

/// Refuses schedules of what is no number, to values that its part does not take, or of fewer steps than the objective looks back on.
///
/// # Errors
/// Names the schedule.
pub(crate) fn check_schedules(plan: &Plan) -> Result<()> {
    let mut tree = plan.tree.clone();
    for (i, s) in plan.config.schedules.iter().enumerate() {
        let at = format!("schedule[{i}]");
        check(plan, &format!("{at}.setting"), std::slice::from_ref(&s.setting))?;
        let twice = plan.config.schedules[..i].iter().position(|other| other.setting == s.setting);
        if let Some(other) = twice {
            let message =
                format!("is `{}`, which schedule[{other}] changes too; a setting has one", s.setting);
            return Err(Error::config(format!("{at}.setting"), message));
        }
        let written = number_at(&mut tree, &s.setting)?.as_f64().unwrap_or_default();
        if let Some(message) = s.misfit(written) {
            return Err(Error::config(format!("{at}.to"), message));
        }
    }
    for step in [0, u64::MAX] {
        let Some(tuned) = with(plan, &BTreeMap::new(), step)? else { continue };
        let (trail, sampler) = (plan.needs.trail, tuned.parts(plan).sampler);
        if trail != usize::MAX && sampler.steps() < trail {
            let message = format!(
                "leads to {} steps, fewer than the {trail} that the objective looks back on",
                sampler.steps()
            );
            return Err(Error::config("schedule", message));
        }
    }
    Ok(())
}

/// Refuses settings that cannot be scaled, as the setting at `at` asks.
///
/// # Errors
/// Names the first that is no number below `sampler`, `objective` or `optimiser`.
pub(crate) fn check(plan: &Plan, at: &str, paths: &[String]) -> Result<()> {
    let mut tree = plan.tree.clone();
    let found = paths.iter().try_for_each(|path| number_at(&mut tree, path).map(|_| ()));
    found.map_err(|e| match e {
        Error::Config { message, .. } => Error::config(at, message),
        other => other,
    })
}

/// Sections whose parts can be made again in the midst of a run.
const SECTIONS: [&str; 3] = ["sampler", "objective", "optimiser"];

fn number_at<'a>(tree: &'a mut Value, path: &str) -> Result<&'a mut Value> {
    let all = numbers_of(tree);
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    let found = all.iter().any(|known| known == path).then(|| tree.pointer_mut(&pointer)).flatten();
    found.ok_or_else(|| {
        let message = format!("`{path}` is no number that can be scaled; there are {}", all.join(", "));
        Error::config("scale", message)
    })
}

/// Dotted paths of the numbers in the sections that can be made again.
fn numbers_of(tree: &Value) -> Vec<String> {
    fn walk(at: &str, v: &Value, out: &mut Vec<String>) {
        match v {
            Value::Object(table) => table.iter().for_each(|(k, v)| walk(&format!("{at}.{k}"), v, out)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| walk(&format!("{at}[{i}]"), v, out));
            }
            Value::Number(_) => out.push(at.to_string()),
            _ => {}
        }
    }
    let mut all = Vec::new();
    for section in SECTIONS {
        if let Some(v) = tree.get(section) {
            walk(section, v, &mut all);
        }
    }
    all
}

/// A whole number stays one.
fn put(v: &mut Value, value: f64) {
    *v = if v.is_i64() || v.is_u64() { (value.round() as i64).into() } else { value.into() };
}

/// A whole number stays one, of at least 1.
fn scale(v: &mut Value, factor: f64) {
    match (v.as_i64(), v.as_f64()) {
        (Some(whole), _) => *v = ((whole as f64 * factor).round().max(1.0) as i64).into(),
        (None, Some(number)) => *v = (number * factor).into(),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_found_by_their_paths_and_others_are_refused_with_what_there_is() {
        let mut tree = json!({"run": {"steps": 5}, "sampler": {"steps": 7, "moves": [{"step_size": 0.5}]}, "optimiser": {"kind": "a"}});
        scale(number_at(&mut tree, "sampler.moves[0].step_size").unwrap(), 0.1);
        scale(number_at(&mut tree, "sampler.steps").unwrap(), 0.01);
        assert_eq!(tree["sampler"], json!({"steps": 1, "moves": [{"step_size": 0.05}]}));
        for wrong in ["run.steps", "sampler.step_size", "optimiser.kind", "", "sampler"] {
            let text = number_at(&mut tree, wrong).unwrap_err().to_string();
            assert!(text.contains("sampler.moves[0].step_size"), "{wrong}: {text}");
        }
    }
}
