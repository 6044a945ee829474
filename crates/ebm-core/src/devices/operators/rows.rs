//! Steps of samplers that touch each row alone.

use candle_core::{Result, Tensor};

use crate::{Chains, Key, RowStep};

/// What surrounds the slope of a [`RowStep`]; with these three a whole walk runs as one slope and a few kernels a step.
pub trait RowOps: Send + Sync {
    /// `x + σ·ε` for the noise of a step, `(B, ...)`.
    ///
    /// # Errors
    /// If the device fails.
    fn add_noise(&self, x: &Tensor, sigma: f64, chains: &Chains, key: Key) -> Result<Option<Tensor>>;

    /// The end of a step that takes its gradient `grad` at `hat`: limited move, noise that comes after it, clamp.
    ///
    /// # Errors
    /// If the device fails.
    fn advance(
        &self,
        step: &RowStep,
        hat: &Tensor,
        grad: &Tensor,
        chains: &Chains,
        key: Key,
    ) -> Result<Option<Tensor>>;

    /// Mean square of each row of `x` `(B, ...)`: `(B,)`.
    ///
    /// # Errors
    /// If the device fails.
    fn mean_square(&self, x: &Tensor) -> Result<Option<Tensor>>;
}
