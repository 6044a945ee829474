//! `gaussian`: a normal density with any mean and covariance.

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    BuildCx, Diff, EnergyConfig, EnergyFn, Error, Forward, Result, Role, RowSlopes, Settings, View, plugin,
};

use crate::closed::numbers;
use crate::quadratic::{Axes, Quadratic, WIDEST};
use crate::{Closed, Drawer, KnownDensity, dense};

/// `E(x) = ½ (x − μ)ᵀ Σ⁻¹ (x − μ)` on the flattened sample of `D` values; `E = −log p − ½ log |2πΣ|`.
///
/// The spread is one of `sd`, `variances`, `covariance`, `precision`; without any, `sd = 1`.
/// Parameters are `mean` `(D,)` and `inverse_sd` `(D,)` or, for full matrices, `whitening` `(D, D)`,
/// whose product with its transpose on the left is the precision.
#[derive(Clone, Debug, Settings)]
pub struct Gaussian {
    /// Mean of each coordinate, or one number for all; zero if absent.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of every coordinate; 1 if no spread is given.
    #[setting(above = 0.0)]
    pub sd: Option<f64>,
    /// Variance of each coordinate.
    #[setting(above = 0.0)]
    pub variances: Option<Vec<f64>>,
    /// Covariance matrix, row by row.
    pub covariance: Option<Vec<f64>>,
    /// Inverse of the covariance matrix, row by row.
    pub precision: Option<Vec<f64>>,
    /// Whether mean and spread receive gradients.
    #[setting(default = false)]
    pub trainable: bool,
}

#[plugin(
    "gaussian",
    summary = "a normal density with any mean and covariance",
    source = "textbook",
    example = "mean = [1.0, -1.0]\ncovariance = [1.0, 0.6, 0.6, 2.0]"
)]
impl EnergyConfig for Gaussian {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let d = cx.sample_len();
        let role = if self.trainable { Role::Trainable } else { Role::Buffer };
        let mean = match self.mean.as_deref() {
            None => vec![0.0; d],
            Some(&[one]) => vec![one; d],
            Some(many) => sized(cx, "mean", many, d)?.to_vec(),
        };
        let spread = match (self.sd, &self.variances, &self.covariance, &self.precision) {
            (sd, None, None, None) => Spread::Axes(vec![1.0 / sd.unwrap_or(1.0); d]),
            (None, Some(v), None, None) => {
                let v = sized(cx, "variances", v, d)?;
                Spread::Axes(v.iter().map(|v| 1.0 / v.sqrt()).collect())
            }
            (None, None, Some(c), None) => {
                let l = factor(cx, "covariance", c, d)?;
                let singular = || cx.refuse("covariance", "cannot be inverted");
                Spread::Full(dense::inverse(&l, d).ok_or_else(singular)?.0)
            }
            (None, None, None, Some(p)) => Spread::Full(dense::transpose(&factor(cx, "precision", p, d)?, d)),
            _ => {
                let message = "has several of `sd`, `variances`, `covariance`, `precision`; give at most one";
                return Err(cx.refuse("", message));
            }
        };
        normal(cx, mean, spread, role, "gaussian")
    }
}

/// How `x − μ` becomes standard normal.
pub(crate) enum Spread {
    /// Times this, by coordinate.
    Axes(Vec<f64>),
    /// Times this matrix `(D, D)` from the left.
    Full(Vec<f64>),
}

/// The normal energy with this mean and spread.
pub(crate) fn normal(
    cx: &mut BuildCx,
    mean: Vec<f64>,
    spread: Spread,
    role: Role,
    term: &str,
) -> Result<Arc<dyn EnergyFn>> {
    let d = mean.len();
    cx.value("mean", &Tensor::from_vec(mean, d, &Device::Cpu)?, role)?;
    match spread {
        Spread::Axes(a) => cx.value("inverse_sd", &Tensor::from_vec(a, d, &Device::Cpu)?, role)?,
        Spread::Full(a) => cx.value("whitening", &Tensor::from_vec(a, (d, d), &Device::Cpu)?, role)?,
    }
    Closed::build(cx, Normal, term)
}

fn sized<'a>(cx: &BuildCx, name: &str, list: &'a [f64], want: usize) -> Result<&'a [f64]> {
    if list.len() == want {
        return Ok(list);
    }
    Err(cx.refuse(
        name,
        format!("has {} numbers, must have {want} for samples of {} values", list.len(), cx.sample_len()),
    ))
}

/// The Cholesky factor of a symmetric positive definite matrix among the settings.
fn factor(cx: &BuildCx, name: &str, matrix: &[f64], d: usize) -> Result<Vec<f64>> {
    sized(cx, name, matrix, d * d)?;
    for i in 0..d {
        for j in 0..i {
            let (a, b) = (matrix[i * d + j], matrix[j * d + i]);
            if a != b {
                return Err(cx.refuse(
                    name,
                    format!("is not symmetric: {a} in row {i}, column {j}, but {b} across (counted from 0)"),
                ));
            }
        }
    }
    dense::cholesky(matrix, d)
        .map_err(|row| cx.refuse(name, format!("is not positive definite (found at row {row})")))
}

/// Norm of a whitening matrix times that of its inverse up to which single precision is enough for its square.
const ROUND: f64 = 1e4;

struct Normal;

impl Forward for Normal {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let y = x.flatten()?.shift(&p.get("mean")?.neg()?)?;
        let z = if p.has("whitening") {
            y.linear_layer(p.get("whitening")?, None)?
        } else {
            y.times(p.get("inverse_sd")?)?
        };
        z.square()?.sum_last()?.scale(0.5)
    }

    fn python(&self) -> Option<String> {
        let whole = "y = x.flatten(1) - self.mean\n\
                     z = F.linear(y, self.whitening) if hasattr(self, \"whitening\") else y * self.inverse_sd\n\
                     return 0.5 * z.square().sum(1)";
        Some(whole.into())
    }
}

impl Normal {
    /// The inverse of the whitening matrix, `(D, D)` or its diagonal, and log |det whitening|.
    fn colouring(&self, p: &View) -> Result<(Vec<f64>, f64)> {
        let singular =
            || Error::numeric("whitening of the gaussian", 0, "is singular; its density is improper");
        if p.has("whitening") {
            let a = numbers(p, "whitening")?;
            let d = p.get("mean")?.elem_count();
            dense::inverse(&a, d).ok_or_else(singular)
        } else {
            let a = numbers(p, "inverse_sd")?;
            if a.iter().any(|v| *v == 0.0 || !v.is_finite()) {
                return Err(singular());
            }
            Ok((a.iter().map(|v| 1.0 / v).collect(), a.iter().map(|v| v.abs().ln()).sum()))
        }
    }
}

impl KnownDensity for Normal {
    fn log_z(&self, p: &View) -> Result<f64> {
        let d = p.get("mean")?.elem_count() as f64;
        Ok(0.5 * d * TAU.ln() - self.colouring(p)?.1)
    }

    fn drawer(&self, p: &View) -> Result<Drawer<'_>> {
        let (mean, (c, _)) = (numbers(p, "mean")?, self.colouring(p)?);
        let full = p.has("whitening");
        Ok(Box::new(move |s, out| {
            let z: Vec<f64> = out.iter().map(|_| s.normal()).collect();
            for (i, o) in out.iter_mut().enumerate() {
                let row = |d: usize| c[i * d..(i + 1) * d].iter().zip(&z).map(|(c, z)| c * z).sum::<f64>();
                *o = mean[i] + if full { row(z.len()) } else { c[i] * z[i] };
            }
        }))
    }

    fn mean(&self, p: &View) -> Option<Vec<f64>> {
        numbers(p, "mean").ok()
    }

    fn prepared(&self, p: &View, dtype: DType) -> Result<Option<Arc<dyn RowSlopes + Send>>> {
        let mean = numbers(p, "mean")?;
        if !p.has("whitening") {
            let precision = numbers(p, "inverse_sd")?.into_iter().map(|a| a * a).collect();
            return Ok(Some(Arc::new(Axes { mean, precision })));
        }
        if mean.len() > WIDEST {
            return Ok(None);
        }
        let a = numbers(p, "whitening")?;
        let norm = |a: &[f64]| a.iter().map(|v| v * v).sum::<f64>().sqrt();
        // What a product with the precision matrix loses of small energies goes with its condition, at most the square of this.
        let round = dense::inverse(&a, mean.len()).is_some_and(|(c, _)| norm(&a) * norm(&c) < ROUND);
        Ok(Some(match dtype {
            DType::F32 if round => Arc::new(Quadratic::<f32>::whitened_by(&a, mean)),
            _ => Arc::new(Quadratic::<f64>::whitened_by(&a, mean)),
        }))
    }

    fn batch(&self, p: &View, x: &Tensor) -> Result<Option<(Tensor, Tensor)>> {
        let y = x.broadcast_sub(p.get("mean")?)?;
        let (z, grad) = if p.has("whitening") {
            let a = p.get("whitening")?;
            let z = y.matmul(&a.t()?)?;
            let grad = z.matmul(a)?;
            (z, grad)
        } else {
            let a = p.get("inverse_sd")?;
            let z = y.broadcast_mul(a)?;
            let grad = z.broadcast_mul(a)?;
            (z, grad)
        };
        Ok(Some((z.sqr()?.sum(1)?.affine(0.5, 0.0)?, grad)))
    }

    fn variance(&self, p: &View) -> Option<Vec<f64>> {
        let c = self.colouring(p).ok()?.0;
        let width = if p.has("whitening") { p.get("mean").ok()?.elem_count().max(1) } else { 1 };
        Some(c.chunks(width).map(|row| row.iter().map(|v| v * v).sum()).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::check_tests::{build, log_density};

    #[test]
    fn covariance_and_precision_say_the_same() {
        let covariance = Gaussian { covariance: Some(vec![1.0, 0.6, 0.6, 2.0]), ..Gaussian::default() };
        let det = 2.0 - 0.36;
        let p = [2.0 / det, -0.6 / det, -0.6 / det, 1.0 / det];
        let precision = Gaussian { precision: Some(p.to_vec()), ..Gaussian::default() };
        // By hand at (1, 1): ½ Σ Σ p_ij = ½ (3 − 1.2)/det.
        let want = -0.5 * 1.8 / det - TAU.ln() - 0.5 * f64::ln(det);
        for g in [covariance, precision] {
            let e = build(&g, &[2]);
            // Rounding of a dozen operations on numbers near 1.
            assert!((log_density(&e, &[1.0, 1.0]) - want).abs() < 1e-14);
            let v = e.density().unwrap().variance().unwrap();
            assert!((v[0] - 1.0).abs() < 1e-14 && (v[1] - 2.0).abs() < 1e-14, "{v:?}");
        }
    }

    #[test]
    fn answers_follow_trained_parameters() {
        let e = build(&Gaussian { trainable: true, ..Gaussian::default() }, &[1]);
        // A negative inverse deviation, where training may wander, is the same density.
        e.params().set("inverse_sd", &Tensor::new(&[-0.5f64], &Device::Cpu).unwrap()).unwrap();
        e.params().set("mean", &Tensor::new(&[3.0f64], &Device::Cpu).unwrap()).unwrap();
        let d = e.density().unwrap();
        assert_eq!((d.mean(), d.variance()), (Some(vec![3.0]), Some(vec![4.0])));
        assert!((log_density(&e, &[3.0]) + 0.5 * (TAU * 4.0).ln()).abs() < 1e-15);
    }

    #[test]
    fn an_improper_density_is_an_error() {
        let e = build(&Gaussian { trainable: true, ..Gaussian::default() }, &[1]);
        e.params().set("inverse_sd", &Tensor::new(&[0f64], &Device::Cpu).unwrap()).unwrap();
        let d = e.density().unwrap();
        assert!(d.draw(&ebm_core::Chains::range(0, 1), ebm_core::Key::root(0)).is_err());
        assert!(d.variance().is_none());
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let text = |g: Gaussian| crate::check_tests::refusal(&g, &[2]);
        let g = Gaussian::default;
        assert!(text(Gaussian { sd: Some(0.0), ..g() }).contains("energy.sd: is 0"));
        assert!(text(Gaussian { mean: Some(vec![1.0; 3]), ..g() }).contains("mean: has 3 numbers"));
        assert!(text(Gaussian { variances: Some(vec![1.0, -1.0]), ..g() }).contains("variances"));
        let odd = vec![1.0, 0.5, 0.4, 1.0];
        assert!(text(Gaussian { covariance: Some(odd), ..g() }).contains("not symmetric"));
        let indefinite = vec![1.0, 2.0, 2.0, 1.0];
        assert!(text(Gaussian { precision: Some(indefinite), ..g() }).contains("not positive definite"));
        let both = Gaussian { sd: Some(1.0), variances: Some(vec![1.0; 2]), ..g() };
        assert!(text(both).contains("at most one"));
    }
}
