//! Logistic regression by Newton's method, small and exact: no step size, no seed.

use crate::error::{EvalError, Result, all_finite, at_least, same};
use crate::samples::Features;

/// A fitted logistic regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// Weights, one a feature.
    pub weights: Vec<f64>,
    /// The constant, which is not penalised.
    pub bias: f64,
}

/// Newton steps at most; with a penalty some ten suffice.
const STEPS: usize = 100;

impl Logistic {
    /// Minimises Σ log(1 + exp(−y z)) + penalty |w|²/2, z = w·x + b and y = ±1 (scikit-learn's objective with
    /// `C = 1/penalty`), by Newton's method with halved steps: the objective is convex, so this is its one minimum.
    ///
    /// # Errors
    /// If the counts differ, one of the classes is empty, or the penalty is not positive.
    pub fn fit(x: &Features, positive: &[bool], penalty: f64) -> Result<Self> {
        same("labels", positive.len(), x.n(), "the rows")?;
        let hits = positive.iter().filter(|p| **p).count();
        at_least("rows of a class", hits.min(x.n() - hits), 1)?;
        if !(penalty > 0.0 && penalty.is_finite()) {
            let wanted = "a positive number";
            return Err(EvalError::Setting {
                what: "penalty of the logistic regression",
                found: penalty,
                wanted,
            });
        }
        let mut at = vec![0.0; x.d() + 1];
        let mut value = objective(x, positive, penalty, &at);
        for _ in 0..STEPS {
            let step = newton_step(x, positive, penalty, &at);
            all_finite("step of the logistic regression", &step)?;
            let mut length = 1.0;
            let mut gain = 0.0;
            // On a convex objective some half of the step descends, up to rounding at the minimum.
            for _ in 0..40 {
                let next: Vec<f64> = at.iter().zip(&step).map(|(a, s)| a - length * s).collect();
                let found = objective(x, positive, penalty, &next);
                if found < value {
                    gain = value - found;
                    (at, value) = (next, found);
                    break;
                }
                length *= 0.5;
            }
            if gain <= 1e-14 * value.abs().max(1.0) {
                break;
            }
        }
        let bias = at.pop().unwrap_or(0.0);
        Ok(Self { weights: at, bias })
    }

    /// log p/(1 − p) of the positive class at one row.
    pub fn logit(&self, row: &[f64]) -> f64 {
        self.bias + row.iter().zip(&self.weights).map(|(x, w)| x * w).sum::<f64>()
    }
}

/// w·x + b with the bias last.
fn logit(row: &[f64], at: &[f64]) -> f64 {
    row.iter().zip(at).map(|(x, w)| x * w).sum::<f64>() + at[row.len()]
}

fn objective(x: &Features, positive: &[bool], penalty: f64, at: &[f64]) -> f64 {
    let loss = |i: usize| {
        let z = logit(x.row(i), at);
        let z = if positive[i] { -z } else { z };
        z.max(0.0) + (-z.abs()).exp().ln_1p()
    };
    let weights: f64 = at[..x.d()].iter().map(|w| w * w).sum();
    (0..x.n()).map(loss).sum::<f64>() + 0.5 * penalty * weights
}

/// Inverse Hessian times gradient.
fn newton_step(x: &Features, positive: &[bool], penalty: f64, at: &[f64]) -> Vec<f64> {
    let d = x.d();
    let (mut hessian, mut gradient) = (vec![0.0; (d + 1) * (d + 1)], vec![0.0; d + 1]);
    let mut row = vec![1.0; d + 1];
    for (i, positive) in positive.iter().enumerate() {
        row[..d].copy_from_slice(x.row(i));
        let p = 1.0 / (1.0 + (-logit(x.row(i), at)).exp());
        let (error, curvature) = (p - f64::from(u8::from(*positive)), p * (1.0 - p));
        for (j, v) in row.iter().enumerate() {
            gradient[j] += error * v;
            for (k, u) in row[..=j].iter().enumerate() {
                hessian[j * (d + 1) + k] += curvature * v * u;
            }
        }
    }
    for j in 0..d {
        gradient[j] += penalty * at[j];
        hessian[j * (d + 1) + j] += penalty;
    }
    // Where all probabilities are 0 or 1 the constant has no curvature left.
    hessian[d * (d + 1) + d] += 1e-12;
    solve(hessian, gradient)
}

/// Solves A x = b by Cholesky's decomposition; A is positive definite, given by its lower triangle row by row.
fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - dot;
            a[i * n + j] = if i == j { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / a[j * n + j] };
        }
    }
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| a[i * n + k] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| a[k * n + i] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i * n + i];
    }
    b
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, normals, uniforms};

    #[test]
    fn agrees_with_scikit_learn() {
        // python scripts/make-eval-goldens.py logistic
        let x = Features::new(normals(62, 120), 40, 3).unwrap();
        let noise = uniforms(63, 40);
        let labels: Vec<bool> =
            (0..40).map(|i| x.row(i)[0] - 0.5 * x.row(i)[2] + f64::from(noise[i]) > 0.5).collect();
        let fitted = Logistic::fit(&x, &labels, 0.5).unwrap();
        let found = [fitted.weights.as_slice(), &[fitted.bias]].concat();
        // Both stop at the minimum, scikit-learn at a gradient of 1e-10.
        found.iter().zip(GOLD).for_each(|(f, w)| assert_close(*f, w, 1e-7));
    }
    const GOLD: [f64; 4] = [2.6202661519554344, -0.3525297602419577, -1.4673957135174234, 0.4543197018425884];

    #[test]
    fn separable_sets_have_a_finite_fit_that_separates_them() {
        let x = Features::new((0..20).map(f64::from).collect(), 20, 1).unwrap();
        let labels: Vec<bool> = (0..20).map(|i| i >= 12).collect();
        for penalty in [1e-6, 1.0] {
            let f = Logistic::fit(&x, &labels, penalty).unwrap();
            assert!((0..20).all(|i| (f.logit(x.row(i)) > 0.0) == labels[i]), "{f:?}");
        }
        assert!(Logistic::fit(&x, &[true; 20], 1.0).is_err() && Logistic::fit(&x, &labels, -1.0).is_err());
        assert!(Logistic::fit(&x, &labels[1..], 1.0).is_err());
    }
}
