//! Small dense matrices in f64, row by row: Cholesky factor and inverse.

/// The lower triangle `L` with `L Lᵀ = a`, or the row at which `a` `(n, n)` is not positive definite.
pub(crate) fn cholesky(a: &[f64], n: usize) -> Result<Vec<f64>, usize> {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let rest = a[i * n + j] - dot;
            if i == j {
                if !(rest > 0.0 && rest.is_finite()) {
                    return Err(i);
                }
                l[i * n + i] = rest.sqrt();
            } else {
                l[i * n + j] = rest / l[j * n + j];
            }
        }
    }
    Ok(l)
}

/// The inverse of `a` `(n, n)` and `log |det a|` (Gauss–Jordan, partial pivoting); `None` if singular.
pub(crate) fn inverse(a: &[f64], n: usize) -> Option<(Vec<f64>, f64)> {
    let mut a = a.to_vec();
    let mut inv = identity(n);
    let mut log_det = 0.0;
    for c in 0..n {
        let pivot = (c..n).max_by(|&i, &j| a[i * n + c].abs().total_cmp(&a[j * n + c].abs()))?;
        let p = a[pivot * n + c];
        if p == 0.0 || !p.is_finite() {
            return None;
        }
        log_det += p.abs().ln();
        for k in 0..n {
            a.swap(c * n + k, pivot * n + k);
            inv.swap(c * n + k, pivot * n + k);
        }
        for k in 0..n {
            a[c * n + k] /= p;
            inv[c * n + k] /= p;
        }
        for i in (0..n).filter(|&i| i != c) {
            let factor = a[i * n + c];
            if factor != 0.0 {
                for k in 0..n {
                    a[i * n + k] -= factor * a[c * n + k];
                    inv[i * n + k] -= factor * inv[c * n + k];
                }
            }
        }
    }
    Some((inv, log_det))
}

pub(crate) fn transpose(a: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|i| a[i % n * n + i / n]).collect()
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
        (0..n * n).map(|i| (0..n).map(|k| a[i / n * n + k] * b[k * n + i % n]).sum()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ebm_testkit::cases(64)))]

        #[test]
        fn factor_and_inverse_multiply_back(entries in proptest::collection::vec(-1.0..1.0f64, 16)) {
            let n = 4;
            let mut a = product(&entries, &transpose(&entries, n), n);
            (0..n).for_each(|i| a[i * n + i] += 0.5);
            let l = cholesky(&a, n).unwrap();
            let (inv, log_det) = inverse(&a, n).unwrap();
            let back = product(&l, &transpose(&l, n), n);
            let one = product(&a, &inv, n);
            // Eigenvalues lie in 0.5..17, so rounding grows by less than 100.
            prop_assert!(back.iter().zip(&a).all(|(x, y)| (x - y).abs() < 1e-13));
            prop_assert!(one.iter().zip(identity(n)).all(|(x, y)| (x - y).abs() < 1e-12));
            let by_factor: f64 = (0..n).map(|i| 2.0 * l[i * n + i].ln()).sum();
            prop_assert!((log_det - by_factor).abs() < 1e-12);
        }
    }

    #[test]
    fn bad_matrices_are_found() {
        assert_eq!(cholesky(&[1.0, 2.0, 2.0, 1.0], 2), Err(1));
        assert!(inverse(&[1.0, 2.0, 2.0, 4.0], 2).is_none());
        // A zero on the diagonal needs the pivoting.
        assert_eq!(inverse(&[0.0, 2.0, 1.0, 0.0], 2).unwrap().0, [0.0, 1.0, 0.5, 0.0]);
    }
}
