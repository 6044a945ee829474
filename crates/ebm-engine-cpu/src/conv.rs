//! Fused engine for networks on images: all five calls of an energy in f32 on one processor.
//!
//! A plan is lowered to steps ([`ConvPlan::compile`]), its weights are packed ([`ConvPlan::pack`]), and
//! chunks of images run through the steps, forward and backward. For the second-order calls each
//! image has its tangent beside it; layers that are linear in the image treat it as one more image.
//! No result depends on the number of threads; those of single images not on the batch either.

#[cfg(test)]
mod allocation_tests;
mod arena;
mod attend;
mod attention;
mod cells;
mod convolve;
mod energy;
#[cfg(test)]
mod energy_tests;
mod entries;
mod exec;
mod kernels;
mod late;
mod layout;
mod lower;
mod normact;
mod pack;
mod patches;
mod plan;
mod program;
mod sample;
mod store;
mod strided;
mod taps;
mod terms;
#[cfg(test)]
mod tests;
mod theta;
mod walk;

pub(crate) use energy::ConvEnergy;
pub(crate) use pack::Packed;
pub(crate) use plan::{Call, ConvPlan, Workspace};
