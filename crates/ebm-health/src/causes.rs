//! The causes that a run's last numbers tell of a fault.

use ebm_core::Cause;
use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::rules::{FAR, SATURATED, UPDATE};
use crate::watch::short;

/// Numbers of the last reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// Root mean square of the energy's gradient along the chains, largest lately.
    pub grad_rms: Option<f64>,
    /// Share of values on the clamp.
    pub saturated: Option<f64>,
    /// Whether the objective has a penalty on the energies.
    pub penalty: bool,
}

/// Why energies grew or numbers overflowed, given the largest update and distance of samples lately; with the evidence.
///
/// A penalty is missed where the energies have grown.
pub(crate) fn of_growth(
    facts: &Facts,
    seen: &Evidence,
    update: f64,
    out: f64,
    grown: bool,
) -> (Cause, String) {
    let sizes = || format!("updates change the weights by up to {} of their size", percent(update));
    if update > UPDATE.0 {
        return (Cause::LearningRate, sizes());
    }
    let step = moves(facts, seen.grad_rms).trim_start_matches("; ").to_string();
    let long = is_long(facts, seen.grad_rms);
    let on_clamp = seen.saturated.zip(facts.data_at_ends).is_some_and(|(s, d)| s - d > SATURATED.1);
    if out > FAR.0 || on_clamp {
        return match () {
            () if is_noisy(facts) => (Cause::Noise, step),
            () if long || is_held(facts) => (Cause::StepSize, step),
            () => {
                let far = format!(
                    "samples are {} half widths from the data, where no clamp holds them",
                    short(out)
                );
                (Cause::Unclamped, far)
            }
        };
    }
    match seen.penalty {
        _ if long => (Cause::StepSize, step),
        false if grown => (Cause::MissingPenalty, "the objective has no penalty on the energies".into()),
        _ if update > UPDATE.0 / 10.0 => (Cause::LearningRate, sizes()),
        _ => (Cause::Unknown, String::new()),
    }
}

/// Whether noise alone carries a chain through the data's range in a step.
pub(crate) fn is_noisy(facts: &Facts) -> bool {
    matches!((facts.noise, facts.middle_and_half()), (Some(noise), Some((_, half))) if noise > half)
}

/// Whether a step along the gradient is longer than the data's range.
pub(crate) fn is_long(facts: &Facts, grad_rms: Option<f64>) -> bool {
    let half = facts.middle_and_half().map_or(f64::INFINITY, |(_, half)| half);
    facts.step_size.zip(grad_rms).is_some_and(|(step, grad)| step * grad > 2.0 * half)
}

/// Whether a clamp holds the samples near the data.
fn is_held(facts: &Facts) -> bool {
    matches!((facts.clamp, facts.middle_and_half()), (Some((low, high)), Some((_, half))) if high - low < 8.0 * half)
}

/// The parts of a step of a chain, in words.
pub(crate) fn moves(facts: &Facts, grad_rms: Option<f64>) -> String {
    let (Some(step), Some(grad)) = (facts.step_size, grad_rms) else { return String::new() };
    let noise = facts.noise.map_or(String::new(), |noise| format!(" and by {} of noise", short(noise)));
    let data =
        facts.data.map_or(String::new(), |(a, b)| format!(", data lie in [{}, {}]", short(a), short(b)));
    format!("; a step moves a value by {} along the gradient{noise}{data}", short(step * grad))
}

/// A share in words.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", short(100.0 * share))
}
