//! `plateau`: a smaller learning rate where a number of the report falls no more.

use ebm_core::{Action, BuildCx, Error, Policy, PolicyConfig, Report, Result, Settings, plugin};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Multiplies the learning rate by a factor whenever a number has not fallen below its least for some updates.
#[derive(Clone, Debug, Settings)]
pub struct Plateau {
    /// The number, by its name in the report.
    #[setting(default = "loss.dsm")]
    pub of: String,
    /// Updates without a new least.
    #[setting(default = 500, at_least = 1, unit = "updates")]
    pub patience: u64,
    /// What the rate is multiplied by then.
    #[setting(default = 0.5, above = 0.0, below = 1.0)]
    pub factor: f64,
}

/// What it remembers; it stands in checkpoints.
#[derive(Default, Serialize, Deserialize)]
struct Memory {
    least: Option<f64>,
    since: u64,
}

impl Policy for Plateau {
    fn decide(&self, memory: &mut Value, report: &Report) -> Result<Vec<Action>> {
        let Some(now) = report.get(&self.of) else { return Ok(Vec::new()) };
        let io = |e| Error::plugin("plateau", e);
        let mut known: Memory = if memory.is_null() {
            Memory::default()
        } else {
            serde_json::from_value(memory.take()).map_err(io)?
        };
        let mut actions = Vec::new();
        if known.least.is_none_or(|least| now < least) {
            known = Memory { least: Some(now), since: report.step };
        } else if report.step - known.since >= self.patience {
            known.since = report.step;
            actions.push(Action::ScaleRate(self.factor));
        }
        *memory = serde_json::to_value(known).map_err(io)?;
        Ok(actions)
    }

    fn name(&self) -> String {
        "plateau".into()
    }
}

#[plugin("plateau", source = "this example", example = "of = \"loss.dsm\"\npatience = 200")]
impl PolicyConfig for Plateau {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Policy>> {
        Ok(Box::new(self.clone()))
    }
}
