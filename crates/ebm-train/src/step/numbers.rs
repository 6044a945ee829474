//! Small sums of the numbers of a step, and whether two tensors are one.

use ebm_core::candle::Tensor;

/// How many numbers, their mean, and the sum of squares about it.
pub(crate) fn spread(v: &[f64]) -> (f64, f64, f64) {
    let mean = v.iter().sum::<f64>() / v.len().max(1) as f64;
    (v.len() as f64, mean, v.iter().map(|x| (x - mean).powi(2)).sum())
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

    #[test]
    fn the_spread_of_numbers() {
        assert_eq!(spread(&[1.0, 2.0, 3.0, 6.0]), (4.0, 3.0, 14.0));
    }

    #[test]
    fn a_view_of_the_same_memory_is_the_same() {
        let a = Tensor::new(&[1.0, 2.0, 3.0, 4.0], &Device::Cpu).unwrap();
        assert!(same(&a.narrow(0, 1, 2).unwrap(), &a.narrow(0, 1, 2).unwrap()));
        assert!(!same(&a.narrow(0, 1, 2).unwrap(), &a.narrow(0, 2, 2).unwrap()));
        assert!(!same(&a, &a.copy().unwrap()));
    }
}
