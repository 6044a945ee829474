//! Holds plugins to the laws of their families.
//!
#![doc = include_str!("../README.md")]

mod cases;
mod component;
mod conformance;
mod difference;
mod energy;
mod failure;
mod gap;
mod law;
pub mod laws;
mod objective;
mod planted;
mod refusal;
mod replay;
mod sampler;
mod source;
pub mod toy;
mod transition;

pub use cases::cases;
pub use component::{check_component, check_components};
pub use conformance::Conformance;
pub use difference::{relative_gap, theta_difference, x_difference};
pub use energy::{Checked, check_energy, check_energy_within};
pub use failure::{Failure, Verdict};
pub use gap::{Estimate, Gap, derivative, theta_gap, x_gap};
pub use law::{Moments, check_variance, moments, run};
pub use objective::{Fulfilled, check_objective, fulfil_plainly};
pub use replay::check_replay;
pub use sampler::check_sampler;
pub use source::check_source;
pub use transition::check_transition;
