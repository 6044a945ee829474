//! Optimisers with explicit state, schedules, policies.
mod adam;
mod common;
mod policy;
mod sgd;
mod slices;

pub use adam::Adam;
pub use policy::{Checkpoint, StopAfter, StopOnDivergence};
pub use sgd::Sgd;
