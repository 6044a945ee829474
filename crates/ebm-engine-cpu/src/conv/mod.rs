//! The engine for convolutional plans.

mod arena;
mod attention;
mod convolve;
mod exec;
mod kernels;
mod layout;
mod normact;
mod pack;
mod plan;
mod program;
#[cfg(test)]
mod reference;
mod taps;
#[cfg(test)]
mod tests;

pub use pack::Packed;
pub use plan::{Call, CpuPlan, Workspace};
pub use program::Unsupported;
