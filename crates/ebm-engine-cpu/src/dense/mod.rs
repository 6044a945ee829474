//! Fused engine for fully connected networks on one processor: all five calls of an energy and whole
//! Langevin walks, in f32.
//!
//! Blocks of rows go through the whole network while they are in the nearest caches. A row's
//! result depends on neither the batch, nor the block, nor the number of threads.

mod energy;
mod engine;
mod graph;
mod kernels;
mod net;
mod pack;
mod plain;
mod pointwise;
mod program;
mod walk;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use energy::DenseEnergy;
pub use engine::{Dense, DensePlan};
pub use graph::{Slot, Unsupported};
pub(crate) use kernels::Kernels as RowKernels;
pub(crate) use plain::Move;
pub use walk::WalkOut;
