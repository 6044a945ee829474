//! Fused engine for fully connected networks on one processor: all five calls of an energy and whole
//! Langevin walks, in f32.
//!
//! Blocks of rows go through the whole network while they are in the nearest caches. A row's
//! result depends on neither the batch, nor the block, nor the number of threads.

#[cfg(test)]
mod allocation_tests;
mod energy;
mod engine;
mod graph;
mod kernels;
mod net;
mod pack;
mod plain;
mod plan;
mod program;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use energy::DenseEnergy;
pub(crate) use engine::Dense;
pub(crate) use graph::Slot;
pub(crate) use kernels::Kernels as RowKernels;
pub(crate) use plain::Move;
pub(crate) use plan::DensePlan;
pub(crate) use walk::WalkOut;
