//! Pointwise functions of a plan.

use ebm_core::plan::Activation;
use ebm_core::{Diff, Result};

/// The function `rule` of every entry of `x`.
///
/// # Errors
/// If the tensor operation fails.
pub fn activate<V: Diff>(x: &V, rule: Activation) -> Result<V> {
    match rule {
        Activation::Swish => x.swish(),
        Activation::Relu => x.relu(),
        Activation::LeakyRelu(slope) => x.leaky_relu(slope),
        Activation::Tanh => x.tanh(),
        Activation::Softplus => x.softplus(),
        Activation::Sigmoid => x.sigmoid(),
        Activation::Square => x.square(),
    }
}
