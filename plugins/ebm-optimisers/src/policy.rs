//! Policies: when to save, and when to stop.

use ebm_core::{Action, BuildCx, Error, Param, Policy, PolicyConfig, Report, Result, register};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A policy's memory as a value of its own type; the default at first.
fn recall<T: DeserializeOwned + Default>(who: &str, memory: &Value) -> Result<T> {
    match memory {
        Value::Null => Ok(T::default()),
        m => serde_json::from_value(m.clone()).map_err(|e| Error::plugin(who, e)),
    }
}

fn positive(cx: &BuildCx, name: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::config(format!("{}.{name}", cx.path()), format!("is {value}, must be > 0")))
}

/// Settings of `checkpoint`: save every so many updates; keep the newest, and some for good.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Updates between checkpoints.
    every: u64,
    /// Number of newest checkpoints to keep.
    #[serde(default = "three")]
    keep: usize,
    /// Checkpoints of steps that are multiples of this are kept for good; 0: none.
    #[serde(default)]
    keep_every: u64,
}

fn three() -> usize {
    3
}

#[typetag::serde(name = "checkpoint")]
impl PolicyConfig for Checkpoint {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Policy>> {
        positive(cx, "every", self.every as f64)?;
        positive(cx, "keep", self.keep as f64)?;
        Ok(Box::new(self.clone()))
    }
}

register! {
    PolicyConfig, "checkpoint" => Checkpoint,
    summary: "saves the whole state every so many updates",
    source: "this project",
    example: "every = 1000\nkeep = 3",
    params: [
        Param::int("every", "updates between checkpoints").at_least(1.0),
        Param::int("keep", "number of newest checkpoints to keep").default("3").at_least(1.0),
        Param::int("keep_every", "checkpoints whose step is a multiple of this are kept for good; 0: none")
            .default("0").at_least(0.0),
    ],
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

/// Settings of `stop-on-divergence`: stop when |mean energy of the data or of the samples|, or the
/// gradient norm, stays above a bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopOnDivergence {
    /// Largest absolute mean energy, nats.
    max_energy: f64,
    /// Largest gradient norm before clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_grad: Option<f64>,
    /// Updates in a row above a bound before the run stops.
    #[serde(default = "one")]
    patience: u64,
}

fn one() -> u64 {
    1
}

#[typetag::serde(name = "stop-on-divergence")]
impl PolicyConfig for StopOnDivergence {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Policy>> {
        positive(cx, "max_energy", self.max_energy)?;
        positive(cx, "max_grad", self.max_grad.unwrap_or(1.0))?;
        positive(cx, "patience", self.patience as f64)?;
        Ok(Box::new(self.clone()))
    }
}

register! {
    PolicyConfig, "stop-on-divergence" => StopOnDivergence,
    summary: "stops a run whose energies or gradients leave their bounds",
    source: "the published program of Du et al. 2021 stops at a mean energy above 10",
    example: "max_energy = 100.0\npatience = 5",
    params: [
        Param::float("max_energy", "largest absolute mean energy of data or samples, nats").above(0.0),
        Param::float("max_grad", "largest gradient norm before clipping; absent: no bound")
            .default("none").above(0.0),
        Param::int("patience", "updates in a row above a bound before the run stops").default("1").at_least(1.0),
    ],
}

impl Policy for StopOnDivergence {
    fn decide(&self, memory: &mut Value, report: &Report) -> Result<Vec<Action>> {
        let seen: u64 = recall("stop-on-divergence", memory)?;
        let over = |name: &str, limit: f64| {
            let value = report.get(name)?.abs();
            // Written so that a value that is not a number counts as over.
            (value.is_nan() || value > limit).then(|| format!("|{name}| is {value:.4}, above {limit}"))
        };
        let reason = over("energy.data", self.max_energy)
            .or_else(|| over("energy.samples", self.max_energy))
            .or_else(|| over("grad", self.max_grad?));
        let Some(reason) = reason else {
            *memory = 0.into();
            return Ok(Vec::new());
        };
        *memory = (seen + 1).into();
        if seen + 1 < self.patience {
            return Ok(Vec::new());
        }
        let tail = if self.patience > 1 { format!(" for {} updates", self.patience) } else { String::new() };
        Ok(vec![Action::Stop(format!("{reason}{tail} (step {})", report.step))])
    }

    fn name(&self) -> String {
        "stop-on-divergence".into()
    }
}

/// Settings of `stop-after`: end in good order after so many seconds of steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopAfter {
    /// Seconds of steps, over all continuations.
    seconds: f64,
}

#[typetag::serde(name = "stop-after")]
impl PolicyConfig for StopAfter {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Policy>> {
        positive(cx, "seconds", self.seconds)?;
        Ok(Box::new(self.clone()))
    }
}

register! {
    PolicyConfig, "stop-after" => StopAfter,
    summary: "ends a run in good order after a time",
    source: "this project",
    example: "seconds = 3600.0",
    params: [Param::float("seconds", "seconds of training steps, over all continuations").above(0.0)],
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

    fn policy<T: DeserializeOwned>(text: &str) -> T {
        serde_json::from_str(text).unwrap()
    }

    fn report(step: u64, values: &[(&str, f64)]) -> Report {
        Report { step, of: 100, values: values.iter().map(|(k, v)| ((*k).to_string(), *v)).collect() }
    }

    #[test]
    fn checkpoints_come_every_so_many_updates() {
        let p: Checkpoint = policy(r#"{"every":10,"keep":2,"keep_every":50}"#);
        assert!(p.decide(&mut Value::Null, &report(9, &[])).unwrap().is_empty());
        let actions = p.decide(&mut Value::Null, &report(20, &[])).unwrap();
        assert_eq!(actions, [Action::Keep { last: 2, every: 50 }, Action::Checkpoint]);
    }

    #[test]
    fn divergence_stops_only_after_the_patience_in_a_row() {
        let p: StopOnDivergence = policy(r#"{"max_energy":10.0,"max_grad":5.0,"patience":2}"#);
        let mut memory = Value::Null;
        let high = report(3, &[("energy.samples", -11.0), ("grad", 1.0)]);
        assert!(p.decide(&mut memory, &high).unwrap().is_empty());
        assert!(p.decide(&mut memory, &report(4, &[("energy.data", 1.0)])).unwrap().is_empty());
        assert!(p.decide(&mut memory, &high).unwrap().is_empty());
        match &p.decide(&mut memory, &report(6, &[("grad", 6.0)])).unwrap()[..] {
            [Action::Stop(why)] => {
                assert!(why.contains("|grad| is 6.0000") && why.contains("step 6"), "{why}")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mean_energy_that_is_not_a_number_counts_as_divergence() {
        let p: StopOnDivergence = policy(r#"{"max_energy":10.0}"#);
        let actions = p.decide(&mut Value::Null, &report(1, &[("energy.data", f64::NAN)])).unwrap();
        assert!(matches!(actions[..], [Action::Stop(_)]));
    }

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
