//! `stop-after`: a run ends in good order after a time.

use ebm_core::{Action, BuildCx, Policy, PolicyConfig, Report, Result, Settings, plugin};
use serde_json::Value;

use crate::recall;

/// Settings of `stop-after`: end in good order after so many seconds of steps.
#[derive(Clone, Debug, Settings)]
pub struct StopAfter {
    /// Time of training steps, over all continuations.
    #[setting(above = 0.0, unit = "seconds")]
    seconds: f64,
}

#[plugin(
    "stop-after",
    summary = "ends a run in good order after a time",
    source = "this project",
    example = "seconds = 3600.0"
)]
impl PolicyConfig for StopAfter {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Policy>> {
        Ok(Box::new(self.clone()))
    }
}

impl Policy for StopAfter {
    fn decide(&self, memory: &mut Value, report: &Report) -> Result<Vec<Action>> {
        let spent = recall::<f64>("stop-after", memory)? + report.get("seconds").unwrap_or(0.0);
        *memory = spent.into();
        if spent < self.seconds {
            return Ok(Vec::new());
        }
        Ok(vec![Action::Finish(format!("{spent:.1} seconds of steps, limit {}", self.seconds))])
    }

    fn name(&self) -> String {
        "stop-after".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{policy, report};

    #[test]
    fn time_adds_up_over_continuations() {
        let p: StopAfter = policy(r#"{"seconds":1.0}"#);
        let mut memory = Value::Null;
        assert!(p.decide(&mut memory, &report(1, &[("seconds", 0.6)])).unwrap().is_empty());
        // The memory goes through a checkpoint as text.
        memory = serde_json::from_str(&memory.to_string()).unwrap();
        assert!(matches!(
            p.decide(&mut memory, &report(2, &[("seconds", 0.6)])).unwrap()[..],
            [Action::Finish(_)]
        ));
    }

    #[test]
    fn a_foreign_memory_is_refused() {
        let p: StopAfter = policy(r#"{"seconds":1.0}"#);
        assert!(p.decide(&mut "words".into(), &report(1, &[])).is_err());
    }
}
