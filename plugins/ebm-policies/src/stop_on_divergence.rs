//! `stop-on-divergence`: a run whose numbers leave their bounds is stopped.

use ebm_core::{Action, BuildCx, Policy, PolicyConfig, Report, Result, Settings, plugin};
use serde_json::Value;

use crate::recall;

/// Settings of `stop-on-divergence`: stop when |mean energy of the data or of the samples|, or the
/// gradient norm, stays above a bound.
#[derive(Clone, Debug, Settings)]
pub struct StopOnDivergence {
    /// Largest absolute mean energy of data or samples.
    #[setting(above = 0.0, unit = "nats")]
    max_energy: f64,
    /// Largest gradient norm before clipping; absent: no bound.
    #[setting(above = 0.0)]
    max_grad: Option<f64>,
    /// Updates in a row above a bound before the run stops.
    #[setting(default = 1, at_least = 1, unit = "updates")]
    patience: u64,
}

#[plugin(
    "stop-on-divergence",
    summary = "stops a run whose energies or gradients leave their bounds",
    source = "the published program of Du et al. 2021 stops at a mean energy above 10",
    example = "max_energy = 100.0\npatience = 5"
)]
impl PolicyConfig for StopOnDivergence {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Policy>> {
        Ok(Box::new(self.clone()))
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{policy, report};

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
}
