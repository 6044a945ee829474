//! How the kernels count, and the numbers by which they know rules and functions.

use ebm_core::plan::{Activation, Pool};

/// Threads of a block, at most; the kernels' shared memory has as many places.
pub(super) const BLOCK: usize = 256;

/// A number of entries or a side as the kernels count them; what is larger is not covered.
pub(super) fn count(n: usize) -> Option<u32> {
    u32::try_from(n).ok().filter(|n| i32::try_from(*n).is_ok())
}

pub(super) fn side(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Threads for rows of `n` entries.
pub(super) fn threads_for(n: usize) -> u32 {
    n.next_power_of_two().clamp(1, BLOCK) as u32
}

/// The number of a function in the kernels, and its slope below zero.
pub(super) fn function(f: Option<Activation>) -> (i32, f64) {
    match f {
        None => (0, 0.0),
        Some(Activation::Swish) => (1, 0.0),
        Some(Activation::Relu) => (2, 0.0),
        Some(Activation::LeakyRelu(slope)) => (3, slope),
        Some(Activation::Tanh) => (4, 0.0),
        Some(Activation::Softplus) => (5, 0.0),
        Some(Activation::Sigmoid) => (6, 0.0),
        Some(Activation::Square) => (7, 0.0),
    }
}

pub(super) fn rule(rule: &Pool) -> (i32, i32) {
    match rule {
        Pool::Average3 => (0, 0),
        Pool::Blur => (1, 0),
        Pool::Average { size } => (2, side(*size)),
    }
}
