//! Plain loops over the values of a tensor where a tensor operation would cost more than its work.
//!
//! On the CPU, contiguous f32 and f64 tensors are read as slices; everything else goes through
//! tensor operations with the same order of rounding in each element.

use ebm_core::candle::Tensor;
use ebm_core::host::{self, on_slice};
use ebm_core::{Result, sum_of_squares};

macro_rules! squares {
    ($v:expr) => {{
        let mut lanes = [0f64; 8];
        let chunks = $v.chunks_exact(8);
        let rest: f64 = chunks.remainder().iter().map(|x| (*x as f64) * (*x as f64)).sum();
        for c in chunks {
            for (l, x) in lanes.iter_mut().zip(c) {
                *l += (*x as f64) * (*x as f64);
            }
        }
        lanes.iter().sum::<f64>() + rest
    }};
}

/// Sum of squares in f64.
///
/// # Errors
/// If the tensor cannot be read.
#[allow(clippy::unnecessary_cast)]
pub(crate) fn squares(t: &Tensor) -> Result<f64> {
    match on_slice(t, |v| squares!(v), |v| squares!(v)) {
        Some(s) => Ok(s),
        None => sum_of_squares(t),
    }
}

/// [`squares`] of each, by one read where they are on a device.
///
/// # Errors
/// If a tensor cannot be read.
pub(crate) fn squares_of_each<'a>(all: impl Iterator<Item = &'a Tensor>) -> Result<Vec<f64>> {
    let all: Vec<&Tensor> = all.collect();
    if all.iter().all(|t| t.device().is_cpu()) {
        return all.into_iter().map(squares).collect();
    }
    let sums = all.iter().map(|t| t.sqr()?.sum_all()).collect::<ebm_core::candle::Result<Vec<_>>>()?;
    host::numbers(&Tensor::stack(&sums, 0)?)
}

/// Number of entries, their mean, and the sum of squares about it, in f64.
///
/// # Errors
/// If the tensor cannot be read.
pub(crate) fn spread(t: &Tensor) -> Result<(f64, f64, f64)> {
    let v = host::numbers(t)?;
    let mean = v.iter().sum::<f64>() / v.len().max(1) as f64;
    Ok((v.len() as f64, mean, v.iter().map(|x| (x - mean).powi(2)).sum()))
}

/// Whether two tensors are the same values in the same memory.
pub(crate) fn same(a: &Tensor, b: &Tensor) -> bool {
    if a.id() == b.id() {
        return true;
    }
    if a.dims() != b.dims() || a.dtype() != b.dtype() {
        return false;
    }
    let ((s, k), (t, l)) = (a.storage_and_layout(), b.storage_and_layout());
    std::ptr::eq(&*s, &*t) && k.start_offset() == l.start_offset() && k.stride() == l.stride()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;

    use super::*;

    fn t(v: &[f64]) -> Tensor {
        Tensor::new(v, &Device::Cpu).unwrap()
    }

    #[test]
    fn loops_agree_with_tensor_operations() {
        let a: Vec<f64> = (0..37).map(|i| (f64::from(i) * 0.7).sin()).collect();
        let want: f64 = a.iter().map(|x| x * x).sum();
        // Different order of 37 additions of numbers below 1.
        assert!((squares(&t(&a)).unwrap() - want).abs() < 1e-13);
        assert_eq!(spread(&t(&[1.0, 2.0, 3.0, 6.0])).unwrap(), (4.0, 3.0, 14.0));
    }

    #[test]
    fn a_view_of_the_same_memory_is_the_same() {
        let a = t(&[1.0, 2.0, 3.0, 4.0]);
        assert!(same(&a.narrow(0, 1, 2).unwrap(), &a.narrow(0, 1, 2).unwrap()));
        assert!(!same(&a.narrow(0, 1, 2).unwrap(), &a.narrow(0, 2, 2).unwrap()));
        assert!(!same(&a, &a.copy().unwrap()));
    }
}
