//! Fréchet distance between two sets of features, seen as Gaussians.

use faer::{Mat, Side};

use crate::error::{EvalError, Result, at_least};
use crate::numeric::dense::{covariance, mean};
use crate::samples::{Features, same_width};

/// The ridge of the recipes' [`crate::image_quality`], for pixels in `[0, 1]`; the usual ridge of a Fréchet distance is 0.
pub const RIDGE: f64 = 1e-6;

/// |m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), covariances with `n - 1`, the root by eigenvalues clipped at 0
/// (Dowson and Landau 1982; on Inception features: Heusel et al. 2017, "FID").
///
/// `ridge` is added to the diagonal of both covariances, in squared units of the features: 0 gives the figures of
/// pytorch-fid and torchmetrics; where it is not small against the features' variances it makes the distance too small.
///
/// In squared units of the features; 0 for equal moments, and never below: rounding is cut off there. The value depends on the features and, for few samples,
/// on `n` (finite sets are biased upwards by about `d / n`): compare only equal features and equal counts, and
/// beside [`crate::image_quality`], since a Gaussian with the data's moments scores well and looks like nothing.
///
/// Errs if the widths differ or a set has fewer than two rows.
pub fn frechet(a: &Features, b: &Features, ridge: f64) -> Result<f64> {
    same_width(a, b)?;
    if !(ridge >= 0.0 && ridge.is_finite()) {
        return Err(EvalError::Setting {
            what: "ridge of the Fréchet distance",
            found: ridge,
            wanted: "at least 0",
        });
    }
    at_least("rows of the first features", a.n(), 2)?;
    at_least("rows of the second features", b.n(), 2)?;
    let (ma, mb) = (mean(a), mean(b));
    let (ca, cb) = (ridged(covariance(a, &ma), ridge), ridged(covariance(b, &mb), ridge));
    let apart: f64 = ma.iter().zip(&mb).map(|(p, q)| (p - q) * (p - q)).sum();
    let root = square_root(&ca)?;
    let inner = &root * &cb * &root;
    let cross: f64 = inner
        .self_adjoint_eigenvalues(Side::Lower)
        .map_err(|_| EvalError::Eigen { what: "frechet", width: a.d() })?
        .iter()
        .map(|w| w.max(0.0).sqrt())
        .sum();
    Ok((apart + trace(&ca) + trace(&cb) - 2.0 * cross).max(0.0))
}

fn ridged(mut c: Mat<f64>, ridge: f64) -> Mat<f64> {
    for i in 0..c.nrows() {
        c[(i, i)] += ridge;
    }
    c
}

fn trace(c: &Mat<f64>) -> f64 {
    (0..c.nrows()).map(|i| c[(i, i)]).sum()
}

/// V diag(w^1/2) V' of a symmetric matrix, its negative eigenvalues (rounding) taken as 0.
fn square_root(c: &Mat<f64>) -> Result<Mat<f64>> {
    let e = c
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| EvalError::Eigen { what: "frechet", width: c.nrows() })?;
    let (w, v) = (e.S().column_vector(), e.U());
    let scaled = Mat::from_fn(c.nrows(), c.nrows(), |i, j| v[(i, j)] * w[j].max(0.0).sqrt());
    Ok(&scaled * v.transpose())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testing::goldens::{assert_close, clouds, uniforms};

    fn table(seed: u64, n: usize, d: usize) -> Features {
        Features::new(uniforms(seed, n * d).iter().map(|&v| f64::from(v)).collect(), n, d).unwrap()
    }

    #[test]
    fn agrees_with_numpy_also_on_fewer_rows_than_columns() {
        // python tests/goldens.py frechet
        assert_close(frechet(&table(1, 60, 5), &table(2, 40, 5), RIDGE).unwrap(), GOLD[0], 1e-10);
        // Roots of eigenvalues near the squared ridge, 1e-12, lose half the digits.
        assert_close(frechet(&table(3, 10, 16), &table(4, 12, 16), RIDGE).unwrap(), GOLD[1], 1e-8);
    }
    const GOLD: [f64; 2] = [0.041487561919506755, 1.0909212564301332];

    #[test]
    fn without_a_ridge_it_is_pytorch_fids_at_any_scale() {
        // python scripts/make-eval-goldens.py frechet
        let (a, b) = clouds();
        let small =
            |f: &Features| Features::new(f.data().iter().map(|v| 1e-4 * v).collect(), f.n(), f.d()).unwrap();
        let gold = 5.079116556398259;
        assert_close(frechet(&a, &b, 0.0).unwrap(), gold, 1e-11);
        assert!((frechet(&small(&a), &small(&b), 0.0).unwrap() / (1e-8 * gold) - 1.0).abs() < 1e-10);
        assert!(
            frechet(&small(&a), &small(&b), RIDGE).unwrap() < 0.95e-8 * gold,
            "a ridge of 1e-6 does not forgive"
        );
        assert_eq!(frechet(&a, &a, 0.0).unwrap().max(1e-12), 1e-12, "rounding is not printed as a distance");
        assert!(frechet(&a, &b, -1.0).is_err());
    }

    #[test]
    fn one_dimension_has_a_closed_form() {
        let a = Features::new(vec![0.0, 2.0], 2, 1).unwrap();
        let b = Features::new(vec![5.0, 5.0, 11.0], 3, 1).unwrap();
        let (sa, sb) = ((2.0 + RIDGE).sqrt(), (12.0 + RIDGE).sqrt());
        assert_close(frechet(&a, &b, RIDGE).unwrap(), 36.0 + (sa - sb) * (sa - sb), 1e-12);
    }

    #[test]
    fn widths_and_counts_are_checked() {
        assert!(frechet(&table(1, 4, 3), &table(1, 4, 2), RIDGE).is_err());
        assert!(frechet(&table(1, 1, 3), &table(1, 4, 3), RIDGE).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(
            std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(16)
        ))]
        #[test]
        fn is_symmetric_and_zero_on_itself(s in 0u64..1000, t in 1000u64..2000, d in 1usize..6) {
            let (a, b) = (table(s * 1000, 12, d), table(t * 1000, 9, d));
            let (ab, ba) = (frechet(&a, &b, 0.0).unwrap(), frechet(&b, &a, 0.0).unwrap());
            prop_assert!(ab >= 0.0 && (ab - ba).abs() < 1e-9 * (1.0 + ab));
            prop_assert!(frechet(&a, &a, 0.0).unwrap() < 1e-9);
        }

        #[test]
        fn a_shift_adds_its_squared_length(s in 0u64..1000, by in -3.0f64..3.0) {
            let a = table(s * 1000, 10, 3);
            let b = Features::new(a.data().iter().map(|v| v + by).collect(), 10, 3).unwrap();
            prop_assert!((frechet(&a, &b, 0.0).unwrap() - 3.0 * by * by).abs() < 1e-9);
        }
    }
}
