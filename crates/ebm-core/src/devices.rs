//! Where tensors live and who computes on them: backends, engines, operators.

pub mod backend;
pub(crate) mod engine;
pub mod host;
pub mod machine;
pub mod operators;
mod total;
mod widened;

pub use total::total;
