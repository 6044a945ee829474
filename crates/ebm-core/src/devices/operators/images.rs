//! Convolutions and pooling of images.

use candle_core::{Result, Tensor};

use crate::plan::Pool;

/// Which of a convolution and its two gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The result, of `x` and `w`.
    Forward,
    /// The gradient of the input, of `g` and `w`.
    Input {
        /// Sides of the input.
        size: (usize, usize),
    },
    /// The gradient of the weight, of `x` and `g`.
    Weight {
        /// Side of the kernel.
        kernel: usize,
    },
}

/// A convolution, or one of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Which.
    pub pass: Pass,
    /// Stride.
    pub stride: usize,
    /// Zero padding on each side.
    pub padding: usize,
}

/// Convolutions; each pass may be covered or not on its own.
pub trait ConvolutionOps: Send + Sync {
    /// A convolution without bias, or one of its gradients, of two operands: `x` `(B, C, H, W)` and `w` `(O, C, k, k)`, with the gradient
    /// `g` of the result in the place of what is asked for.
    ///
    /// # Errors
    /// If the device fails.
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>>;
}

/// Pooling of every rule.
pub trait PoolOps: Send + Sync {
    /// `x` `(B, C, H, W)` pooled.
    ///
    /// # Errors
    /// If the device fails.
    fn pool(&self, x: &Tensor, rule: &Pool) -> Result<Option<Tensor>>;

    /// Gradient of the input of a [`PoolOps::pool`] that was covered, whose sides are `size`, from that of its result.
    ///
    /// # Errors
    /// If the device fails.
    fn pool_back(&self, g: &Tensor, rule: &Pool, size: (usize, usize)) -> Result<Tensor>;
}
