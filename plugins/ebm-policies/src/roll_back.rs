//! `roll-back`: a run that was found ill goes back to its last healthy state and on with other settings.

use ebm_core::{Action, BuildCx, Finding, Policy, PolicyConfig, Report, Result, Settings, plugin};
use serde_json::Value;

use crate::recall;

/// Settings of `roll-back`: go back to the last healthy state where the run is found ill, and on with new random numbers and
/// settings times factors.
///
/// It answers what the run's guard finds, and bounds of other policies such as `stop-on-divergence`.
#[derive(Clone, Debug, Settings)]
pub struct RollBack {
    /// Times that it goes back; the run ends the next time.
    #[setting(default = 3, at_least = 1)]
    times: u64,
    /// Settings that are scaled each time; without any the learning rate is halved.
    #[setting(default)]
    scale: Vec<Scale>,
}

/// A setting and the factor that it is scaled by.
#[derive(Clone, Debug, Settings)]
pub struct Scale {
    /// Dotted path of a number below `sampler`, `objective` or `optimiser`, such as `sampler.transition.step_size`.
    setting: String,
    /// Its factor each time: below 1 for a rate, a step size or noise, above 1 for a penalty.
    #[setting(above = 0.0)]
    factor: f64,
}

/// What is scaled without a word: the setting that all optimisers have.
const USUAL: (&str, f64) = ("optimiser.rate", 0.5);

#[plugin(
    "roll-back",
    summary = "goes back to the last healthy state, and on with other settings",
    source = "this project",
    example = "times = 2\nscale = [{ setting = \"optimiser.rate\", factor = 0.3 }]"
)]
impl PolicyConfig for RollBack {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Policy>> {
        Ok(Box::new(self.clone()))
    }
}

impl RollBack {
    fn factors(&self) -> impl Iterator<Item = (String, f64)> {
        let usual = self.scale.is_empty().then(|| (USUAL.0.to_string(), USUAL.1));
        self.scale.iter().map(|s| (s.setting.clone(), s.factor)).chain(usual)
    }
}

impl Policy for RollBack {
    fn decide(&self, _: &mut Value, _: &Report) -> Result<Vec<Action>> {
        Ok(Vec::new())
    }

    fn answer(&self, memory: &mut Value, _: &Finding) -> Result<Vec<Action>> {
        let done: u64 = recall("roll-back", memory)?;
        if done >= self.times {
            return Ok(Vec::new());
        }
        *memory = (done + 1).into();
        Ok(vec![Action::RollBack { factors: self.factors().collect() }])
    }

    fn scales(&self) -> Vec<String> {
        self.factors().map(|(setting, _)| setting).collect()
    }

    fn name(&self) -> String {
        "roll-back".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::{Cause, Level};

    use super::*;
    use crate::testing::{policy, report};

    fn finding() -> Finding {
        let (level, cause) = (Level::Ill, Cause::LearningRate);
        Finding { level, cause, step: 7, evidence: "grown".into(), help: String::new() }
    }

    #[test]
    fn it_goes_back_so_many_times_and_not_once_more() {
        let p: RollBack =
            policy(r#"{"times":2,"scale":[{"setting":"sampler.transition.step_size","factor":0.1}]}"#);
        assert_eq!(p.scales(), ["sampler.transition.step_size"]);
        let mut memory = Value::Null;
        assert!(p.decide(&mut memory, &report(1, &[])).unwrap().is_empty());
        for _ in 0..2 {
            match &p.answer(&mut memory, &finding()).unwrap()[..] {
                [Action::RollBack { factors }] => assert_eq!(factors["sampler.transition.step_size"], 0.1),
                other => panic!("{other:?}"),
            }
            // The memory goes through a checkpoint as text.
            memory = serde_json::from_str(&memory.to_string()).unwrap();
        }
        assert!(p.answer(&mut memory, &finding()).unwrap().is_empty());
    }

    #[test]
    fn without_a_word_the_rate_is_halved() {
        let p: RollBack = policy("{}");
        let actions = p.answer(&mut Value::Null, &finding()).unwrap();
        assert_eq!(actions, [Action::RollBack { factors: [("optimiser.rate".to_string(), 0.5)].into() }]);
    }
}
