//! Small things that the terms share.

use candle_core::Tensor;
use ebm_core::{Result, host};

/// A coefficient's default.
pub(crate) fn one() -> f64 {
    1.0
}

/// The sum of all entries, read from the device.
pub(crate) fn sum(t: &Tensor) -> Result<f64> {
    host::scalar(&t.sum_all()?)
}
