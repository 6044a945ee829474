//! `checkpoint`: when the whole state is saved.

use ebm_core::{Action, BuildCx, Policy, PolicyConfig, Report, Result, Settings, plugin};
use serde_json::Value;

/// Settings of `checkpoint`: save every so many updates; keep the newest, and some for good.
#[derive(Clone, Debug, Settings)]
pub struct Checkpoint {
    /// Updates between checkpoints.
    #[setting(at_least = 1, unit = "updates")]
    every: u64,
    /// Number of newest checkpoints to keep.
    #[setting(default = 3, at_least = 1, unit = "checkpoints")]
    keep: usize,
    /// Checkpoints whose step is a multiple of this are kept for good; 0: none.
    #[setting(default = 0, unit = "updates")]
    keep_every: u64,
}

#[plugin(
    "checkpoint",
    summary = "saves the whole state every so many updates",
    source = "this project",
    example = "every = 1000\nkeep = 3"
)]
impl PolicyConfig for Checkpoint {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Policy>> {
        Ok(Box::new(self.clone()))
    }
}

impl Policy for Checkpoint {
    fn decide(&self, _: &mut Value, report: &Report) -> Result<Vec<Action>> {
        if !report.step.is_multiple_of(self.every) {
            return Ok(Vec::new());
        }
        Ok(vec![Action::Keep { last: self.keep, every: self.keep_every }, Action::Checkpoint])
    }

    fn name(&self) -> String {
        "checkpoint".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{policy, report};

    #[test]
    fn checkpoints_come_every_so_many_updates() {
        let p: Checkpoint = policy(r#"{"every":10,"keep":2,"keep_every":50}"#);
        assert!(p.decide(&mut Value::Null, &report(9, &[])).unwrap().is_empty());
        let actions = p.decide(&mut Value::Null, &report(20, &[])).unwrap();
        assert_eq!(actions, [Action::Keep { last: 2, every: 50 }, Action::Checkpoint]);
    }
}
