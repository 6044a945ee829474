//! Bounds of tensors, entry by entry, in any dtype. Candle's `clamp`, `maximum` and `minimum` are generic in what they take, so
//! each crate that calls them compiles their kernels for all dtypes once more (a quarter of a megabyte); these are compiled here.

use candle_core::{Result, Tensor};

/// `x` with every entry in `[low, high]`; the shape and dtype of `x`.
///
/// # Errors
/// If the operation fails.
pub fn clamped(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    x.clamp(low, high)
}

/// The larger of `x` and `low`, entry by entry; the shape and dtype of `x`.
///
/// # Errors
/// If the operation fails.
pub fn at_least(x: &Tensor, low: f64) -> Result<Tensor> {
    x.maximum(low)
}

/// The smaller of `x` and `high`, entry by entry; the shape and dtype of `x`.
///
/// # Errors
/// If the operation fails.
pub fn at_most(x: &Tensor, high: f64) -> Result<Tensor> {
    x.minimum(high)
}

/// The larger of two tensors of one shape and dtype, entry by entry.
///
/// # Errors
/// If shapes or dtypes differ.
pub fn larger(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.maximum(b)
}

/// The smaller of two tensors of one shape and dtype, entry by entry.
///
/// # Errors
/// If shapes or dtypes differ.
pub fn smaller(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.minimum(b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;

    use super::*;

    #[test]
    fn entries_stop_at_their_bounds_and_keep_their_dtype() {
        let x = Tensor::new(&[-2f32, 0.25, 3.0], &Device::Cpu).unwrap();
        let list = |t: Tensor| t.to_vec1::<f32>().unwrap();
        assert_eq!(list(clamped(&x, -1.0, 1.0).unwrap()), [-1.0, 0.25, 1.0]);
        assert_eq!(list(at_least(&x, 0.0).unwrap()), [0.0, 0.25, 3.0]);
        assert_eq!(list(at_most(&x, 0.0).unwrap()), [-2.0, 0.0, 0.0]);
        let y = x.neg().unwrap();
        assert_eq!(list(larger(&x, &y).unwrap()), [2.0, 0.25, 3.0]);
        assert_eq!(list(smaller(&x, &y).unwrap()), [-2.0, -0.25, -3.0]);
    }
}
