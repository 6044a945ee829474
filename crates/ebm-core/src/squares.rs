//! Sums of squares of tensors, and what a change amounts to: plain loops where a tensor operation would cost more than its work.
//!
//! On the CPU, contiguous f32 and f64 tensors are read as slices; everything else goes through
//! tensor operations with the same order of rounding in each element.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::devices::host::{self, on_slice};
use crate::operators::operators;
use crate::{Result, total};

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

/// Sum of squares of a tensor in f64; where it does not lie in one piece on the processor, accumulated in the tensor's dtype by blocks
/// of candle's reduction, of half precision in single.
///
/// # Errors
/// If the tensor cannot be read.
#[allow(clippy::unnecessary_cast)]
pub fn sum_of_squares(t: &Tensor) -> Result<f64> {
    match on_slice(t, |v| squares!(v), |v| squares!(v)) {
        Some(s) => Ok(s),
        None => host::scalar(&crate::batch::wide(t, |t| t.sqr()?.sum_all())?),
    }
}

/// Sums of squares of each first tensor, less the second where there is one, where their device does all at once; by one read.
///
/// # Errors
/// If the device fails.
pub fn squares_of_many(pairs: &[(&Tensor, Option<&Tensor>)]) -> Result<Option<Vec<f64>>> {
    let Some((first, _)) = pairs.first().filter(|(t, _)| !host::near(t)) else { return Ok(None) };
    let many = operators(first.device()).and_then(|o| o.many.clone());
    let squares = many.map(|o| o.squares(pairs)).transpose()?.flatten();
    squares.as_ref().map(host::numbers).transpose()
}

/// [`sum_of_squares`] of each, by one read where they are on a device.
///
/// # Errors
/// If a tensor cannot be read.
pub fn squares_of_each<'a>(all: impl Iterator<Item = &'a Tensor>) -> Result<Vec<f64>> {
    let all: Vec<&Tensor> = all.collect();
    // Nothing needs no read.
    if all.iter().all(|t| host::near(t)) {
        return all.into_iter().map(sum_of_squares).collect();
    }
    let alone: Vec<(&Tensor, Option<&Tensor>)> = all.iter().map(|t| (*t, None)).collect();
    if let Some(squares) = squares_of_many(&alone)? {
        return Ok(squares);
    }
    let sums = all.iter().map(|t| total(&t.sqr()?)).collect::<candle_core::Result<Vec<_>>>()?;
    host::numbers(&Tensor::stack(&sums, 0)?)
}

macro_rules! change_and_size {
    ($old:expr, $new:expr) => {{
        // Blocks of a length that the compiler knows: it adds their entries side by side.
        let ((old, old_rest), (new, new_rest)) = ($old.as_chunks::<8>(), $new.as_chunks::<8>());
        let rest = old_rest.iter().zip(new_rest).map(|(o, n)| ((*n - *o) as f64, *o as f64));
        let rest =
            rest.fold((0.0, 0.0), |sum, (change, size)| (sum.0 + change * change, sum.1 + size * size));
        let (mut changes, mut sizes) = ([0f64; 8], [0f64; 8]);
        for (o, n) in old.iter().zip(new) {
            for i in 0..8 {
                let change = (n[i] - o[i]) as f64;
                changes[i] += change * change;
            }
            for i in 0..8 {
                sizes[i] += (o[i] as f64) * (o[i] as f64);
            }
        }
        (changes.iter().sum::<f64>() + rest.0, sizes.iter().sum::<f64>() + rest.1)
    }};
}

/// Sums of squares of `new − old` and of `old`, in one loop, where both lie in one piece on the processor.
#[allow(clippy::unnecessary_cast)]
fn change_and_size(old: &Tensor, new: &Tensor) -> Option<(f64, f64)> {
    if old.dims() != new.dims() {
        return None;
    }
    on_slice(
        old,
        |o| on_slice(new, |n| Some(change_and_size!(o, n)), |_| None).flatten(),
        |o| on_slice(new, |_| None, |n| Some(change_and_size!(o, n))).flatten(),
    )
    .flatten()
}

/// Norm of the change from `old` to `new`, each by name, over the norm of what `new` has in `old`; 0 where nothing changes,
/// `None` where it changes from 0.
///
/// # Errors
/// If a tensor cannot be read.
pub fn relative_change<'a>(
    old: impl Fn(&str) -> Option<&'a Tensor>,
    new: &'a BTreeMap<String, Tensor>,
) -> Result<Option<f64>> {
    let pairs: Vec<(&Tensor, &Tensor)> =
        new.iter().filter_map(|(name, new)| Some((old(name)?, new))).collect();
    let here: Option<Vec<(f64, f64)>> = pairs.iter().map(|(old, new)| change_and_size(old, new)).collect();
    let (change, size): (f64, f64) = match here {
        Some(all) => all.into_iter().fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1)),
        None => {
            // Of both by one read.
            let changes = pairs.iter().map(|(old, new)| (*new, Some(*old)));
            let both: Vec<_> = changes.chain(pairs.iter().map(|(old, _)| (*old, None))).collect();
            if let Some(all) = squares_of_many(&both)? {
                let (changes, sizes) = all.split_at(pairs.len());
                return Ok(share(changes.iter().sum(), sizes.iter().sum()));
            }
            let changes: Vec<Tensor> =
                pairs.iter().map(|(old, new)| Ok((*new - *old)?)).collect::<Result<_>>()?;
            let both = changes.iter().chain(pairs.iter().map(|(old, _)| *old));
            let squares = squares_of_each(both)?;
            let (changes, sizes) = squares.split_at(changes.len());
            (changes.iter().sum(), sizes.iter().sum())
        }
    };
    Ok(share(change, size))
}

/// A change from its square and that of what changes.
fn share(change: f64, size: f64) -> Option<f64> {
    match (change, size) {
        (0.0, _) => Some(0.0),
        (_, size) if size > 0.0 => Some((change / size).sqrt()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device};

    use super::*;

    fn t(v: &[f64]) -> Tensor {
        Tensor::new(v, &Device::Cpu).unwrap()
    }

    #[test]
    fn loops_agree_with_tensor_operations() {
        let a: Vec<f64> = (0..37).map(|i| (f64::from(i) * 0.7).sin()).collect();
        let want: f64 = a.iter().map(|x| x * x).sum();
        // Different order of 37 additions of numbers below 1.
        assert!((sum_of_squares(&t(&a)).unwrap() - want).abs() < 1e-13);
    }

    #[test]
    fn a_change_in_one_loop_is_that_of_tensor_operations() {
        let wave = |n: usize, by: f64| (0..n).map(|i| (i as f64 * by).sin()).collect::<Vec<_>>();
        for n in [1, 8, 37] {
            let (old, new) = (t(&wave(n, 0.7)), t(&wave(n, 0.71)));
            for (old, new) in [
                (old.clone(), new.clone()),
                (old.to_dtype(DType::F32).unwrap(), new.to_dtype(DType::F32).unwrap()),
            ] {
                let wanted =
                    (sum_of_squares(&(&new - &old).unwrap()).unwrap(), sum_of_squares(&old).unwrap());
                assert_eq!(change_and_size(&old, &new), Some(wanted), "{n}");
            }
        }
        assert_eq!(change_and_size(&t(&[1.0]), &t(&[1.0, 2.0])), None);
    }

    #[test]
    fn a_change_is_told_in_sizes_of_what_changes() {
        let old = BTreeMap::from([("a".to_string(), t(&[3.0, 0.0])), ("b".to_string(), t(&[4.0]))]);
        let change = |new: BTreeMap<String, Tensor>| relative_change(|n| old.get(n), &new).unwrap();
        let moved = BTreeMap::from([("a".to_string(), t(&[3.0, 0.3])), ("b".to_string(), t(&[4.4]))]);
        // Changes of 0.3 and 0.4 at sizes of 3 and 4, each a handful of roundings.
        assert!((change(moved).unwrap() - 0.1).abs() < 1e-15);
        assert_eq!(change(old.clone()), Some(0.0));
        assert_eq!(change(BTreeMap::new()), Some(0.0));
    }
}
