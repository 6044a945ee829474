//! What is to be said about a run as a whole.

use std::collections::BTreeSet;

use ebm_core::{Finding, Level};
use serde::{Deserialize, Serialize};

/// The health of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The worst of all.
    pub level: Level,
    /// The worst in a sentence.
    pub sentence: String,
    /// Everything else, worst first.
    pub remarks: Vec<String>,
    /// All that was found, worst first.
    pub findings: Vec<Finding>,
}

impl Health {
    /// Of a run of which these things are to be said; `well` is said where there are none.
    pub(crate) fn of(mut findings: Vec<Finding>, well: &str) -> Self {
        findings.sort_by_key(|f| std::cmp::Reverse(f.level));
        let mut helped = BTreeSet::new();
        // What helps against a cause is said once.
        let mut said = findings.iter().map(|f| match helped.insert(f.cause) {
            true => format!("{f}."),
            false => format!("{}.", Finding { help: String::new(), ..f.clone() }),
        });
        let sentence = said.next().unwrap_or_else(|| well.into());
        let remarks = said.collect();
        let level = findings.first().map_or(Level::Well, |f| f.level);
        Health { level, sentence, remarks, findings }
    }

    /// The worst that was found.
    pub fn worst(&self) -> Option<&Finding> {
        self.findings.first()
    }
}
