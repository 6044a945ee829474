//! Fused CPU engine: compiled twins of network plans.
mod arena;
mod kernels;
pub mod simd;
