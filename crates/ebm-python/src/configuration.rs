//! Configurations as Python gives them: a path, or a dictionary as JSON, with changes.

use std::path::Path;

use ebm::Source;
use ebm::core::{Family, catalogue};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::error::{Failure, refused};

/// The name of a dictionary in messages.
const DICTIONARY: &str = "the configuration";

/// A configuration: `path` a file, else `json` a dictionary, else the built-in quick start.
pub(crate) fn source(
    py: Python<'_>,
    path: Option<&Path>,
    json: Option<&str>,
    changes: &[String],
) -> PyResult<Source> {
    let source = match (path, json) {
        (Some(path), _) => Source::file(path),
        (None, Some(json)) => Ok(Source::text(DICTIONARY, text(json)?)),
        (None, None) => Ok(Source::quick_start()),
    };
    source.and_then(|source| source.with(changes)).map_err(|e| Failure::Error(e).raise(py))
}

/// A dictionary as the text of a configuration file, to whose lines messages point.
fn text(json: &str) -> PyResult<String> {
    let table: toml::Table = serde_json::from_str(json)
        .map_err(|e| refused(format!("{DICTIONARY}: {e}; wanted text, numbers, lists and dictionaries")))?;
    toml::to_string(&table).map_err(|e| refused(format!("{DICTIONARY}: {e}")))
}

/// A configuration that is a sampler alone, `json`; a transition makes every step of one.
pub(crate) fn sampler(json: &str) -> PyResult<Source> {
    let given: Value = serde_json::from_str(json).map_err(|e| refused(format!("{DICTIONARY}: {e}")))?;
    let is = |family| given["kind"].as_str().is_some_and(|kind| catalogue::find(family, kind).is_some());
    let whole = match is(Family::Transition) && !is(Family::Sampler) {
        // How many steps is the caller's word.
        true => json!({ "sampler": { "kind": "chain", "steps": 1, "transition": given } }),
        false => json!({ "sampler": given }),
    };
    Ok(Source::text(DICTIONARY, text(&whole.to_string())?))
}
