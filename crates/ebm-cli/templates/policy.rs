//! `halving`: the learning rate is halved where energies stay large.

use ebm_core::{Action, BuildCx, Error, Policy, PolicyConfig, Report, Result, Settings, plugin};
use serde_json::Value;

/// Halves the learning rate after so many steps in a row with large energies.
#[derive(Clone, Debug, Settings)]
pub struct Halving {
    /// Size of the samples' mean energy from which on a step counts, in nats.
    #[setting(above = 0.0)]
    pub limit: f64,
    /// Steps in a row.
    #[setting(default = 10, at_least = 1)]
    pub patience: u64,
}

impl Policy for Halving {
    fn decide(&self, memory: &mut Value, report: &Report) -> Result<Vec<Action>> {
        // What is counted stands in the memory, which a checkpoint holds; it is null at first.
        let before = match &*memory {
            Value::Null => Some(0),
            other => other.as_u64(),
        };
        let Some(before) = before else {
            let message =
                format!("finds {memory} as its memory, wanted a count; the checkpoint is of another policy");
            return Err(Error::config(self.name(), message));
        };
        let large = report.get("energy.samples").is_some_and(|energy| energy.abs() > self.limit);
        let now = if large { before + 1 } else { 0 };
        let due = now >= self.patience;
        *memory = if due { 0 } else { now }.into();
        Ok(if due { vec![Action::ScaleRate(0.5)] } else { Vec::new() })
    }
    fn name(&self) -> String {
        "halving".into()
    }
}

#[plugin("halving", source = "this example", example = "limit = 100.0")]
impl PolicyConfig for Halving {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Policy>> {
        Ok(Box::new(self.clone()))
    }
}
