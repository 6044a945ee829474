//! Fused CPU engine: compiled twins of network plans.
//!
#![doc = include_str!("../README.md")]

mod backend;
mod conv;
#[cfg(test)]
mod counting;
mod dense;
mod engine;
mod peak;
mod pointwise;
mod pool;
mod range;
#[cfg(test)]
#[allow(dead_code)] // the example uses more of it
#[path = "../examples/slope/resnet.rs"]
mod resnet;
mod simd;
#[cfg(test)]
mod testing;
mod twin;
mod unsupported;

pub use engine::CpuEngine;
pub use simd::Isa;
