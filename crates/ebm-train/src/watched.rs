//! What a run's numbers are read against: facts of its settings and of its first data.

use ebm_core::{Result, host};
use ebm_health::Facts;
use serde_json::Value;

use crate::plan::Plan;
use crate::step::pass::whole;

/// Samples whose values are looked at to know their range.
const LOOKED_AT: usize = 256;

/// Share of a clamp's width from its ends within which data count as lying there.
const NEAR: f64 = 0.01;

/// The facts of a plan.
///
/// # Errors
/// If the first data cannot be read, or hold numbers that are not finite.
pub(crate) fn of(plan: &Plan) -> Result<Facts> {
    let batch = plan.config.run.batch;
    // Where the range is stated one batch tells enough, and sets that are read piece by piece are read no further.
    let wanted = if plan.data.range().is_some() { 1 } else { LOOKED_AT.div_ceil(batch) };
    let batches = wanted.min(plan.data.batches(batch));
    let mut values = Vec::new();
    for cursor in 0..batches {
        let x = plan.batch_at(0, cursor)?.x;
        whole(plan, &x, 0)?;
        values.extend(host::numbers(&x)?);
    }
    let ends = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
    let clamp = plan.needs.samples.then(|| plan.parts.sampler.bounds()).flatten();
    // Grey values are spread over their level, and samples stop where the level ends.
    let level = plan.data.levels().map_or(NEAR, |levels| NEAR.max(1.0 / f64::from(levels)));
    let at_ends = |(low, high): (f64, f64)| {
        let near = level * (high - low);
        let n = values.iter().filter(|v| **v <= low + near || **v >= high - near).count();
        n as f64 / values.len().max(1) as f64
    };
    let sampler = plan.tree.get("sampler").filter(|_| plan.needs.samples);
    let trainable = plan.params.trainable().filter_map(|name| plan.params.get(name));
    Ok(Facts {
        batch: Some(batch),
        trainable: Some(trainable.map(|t| t.elem_count()).sum()),
        clamp,
        data: plan.data.range().or((!values.is_empty()).then_some(ends)),
        data_at_ends: clamp.map(at_ends),
        step_size: sampler.and_then(|s| number(s, "step_size")),
        noise: sampler.and_then(|s| number(s, "noise")),
    })
}

/// The first number called `name` in a tree.
fn number(tree: &Value, name: &str) -> Option<f64> {
    match tree {
        Value::Object(table) => {
            table.get(name).and_then(Value::as_f64).or_else(|| table.values().find_map(|v| number(v, name)))
        }
        Value::Array(list) => list.iter().find_map(|v| number(v, name)),
        _ => None,
    }
}
