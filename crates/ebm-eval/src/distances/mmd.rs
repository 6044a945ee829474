//! Maximum mean discrepancy with a Gaussian kernel.

use crate::distances::two_sample::{Estimate, mmd_estimate};
use crate::error::{EvalError, Result, at_least};
use crate::numeric::dense::for_squares;
use crate::samples::{Features, same_width};

/// Unbiased MMD² with the kernel exp(-|x - y|² / (2 h²)) (Gretton et al. 2012, lemma 6), the value of [`mmd2_estimate`].
pub fn mmd2(a: &Features, b: &Features, bandwidth: f64) -> Result<f64> {
    Ok(mmd2_estimate(a, b, bandwidth)?.value)
}

/// Unbiased MMD² with the kernel exp(-|x - y|² / (2 h²)), with its standard error by the jackknife (up to √2 too large for
/// equal distributions, NaN for two rows); near 0, often slightly negative, for two sets from one distribution.
/// `O((n + m)² d)`.
///
/// The median distance as `bandwidth` sees the coarse shape; a fraction of it sees blur and missing modes. Errs if
/// the widths differ, a set has fewer than two rows, or the bandwidth is not positive.
pub fn mmd2_estimate(a: &Features, b: &Features, bandwidth: f64) -> Result<Estimate> {
    same_width(a, b)?;
    at_least("rows of the first features", a.n(), 2)?;
    at_least("rows of the second features", b.n(), 2)?;
    if !(bandwidth > 0.0 && bandwidth.is_finite()) {
        let wanted = "a positive number; the median distance of identical points is 0";
        return Err(EvalError::Setting { what: "bandwidth of the MMD", found: bandwidth, wanted });
    }
    let scale = -0.5 / (bandwidth * bandwidth);
    Ok(mmd_estimate(a, b, |a, b, visit| {
        let mut row = vec![0.0; b.n()];
        for_squares(a, b, |i, squares| {
            row.iter_mut().zip(squares).for_each(|(r, s)| *r = (scale * s).exp());
            visit(i, &row);
        });
    }))
}

/// Median Euclidean distance over all pairs of rows: the usual bandwidth. Errs with fewer than two rows.
pub fn median_distance(a: &Features) -> Result<f64> {
    at_least("rows of the features", a.n(), 2)?;
    let mut squares = Vec::with_capacity(a.n() * (a.n() - 1) / 2);
    for_squares(a, a, |i, row| squares.extend_from_slice(&row[..i]));
    let middle = squares.len() / 2;
    let (below, &mut high, _) = squares.select_nth_unstable_by(middle, f64::total_cmp);
    let low = below.iter().copied().fold(0.0, f64::max);
    let odd = (a.n() * (a.n() - 1) / 2) % 2 == 1;
    Ok(if odd { high.sqrt() } else { 0.5 * (low.sqrt() + high.sqrt()) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testing::goldens::{assert_close, uniforms};

    fn table(seed: u64, n: usize, d: usize) -> Features {
        Features::new(uniforms(seed, n * d).iter().map(|&v| f64::from(v)).collect(), n, d).unwrap()
    }

    #[test]
    fn agrees_with_numpy() {
        // python tests/goldens.py mmd
        let (a, b) = (table(1, 150, 2), table(2, 60, 2));
        assert_close(median_distance(&a).unwrap(), GOLD[0], 1e-12);
        assert_close(median_distance(&b).unwrap(), GOLD[1], 1e-12);
        assert_close(mmd2(&a, &b, GOLD[0]).unwrap(), GOLD[2], 1e-12);
        assert_close(mmd2(&a, &b, 0.25).unwrap(), GOLD[3], 1e-12);
    }
    const GOLD: [f64; 4] =
        [0.47798164356760936, 0.5740398058221912, 0.0016547406683524724, 0.006132990871326349];

    #[test]
    fn two_points_against_two_can_be_done_by_hand() {
        let a = Features::new(vec![0.0, 1.0], 2, 1).unwrap();
        let b = Features::new(vec![0.0, 2.0], 2, 1).unwrap();
        let k = |d: f64| (-d * d / 2.0).exp();
        let wanted = k(1.0) + k(2.0) - (k(0.0) + k(2.0) + k(1.0) + k(1.0)) / 2.0;
        assert_close(mmd2(&a, &b, 1.0).unwrap(), wanted, 1e-15);
        let three = Features::new(vec![0.0, 1.0, 5.0], 3, 1).unwrap();
        assert_eq!(median_distance(&three).unwrap(), 4.0);
    }

    #[test]
    fn settings_are_checked() {
        let a = table(1, 3, 2);
        assert!(mmd2(&a, &a, 0.0).is_err() && mmd2(&a, &a, f64::NAN).is_err());
        assert!(mmd2(&a, &table(1, 1, 2), 1.0).is_err());
        assert!(median_distance(&table(1, 1, 2)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(
            std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
        ))]
        #[test]
        fn is_symmetric_and_far_sets_reach_the_sum_of_kernels(s in 0u64..500, n in 2usize..12, m in 2usize..12) {
            let (a, b) = (table(2 * s, n, 3), table(2 * s + 1, m, 3));
            prop_assert!((mmd2(&a, &b, 0.7).unwrap() - mmd2(&b, &a, 0.7).unwrap()).abs() < 1e-13);
            let far = Features::new(b.data().iter().map(|v| v + 1e3).collect(), m, 3).unwrap();
            // The cross term vanishes, the shift of 1e3 costs 1e6 eps in the squares.
            // Sets far from each other have the sum of their mean kernels.
            let within = |f: &Features| {
                let mut sum = 0.0;
                for_squares(f, f, |i, row| sum += row[..i].iter().map(|s| (-0.5 * s).exp()).sum::<f64>());
                2.0 * sum / (f.n() * (f.n() - 1)) as f64
            };
            let wanted = within(&a) + within(&b);
            prop_assert!((mmd2(&a, &far, 1.0).unwrap() - wanted).abs() < 1e-8);
        }
    }
}
