//! Where tensors live and who computes on them: backends, engines, operators.

pub mod backend;
pub(crate) mod engine;
pub mod host;
pub mod machine;
pub mod operators;
mod row_product;
mod total;
mod widened;

pub use row_product::{RowNumber, RowProduct};
pub use total::total;
