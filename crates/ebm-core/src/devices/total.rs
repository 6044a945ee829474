//! Sums of all entries where a device would give all of them to one of its processors.

use candle_core::{Result, Tensor};

use super::host::near;

/// Entries that are added first.
const LANE: usize = 1024;

/// The sum of all entries of `t`, a scalar in its type.
///
/// candle's kernels have one block for each number that they make, so one sum of many entries keeps the rest of a GPU waiting: there
/// entries are added by lanes first. On the processor this is `sum_all`, to the bit.
///
/// # Errors
/// If the device fails.
pub fn total(t: &Tensor) -> Result<Tensor> {
    if near(t) { t.sum_all() } else { by_lanes(t, LANE) }
}

/// The sum by sums of `lane` entries.
fn by_lanes(t: &Tensor, lane: usize) -> Result<Tensor> {
    let flat = t.flatten_all()?;
    let (n, lanes) = (flat.elem_count(), flat.elem_count() / lane);
    if lanes < 2 {
        return flat.sum_all();
    }
    let whole = lanes * lane;
    let sums = flat.narrow(0, 0, whole)?.reshape((lanes, lane))?.sum(1)?;
    if n == whole {
        return sums.sum_all();
    }
    sums.sum_all()? + flat.narrow(0, whole, n - whole)?.sum_all()?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn lanes_add_every_entry_once() {
        for n in [0usize, 1, 7, 8, 15, 16, 17, 64, 1001] {
            // Whole numbers: every order of additions gives the same sum.
            let t = Tensor::arange(0f64, n as f64, &Device::Cpu).unwrap();
            let want = (n * n.saturating_sub(1) / 2) as f64;
            assert_eq!(by_lanes(&t, 8).unwrap().to_scalar::<f64>().unwrap(), want, "{n}");
            assert_eq!(total(&t).unwrap().to_scalar::<f64>().unwrap(), want, "{n}");
        }
        let t = Tensor::arange(0f32, 60.0, &Device::Cpu).unwrap().reshape((3, 4, 5)).unwrap();
        let turned = by_lanes(&t.transpose(0, 2).unwrap(), 8).unwrap();
        assert_eq!(
            (turned.dtype(), turned.rank(), turned.to_scalar::<f32>().unwrap()),
            (DType::F32, 0, 1770.0)
        );
    }
}
