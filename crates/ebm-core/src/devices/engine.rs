//! What a fused engine offers: a faster twin of an energy.

use std::sync::Arc;

use crate::{EnergyFn, Result};

/// An engine's answer.
pub enum Accelerated {
    /// A faster energy with the same parameters and results to rounding.
    Twin(Arc<dyn EnergyFn>),
    /// The energy stays as it is, for this reason.
    Graph(String),
}

/// Builds faster twins of energies that have a [plan](EnergyFn::plan).
pub trait Engine: Send + Sync {
    /// The engine's name in configuration and logs.
    fn name(&self) -> &str;

    /// A twin of `energy`, sharing its parameters, or the reason why there is none.
    ///
    /// # Errors
    /// If the twin disagrees with the energy in the engine's self-check.
    fn accelerate(&self, energy: &Arc<dyn EnergyFn>) -> Result<Accelerated>;

    /// Told when a whole that the engine refused is offered again part by part.
    fn parts_instead(&self, energy: &Arc<dyn EnergyFn>) {
        let _ = energy;
    }
}
