//! The health of a run as its training judged it, or, where it has left no judgement, by its numbers.

pub use ebm_core::Level;
use ebm_core::{Cause, Finding, Report};
pub use ebm_health::Health;
use ebm_health::{Facts, Watch};
use serde_json::Value;

use crate::report::series::Series;

/// The health that the summary of a run tells, unless its numbers have gone on since; else that of its numbers.
pub(super) fn of(series: &Series, summary: &Value) -> Health {
    let told = serde_json::from_value(summary["health"].clone()).ok();
    let end = summary["step"].as_u64().unwrap_or(0);
    match told.filter(|_| series.steps.last().is_none_or(|last| *last <= end)) {
        Some(health) => health,
        None => judged(series, summary),
    }
}

/// The health of these numbers, seen step by step as a training sees them.
fn judged(series: &Series, summary: &Value) -> Health {
    let (mut watch, facts) = (Watch::default(), Facts::default());
    let of = series.steps.last().copied().unwrap_or(0);
    for (i, step) in series.steps.iter().enumerate() {
        let values = series.values.iter().map(|(name, all)| (name.clone(), all[i]));
        let values = values.filter(|(_, v)| v.is_finite()).collect();
        if let Some(finding) = watch.see(&facts, &Report { step: *step, of, values }) {
            watch.end_by(finding);
        }
    }
    watch.skipped(summary["skipped"].as_u64().unwrap_or(0));
    if summary["outcome"] == "diverged" {
        let evidence =
            format!("The run diverged: {}", summary["reason"].as_str().unwrap_or("no reason is told"));
        let (level, cause) = (Level::Ill, Cause::Unknown);
        watch.end_by(Finding { level, cause, step: of, evidence, help: String::new() });
    }
    watch.health(&facts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn series(of: u64) -> Series {
        let mut s = Series { steps: (1..=of).collect(), ..Series::default() };
        for (name, v) in [("energy.difference", 0.0), ("energy.data.sd", 1.0), ("energy.samples.sd", 1.0)] {
            s.values.insert(name.into(), vec![v; of as usize]);
        }
        s
    }

    #[test]
    fn what_the_training_judged_is_told_unless_the_run_has_gone_on() {
        let ill =
            Health { level: Level::Ill, sentence: "so it was.".into(), remarks: vec![], findings: vec![] };
        let summary = json!({"outcome": "ill", "step": 200, "health": ill});
        assert_eq!(of(&series(200), &summary), ill);
        assert_eq!(of(&Series::default(), &summary), ill);
        assert_eq!(of(&series(201), &summary).level, Level::Well);
    }

    #[test]
    fn a_run_without_a_judgement_is_judged_by_its_numbers() {
        assert_eq!(of(&series(200), &Value::Null).level, Level::Well);
        assert_eq!(of(&Series::default(), &Value::Null).level, Level::Watch);
        let diverged = of(&series(200), &json!({"outcome": "diverged", "reason": "|energy.data| is 12"}));
        assert!(diverged.level == Level::Ill && diverged.sentence.contains("is 12"), "{diverged:?}");
        let mut blown = series(200);
        blown
            .values
            .insert("energy.data".into(), (0..200).map(|i| if i < 150 { 1.0 } else { 1e17 }).collect());
        let blown = of(&blown, &Value::Null);
        assert!(blown.level == Level::Ill && blown.sentence.contains("1.0e17"), "{blown:?}");
    }
}
