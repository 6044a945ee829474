//! Whether a training is well, judged by the numbers of its steps.
//!
//! ```
//! use ebm_core::{Level, Report};
//! use ebm_health::{Facts, Watch};
//!
//! let (mut watch, facts) = (Watch::default(), Facts::default());
//! for step in 1..=100 {
//!     let mut report = Report { step, of: 100, ..Report::default() };
//!     let energies = [("energy.data", -1.0), ("energy.samples", -0.9), ("energy.difference", -0.1)];
//!     let spreads = [("energy.data.sd", 0.5), ("energy.samples.sd", 0.5), ("grad", 0.1)];
//!     report.values.extend(energies.into_iter().chain(spreads).map(|(name, v)| (name.to_string(), v)));
//!     assert!(watch.see(&facts, &report).is_none());
//! }
//! assert_eq!(watch.health(&facts).level, Level::Well);
//! ```
//!
//! The rules are rules of thumb with round thresholds, each said in the sentence that it makes.

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
