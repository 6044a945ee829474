//! Settings times factors: the parts that train, made again with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::{Error, Objective, Optimiser, ParamSet, Result, Sampler};
use ebm_model::Setup;
use serde_json::Value;

use crate::config::RunConfig;
use crate::fulfil::OBJECTIVE;
use crate::plan::Plan;

/// What a step is made with.
#[derive(Clone, Copy)]
pub(crate) struct Trained<'a> {
    pub sampler: &'a dyn Sampler,
    pub objective: &'a dyn Objective,
    pub optimiser: &'a dyn Optimiser,
}

/// The parts that train, with factors on their settings.
pub(crate) struct Tuned {
    sampler: Option<Box<dyn Sampler>>,
    objective: Box<dyn Objective>,
    optimiser: Box<dyn Optimiser>,
    /// The energy's parameters, and those of this objective.
    pub params: ParamSet,
}

impl Tuned {
    /// The parts; a run without a sampler of its own has that of its plan.
    pub fn parts<'a>(&'a self, plan: &'a Plan) -> Trained<'a> {
        Trained {
            sampler: self.sampler.as_ref().unwrap_or(&plan.parts.sampler).as_ref(),
            objective: self.objective.as_ref(),
            optimiser: self.optimiser.as_ref(),
        }
    }
}

/// The parts of `plan` with these factors on its settings; `None` without any.
///
/// # Errors
/// If a path names no number, or a part refuses a setting that came out of its range.
pub(crate) fn with(plan: &Plan, factors: &BTreeMap<String, f64>) -> Result<Option<Arc<Tuned>>> {
    if factors.is_empty() {
        return Ok(None);
    }
    let mut tree = plan.tree.clone();
    for (path, factor) in factors {
        scale(number_at(&mut tree, path)?, *factor);
    }
    let text = toml::to_string(&tree).map_err(|e| Error::config("configuration", format!("as TOML: {e}")))?;
    let config = RunConfig::from_toml(&text)?;
    let setup = Setup::new(&config.run, &plan.facts, &plan.places, &plan.device);
    let sampler = config.sampler.as_ref().map(|s| s.build(&mut setup.context("sampler"))).transpose()?;
    let objective = config.objective.build(&mut setup.context("objective"))?;
    let optimiser = config.optimiser.build(&mut setup.context("optimiser"))?;
    let params = ParamSet::merge([("", plan.parts.energy.params()), (OBJECTIVE, &objective.params())])?;
    Ok(Some(Arc::new(Tuned { sampler, objective, optimiser, params })))
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
