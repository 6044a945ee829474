//! Refuses numbers that are not finite.

use candle_core::{DType, Tensor};

use crate::devices::host::{self, on_slice};
use crate::{Error, Result, squares_of_many, total};

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
            if summed(t) && host::scalar(&total(t)?)?.is_finite() {
                return Ok(None);
            }
        }
    }
    let all = host::numbers(t)?;
    Ok(all.iter().position(|v| !v.is_finite()).map(|i| (i, all[i])))
}

/// Whether the sum of `t` tells that all entries are finite.
fn summed(t: &Tensor) -> bool {
    matches!(t.dtype(), DType::F32 | DType::F64)
}

/// Of each a number that is finite only if all entries are, by one read.
fn squares_or_sums(all: &[&(&str, &Tensor)]) -> Result<Vec<f64>> {
    let pairs: Vec<(&Tensor, Option<&Tensor>)> = all.iter().map(|(_, t)| (*t, None)).collect();
    if let Some(squares) = squares_of_many(&pairs)? {
        return Ok(squares);
    }
    let sums = all.iter().map(|(_, t)| total(t)?.to_dtype(DType::F32));
    host::numbers(&Tensor::stack(&sums.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
}

/// The name of the first tensor with an entry that is not finite, and the flat index and value of the first such entry: by one read for
/// all tensors where they are on a device.
///
/// # Errors
/// If a tensor cannot be read.
pub fn first_bad_of_all<'a>(all: &[(&'a str, &Tensor)]) -> Result<Option<(&'a str, usize, f64)>> {
    let one = |(name, t): &(&'a str, &Tensor)| Ok(first_bad(t)?.map(|(index, v)| (*name, index, v)));
    let (far, other): (Vec<_>, Vec<_>) = all.iter().partition(|(_, t)| summed(t) && !host::near(t));
    if far.is_empty() {
        return all.iter().find_map(|of| one(of).transpose()).transpose();
    }
    let sums = squares_or_sums(&far)?;
    let doubtful = far.iter().zip(&sums).filter(|(_, s)| !s.is_finite()).map(|(of, _)| of);
    // In the order in which they came, but for those whose sums are finite.
    let doubtful: Vec<&str> = doubtful.chain(&other).map(|(name, _)| *name).collect();
    all.iter().filter(|(name, _)| doubtful.contains(name)).find_map(|of| one(of).transpose()).transpose()
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
