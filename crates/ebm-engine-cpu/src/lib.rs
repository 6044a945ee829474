//! Fused CPU engine: compiled twins of network plans.

pub mod conv;
pub mod dense;
pub mod pool;
pub mod simd;
