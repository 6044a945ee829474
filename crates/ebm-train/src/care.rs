//! What watches over a run, as a part of its state: numbers so far, healthy states, and when it went back to one.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::{Error, Finding, Result};
use ebm_health::Watch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Plan;
use crate::tuned::{self, Tuned};

/// One time that a run went back to a healthy state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Return {
    /// The step at which it was found ill.
    pub from: u64,
    /// The step of the state that it went back to.
    pub to: u64,
    /// What was found.
    pub finding: Finding,
    /// Factors of settings from then on, all times together.
    pub factors: BTreeMap<String, f64>,
}

/// All of it.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Care {
    pub watch: Watch,
    /// Step of the state that has proved healthy.
    pub healthy: Option<u64>,
    /// Step of the newest state that was kept, which has yet to.
    pub candidate: Option<u64>,
    pub returns: Vec<Return>,
    /// The parts made with the factors of the last return, at the step of the state.
    #[serde(skip)]
    pub tuned: Option<Arc<Tuned>>,
}

impl Care {
    /// What a checkpoint keeps of it.
    pub fn saved(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(|e| Error::plugin("checkpoint", e))
    }

    /// What a checkpoint of `step` has kept; nothing in one of a program before this.
    ///
    /// # Errors
    /// If it is no such value, or the settings cannot be scaled as they were.
    pub fn restored(plan: &Plan, saved: &Value, step: u64) -> Result<Self> {
        let mut care: Care = match saved {
            Value::Null => Care::default(),
            saved => serde_json::from_value(saved.clone()).map_err(|e| Error::plugin("checkpoint", e))?,
        };
        care.tuned = tuned::with(plan, care.factors(), step)?;
        Ok(care)
    }

    /// Factors of settings.
    pub fn factors(&self) -> &BTreeMap<String, f64> {
        static NONE: BTreeMap<String, f64> = BTreeMap::new();
        self.returns.last().map_or(&NONE, |r| &r.factors)
    }
}
