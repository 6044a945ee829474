//! Estimates of the entropy of a set of samples, with gradients in the samples.

use candle_core::Tensor;

use crate::{Key, Result};

// ANCHOR: estimate
/// Value and gradient of an entropy estimate.
#[derive(Clone, Debug)]
pub struct EntropyEstimate {
    /// Contribution of each sample to the entropy, `(B,)`; the estimate is their mean. Nats.
    pub value: Tensor,
    /// Gradient of the *mean* of `value` in the samples, the shape of the samples.
    pub grad: Tensor,
}
// ANCHOR_END: estimate

// ANCHOR: entropy
/// An entropy estimator against a reference set (earlier samples from the replay buffer).
pub trait EntropyEstimator: Send + Sync {
    /// The estimate for samples `x` `(B, ...)` against `bank` `(M, ...)`; the bank is a constant.
    ///
    /// # Errors
    /// If the bank is too small or shapes differ.
    fn estimate(&self, x: &Tensor, bank: &Tensor, key: Key) -> Result<EntropyEstimate>;

    /// Smallest number of reference samples it can work with.
    fn smallest_bank(&self) -> usize {
        1
    }

    /// The estimator's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: entropy
