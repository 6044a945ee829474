//! Whether a training is well, judged by the numbers of its steps.
//!
#![doc = include_str!("../README.md")]

mod causes;
mod facts;
mod help;
mod judgement;
mod numbers;
mod rules;
mod trace;
mod watch;

pub use facts::Facts;
pub use judgement::Health;
pub use watch::Watch;

/// The probability that a sample has a higher energy than a datum, ties counting half; `None` without energies of both.
///
/// A step is a group: an energy moves as a whole from step to step, so the overlaps of steps are averaged, and their
/// energies never pooled.
pub fn overlap(samples: &[f64], data: &[f64]) -> Option<f64> {
    ebm_eval::auroc(samples, data).ok()
}
