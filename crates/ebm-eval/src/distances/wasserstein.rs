//! Wasserstein distance on the line, and its average over random directions.

use crate::error::{EvalError, Result, all_finite, at_least};
use crate::numeric::splitmix::SplitMix;
use crate::samples::{Features, same_width};

/// (∫ |F_a^-1(u) - F_b^-1(u)|^p du)^(1/p) of two samples of the line of any sizes, `order` p >= 1, in units of the
/// values. Errs if a set is empty or not finite, or if `order` is below 1.
pub fn wasserstein(a: &[f64], b: &[f64], order: f64) -> Result<f64> {
    check_order(order)?;
    for (what, set) in [("values of the first set", a), ("values of the second set", b)] {
        at_least(what, set.len(), 1)?;
        all_finite(what, set)?;
    }
    Ok(cost(&mut a.to_vec(), &mut b.to_vec(), order).powf(1.0 / order))
}

/// Sliced Wasserstein distance, (mean over directions of W_p^p)^(1/p) (Rabin et al. 2012; Bonneel et al. 2015), over
/// `directions` uniformly random unit vectors from `seed`. `O(directions n (d + log n))`.
///
/// Shrinks like 1/√d in high dimension; compare only equal widths, directions and seeds. Errs if the widths differ, a
/// set is empty, `directions` is 0, or `order` is below 1.
pub fn sliced_wasserstein(
    a: &Features,
    b: &Features,
    directions: usize,
    order: f64,
    seed: u64,
) -> Result<f64> {
    check_order(order)?;
    same_width(a, b)?;
    at_least("rows of the first features", a.n(), 1)?;
    at_least("rows of the second features", b.n(), 1)?;
    at_least("directions", directions, 1)?;
    let mut stream = SplitMix::new(seed);
    let mut sum = 0.0;
    for _ in 0..directions {
        let mut v: Vec<f64> = (0..a.d()).map(|_| stream.normal()).collect();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= length);
        sum += cost(&mut projected(a, &v), &mut projected(b, &v), order);
    }
    Ok((sum / directions as f64).powf(1.0 / order))
}

fn check_order(order: f64) -> Result<()> {
    if order >= 1.0 && order.is_finite() {
        return Ok(());
    }
    Err(EvalError::Setting { what: "order of the Wasserstein distance", found: order, wanted: "at least 1" })
}

fn projected(f: &Features, v: &[f64]) -> Vec<f64> {
    f.data().chunks_exact(f.d()).map(|row| row.iter().zip(v).map(|(x, y)| x * y).sum()).collect()
}

/// W_p^p by walking both quantile functions from step to step. Sorts its inputs.
fn cost(a: &mut [f64], b: &mut [f64], order: f64) -> f64 {
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    // In units of 1/(n m) all steps are whole numbers, so none is lost to rounding.
    let (n, m) = (a.len(), b.len());
    let (mut i, mut j, mut at, mut sum) = (0, 0, 0, 0.0);
    while i < n && j < m {
        let (end_a, end_b) = ((i + 1) * m, (j + 1) * n);
        let end = end_a.min(end_b);
        sum += (end - at) as f64 * (a[i] - b[j]).abs().powf(order);
        i += usize::from(end == end_a);
        j += usize::from(end == end_b);
        at = end;
    }
    sum / (n as f64 * m as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testing::goldens::{assert_close, clouds, normals};

    #[test]
    fn agrees_with_scipy_and_numpy() {
        // python tests/goldens.py wasserstein
        assert_close(wasserstein(&normals(91, 30), &normals(92, 21), 1.0).unwrap(), GOLD[0], 1e-12);
        let (a, b) = clouds();
        assert_close(sliced_wasserstein(&a, &b, 16, 1.0, 4).unwrap(), GOLD[1], 1e-12);
        assert_close(sliced_wasserstein(&a, &b, 16, 2.0, 4).unwrap(), GOLD[2], 1e-12);
    }
    const GOLD: [f64; 3] = [0.23512759492510846, 0.7268717115786966, 0.8701341596650483];

    #[test]
    fn settings_are_checked() {
        let (a, b) = clouds();
        assert!(wasserstein(&[], &[1.0], 1.0).is_err() && wasserstein(&[1.0], &[f64::NAN], 1.0).is_err());
        assert!(wasserstein(&[1.0], &[1.0], 0.5).is_err());
        assert!(sliced_wasserstein(&a, &b, 0, 1.0, 4).is_err());
    }

    proptest! {
        #[test]
        fn repeating_all_values_changes_nothing_and_a_shift_is_the_distance(
            v in prop::collection::vec(-9.0f64..9.0, 1..12), by in -5.0f64..5.0, times in 1usize..5, order in 1.0f64..3.0
        ) {
            let moved: Vec<f64> = v.iter().cycle().take(times * v.len()).map(|x| x + by).collect();
            prop_assert!((wasserstein(&v, &moved, order).unwrap() - by.abs()).abs() < 1e-9);
        }
    }
}
