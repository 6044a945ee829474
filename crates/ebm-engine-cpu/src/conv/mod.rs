//! Fused engine for networks on images: all five calls of an energy in f32 on one processor.
//!
//! A plan is lowered to steps ([`CpuPlan::compile`]), its weights are packed ([`CpuPlan::pack`]), and
//! chunks of images run through the steps, forward and backward. For the second-order calls each
//! image has its tangent beside it; layers that are linear in the image treat it as one more image.
//! No result depends on the number of threads; those of single images not on the batch either.

mod arena;
mod attention;
mod convolve;
mod energy;
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
mod walk;

pub use energy::CpuEnergy;
pub use pack::Packed;
pub use plan::{Call, CpuPlan, Gradients, Workspace};
pub use program::Unsupported;
