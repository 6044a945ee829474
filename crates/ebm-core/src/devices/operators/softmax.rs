//! Softmax in one pass over each row.

use candle_core::{Result, Tensor};

/// Softmax and its gradient.
pub trait SoftmaxOps: Send + Sync {
    /// Softmax over the last axis of `x`.
    ///
    /// # Errors
    /// If the device fails.
    fn softmax(&self, x: &Tensor) -> Result<Option<Tensor>>;

    /// Gradient of the input of [`SoftmaxOps::softmax`], whose result was `y`, from that of its result.
    ///
    /// # Errors
    /// If the device fails.
    fn back(&self, y: &Tensor, g: &Tensor) -> Result<Tensor>;
}
