//! Convolutions and pooling of images.

use candle_core::{Result, Tensor};

use super::Parts;
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

/// How the numbers of an image follow one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// All of a channel, then the next channel: images are `(B, C, H, W)`, weights `(O, C, k, k)`.
    #[default]
    ChannelsFirst,
    /// All channels of a place, then the next place: images are `(B, H, W, C)`, weights `(O, k, k, C)`.
    ChannelsLast,
}

/// A convolution, or one of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Which.
    pub pass: Pass,
    /// How both operands and the result lie in memory.
    pub order: Order,
    /// Stride.
    pub stride: usize,
    /// Zero padding on each side.
    pub padding: usize,
}

/// Convolutions; each pass may be covered or not on its own.
pub trait ConvolutionOps: Send + Sync {
    /// A convolution without bias, or one of its gradients, of two operands of one type: `x` and `w`, with the gradient `g` of the result in
    /// the place of what is asked for. Their shapes are those of the [`Order`].
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
    fn pool_back(&self, g: Parts<'_>, rule: &Pool, size: (usize, usize)) -> Result<Tensor>;
}
