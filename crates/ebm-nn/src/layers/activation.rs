//! Pointwise functions of a plan.

use ebm_core::plan::Activation;
use ebm_core::tie::{Back, tie1};
use ebm_core::{Diff, Result, swish_slope};

use candle_core::Tensor;

/// The function `rule` of every entry of `x`.
///
/// # Errors
/// If the tensor operation fails.
pub fn activate<V: Diff>(x: &V, rule: Activation) -> Result<V> {
    match rule {
        Activation::Swish => swish(x),
        Activation::Relu => x.relu(),
        Activation::LeakyRelu(slope) => x.leaky_relu(slope),
        Activation::Tanh => x.tanh(),
        Activation::Softplus => x.softplus(),
        Activation::Sigmoid => x.sigmoid(),
        Activation::Square => x.square(),
    }
}

/// `x·sigmoid(x)` with its derivative written as `s·(1 + x·(1 − s))`.
///
/// candle's backward pass computes `s·(1 − y) + y`, which cancels where activations are large: at
/// 1e7, which networks without norm layers reach, its derivative in f32 is 0 or 2 instead of 1.
///
/// # Errors
/// If the tensor operation fails.
pub fn swish<V: Diff>(x: &V) -> Result<V> {
    x.pointwise(
        |t| {
            tie1("swish", t, t.detach().silu()?, || {
                let t = t.detach();
                Box::new(move |g: &Tensor| g * swish_slope(&t)?) as Back
            })
        },
        swish_slope,
    )
}
