//! What a training run is made of beside energies and samplers: data, objectives, optimisers, ranks, reports, findings.

pub(crate) mod columns;
pub(crate) mod data;
pub(crate) mod health;
pub(crate) mod objective;
pub(crate) mod optimiser;
pub(crate) mod ranks;
pub(crate) mod report;
