//! Everything that is asked of a policy.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ebm_core::{Action, Cause, Finding, Level, Policy, Report, Result};
use serde_json::Value;

use crate::{Failure, Verdict};

/// Checks the policies that `build` makes, on a course of reports with large, missing and infinite numbers among them:
///
/// 1. the same memory and report give the same actions;
/// 2. another instance goes on from the memory as this one does, also after it was written as JSON: nothing is remembered elsewhere;
/// 3. a memory that is not its own is refused or taken for a beginning, without a panic;
/// 4. factors are positive numbers, a checkpoint is kept at least, reasons are not empty;
/// 5. settings that it scales when the run is ill are named by `scales`.
///
/// # Errors
/// Names the first law that fails.
pub fn policy(build: &dyn Fn() -> Result<Box<dyn Policy>>) -> Verdict {
    let p = build()?;
    let name = p.name();
    let unless =
        |holds: bool, text: &dyn Fn() -> String| Failure::unless(holds, || format!("{name}: {}", text()));
    let mut memory = Value::Null;
    for report in course() {
        let step = report.step;
        let mut copies = [memory.clone(), memory.clone()];
        let actions = p.decide(&mut memory, &report)?;
        let again = p.decide(&mut copies[0], &report)?;
        unless(actions == again && memory == copies[0], &|| {
            format!(
                "at step {step} the same memory and report gave {actions:?} and then {again:?}; what it counts stands in `memory`"
            )
        })?;
        let written = serde_json::to_string(&copies[1]).map_err(|e| Failure::new(e.to_string()))?;
        let mut read: Value = serde_json::from_str(&written).map_err(|e| Failure::new(e.to_string()))?;
        let other = build()?.decide(&mut read, &report)?;
        unless(actions == other && memory == read, &|| {
            format!(
                "at step {step} a new instance with the memory of a checkpoint does {other:?}, the one that went through does {actions:?}"
            )
        })?;
        actions.iter().try_for_each(|a| sound(p.as_ref(), a))?;
    }
    let (evidence, help) = ("the energy grew".to_string(), String::new());
    let finding = Finding { level: Level::Ill, cause: Cause::LearningRate, step: 40, evidence, help };
    let mut ill = memory.clone();
    let answer = p.answer(&mut ill, &finding)?;
    answer.iter().try_for_each(|a| sound(p.as_ref(), a))?;
    let report = Report { step: 1, of: 9, values: BTreeMap::new() };
    for foreign in [Value::from("foreign"), Value::from(vec![1, 2]), Value::from(-1.5)] {
        // An error or a beginning.
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let mut memory = foreign.clone();
            (p.decide(&mut memory, &report).is_ok(), p.answer(&mut memory, &finding).is_ok())
        }));
        unless(tried.is_ok(), &|| {
            format!("panics on the memory {foreign} of another; return an error that says what was found")
        })?;
    }
    Ok(())
}

fn sound(p: &dyn Policy, action: &Action) -> Verdict {
    let positive = |f: f64| f > 0.0 && f.is_finite();
    let unless = |holds: bool, text: String| Failure::unless(holds, || format!("{}: {text}", p.name()));
    match action {
        Action::ScaleRate(f) => {
            unless(positive(*f), format!("multiplies the rate by {f}, wanted a positive number"))
        }
        Action::Keep { last, .. } => unless(*last > 0, "keeps no checkpoint, wanted at least 1".into()),
        Action::Stop(why) | Action::Finish(why) => {
            unless(!why.trim().is_empty(), "ends the run without a reason".into())
        }
        Action::RollBack { factors } => {
            let named = p.scales();
            for (path, f) in factors {
                unless(positive(*f), format!("scales `{path}` by {f}, wanted a positive number"))?;
                unless(
                    named.contains(path),
                    format!(
                        "scales `{path}`, which `scales` does not name: {named:?}; it is looked up before the run"
                    ),
                )?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reports of a run that goes well, then grows, then has numbers that are none.
fn course() -> Vec<Report> {
    let of = 40;
    (1..=of)
        .map(|step| {
            let mut values = BTreeMap::new();
            let grown = if step > 20 { 10f64.powi(step as i32 - 20) } else { 1.0 };
            for (name, v) in [
                ("energy.data", 0.3 - grown),
                ("energy.samples", 0.2 + grown),
                ("energy.difference", -0.1 - 2.0 * grown),
                ("loss.cd", 0.1 * grown),
                ("grad", grown),
                ("rate", 1e-3),
                ("sampler.accepted", 0.5),
                ("sampler.saturated", 0.0),
            ] {
                values.insert(name.to_string(), if step > 35 { f64::NAN } else { v });
            }
            if step % 7 == 0 {
                values.clear();
            }
            // Whole, so that sums of them are written and read as they are.
            values.insert("seconds".into(), 3.0);
            Report { step, of, values }
        })
        .collect()
}
