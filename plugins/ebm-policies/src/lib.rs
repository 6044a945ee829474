//! Policies: when a run saves, when it stops, and when it goes back.
//!
#![doc = include_str!("../README.md")]

mod checkpoint;
mod roll_back;
mod stop_after;
mod stop_on_divergence;

pub use checkpoint::Checkpoint;
pub use roll_back::{RollBack, Scale};
pub use stop_after::StopAfter;
pub use stop_on_divergence::StopOnDivergence;

use ebm_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A policy's memory as a value of its own type; the default at first.
fn recall<T: DeserializeOwned + Default>(who: &str, memory: &Value) -> Result<T> {
    match memory {
        Value::Null => Ok(T::default()),
        m => serde_json::from_value(m.clone()).map_err(|e| Error::plugin(who, e)),
    }
}

#[cfg(test)]
mod testing {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Report;
    use serde::de::DeserializeOwned;

    pub(crate) fn policy<T: DeserializeOwned>(text: &str) -> T {
        serde_json::from_str(text).unwrap()
    }

    pub(crate) fn report(step: u64, values: &[(&str, f64)]) -> Report {
        Report { step, of: 100, values: values.iter().map(|(k, v)| ((*k).to_string(), *v)).collect() }
    }
}
