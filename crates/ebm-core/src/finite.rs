//! Refuses numbers that are not finite.

use candle_core::{DType, Tensor};

use crate::devices::host::{self, on_slice};
use crate::{Error, Result};

/// Checks that every entry of `t` is finite; `cure` says what helps if one is not.
///
/// # Errors
/// [`Error::Numeric`] naming `what`, the step, and the first bad entry.
pub fn finite(what: &str, t: &Tensor, step: u64, cure: &str) -> Result<()> {
    match first_bad(t)? {
        None => Ok(()),
        Some((index, value)) => {
            let place = place(index, t.dims());
            let message = format!("entry {place} is {value}; {cure}");
            Err(Error::numeric(what, step, message))
        }
    }
}

/// A flat index as `[i, j, ...]`.
fn place(mut flat: usize, dims: &[usize]) -> String {
    let mut at = vec![0; dims.len()];
    for (i, d) in dims.iter().enumerate().rev() {
        at[i] = flat % d.max(&1);
        flat /= d.max(&1);
    }
    format!("{at:?}")
}

macro_rules! any_bad {
    ($v:expr) => {
        // A block at a time without early exit, so that the test is one vector operation.
        $v.chunks(1024).any(|c| c.iter().fold(false, |bad, x| bad | !x.is_finite()))
    };
}

/// The flat index and value of the first entry that is not finite.
///
/// # Errors
/// If the tensor cannot be read.
pub fn first_bad(t: &Tensor) -> Result<Option<(usize, f64)>> {
    match on_slice(t, |v| any_bad!(v), |v| any_bad!(v)) {
        Some(false) => return Ok(None),
        Some(true) => {}
        None => {
            // A sum is finite only if all entries are; it may overflow without any, hence the scan below.
            if matches!(t.dtype(), DType::F32 | DType::F64) && host::scalar(&t.sum_all()?)?.is_finite() {
                return Ok(None);
            }
        }
    }
    let all = host::numbers(t)?;
    Ok(all.iter().position(|v| !v.is_finite()).map(|i| (i, all[i])))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;

    use super::*;

    fn t(v: &[f64]) -> Tensor {
        Tensor::new(v, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_first_bad_entry_is_found() {
        let mut v = vec![1.0; 3000];
        assert_eq!(first_bad(&t(&v)).unwrap(), None);
        v[2500] = f64::INFINITY;
        v[2700] = f64::NAN;
        assert_eq!(first_bad(&t(&v)).unwrap(), Some((2500, f64::INFINITY)));
        // Not contiguous: through tensor operations.
        let m = t(&v).reshape((2, 1500)).unwrap().t().unwrap();
        assert_eq!(first_bad(&m).unwrap(), Some((2001, f64::INFINITY)));
    }
}
