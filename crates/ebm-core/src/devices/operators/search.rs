//! Nearest neighbours.

use candle_core::{Result, Tensor};

/// The rows of a reference set nearest to each row of a batch.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// Euclidean distances, `(B,)`; NaN where none counts.
    pub distance: Tensor,
    /// Rows of the reference set, `(B,)` in u32.
    pub row: Tensor,
    /// How many rows of the reference set count, `(B,)` in u32.
    pub counted: Tensor,
}

/// Search among the rows of a reference set.
pub trait SearchOps: Send + Sync {
    /// For each row of `x` `(B, D)` the `k`-th nearest (from 1) row of `bank` `(M, D)` that is further away than `exclude`; the first
    /// of equally near rows comes first.
    ///
    /// # Errors
    /// If the device fails.
    fn nearest(&self, x: &Tensor, bank: &Tensor, k: usize, exclude: f64) -> Result<Option<Nearest>>;
}
