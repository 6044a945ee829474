//! The normal density with the mean and the covariance of some samples.

use ebm_core::candle::{Device, Tensor};
use ebm_core::host;
use ebm_core::{Batch, Chains, Density, Error, Key, Result, row_sum};

/// Most values of a sample: the covariance has their square.
const MOST: usize = 4096;
/// Share of the mean variance that is added to each: values that never move keep a density.
const RIDGE: f64 = 1e-6;

/// N(m, C) with m and C of samples `(N, ...)`; C has a millionth of its mean variance added to its diagonal.
#[derive(Clone, Debug)]
pub struct Moments {
    shape: Vec<usize>,
    /// `(1, d)`.
    mean: Tensor,
    /// Lᵀ and L⁻ᵀ, where C = L Lᵀ.
    factor: Tensor,
    inverse: Tensor,
    /// ½ log det C + ½ d log 2π.
    log_norm: f64,
}

impl Moments {
    /// The moments of `samples` `(N, ...)`, in their number type.
    ///
    /// # Errors
    /// If there are fewer than two, they are wider than 4,096 values, do not vary or are not finite.
    pub fn of(samples: &Tensor) -> Result<Self> {
        let (shape, (n, d)) = (samples.dims()[1..].to_vec(), samples.flatten_from(1)?.dims2()?);
        let wrong = |what: String| {
            Err(Error::config("noise", format!("{what}; give a density of your own as `noise`")))
        };
        if n < 2 {
            return wrong(format!("{n} samples have no covariance"));
        }
        if d > MOST {
            return wrong(format!("samples of {d} values are too wide for a covariance, at most {MOST}"));
        }
        let x = host::wide(&samples.flatten_from(1)?)?;
        let mean = x.mean_keepdim(0)?;
        let off = x.broadcast_sub(&mean)?;
        let covariance = off.t()?.matmul(&off)?.affine(1.0 / (n - 1) as f64, 0.0)?.to_vec2::<f64>()?;
        let ridge = RIDGE * (0..d).map(|i| covariance[i][i]).sum::<f64>() / d.max(1) as f64;
        if !(ridge > 0.0 && ridge.is_finite()) {
            return wrong("the samples do not vary, or are not finite".into());
        }
        let Some(l) = cholesky(covariance, ridge) else {
            return wrong("the covariance of the samples has no root".into());
        };
        let inverse = inverse(&l);
        let like = |rows: Vec<f64>| -> Result<Tensor> {
            let t = Tensor::from_vec(rows, (d, d), &Device::Cpu)?.t()?.contiguous()?;
            Ok(t.to_dtype(samples.dtype())?.to_device(samples.device())?)
        };
        let log_det: f64 = (0..d).map(|i| l[i * d + i].ln()).sum();
        Ok(Moments {
            shape,
            mean: mean.to_dtype(samples.dtype())?.to_device(samples.device())?,
            factor: like(l)?,
            inverse: like(inverse)?,
            log_norm: log_det + 0.5 * d as f64 * std::f64::consts::TAU.ln(),
        })
    }
}

impl Density for Moments {
    fn log_density(&self, at: &Batch) -> Result<Tensor> {
        let z = at.x.flatten_from(1)?.broadcast_sub(&self.mean)?.matmul(&self.inverse)?;
        Ok(row_sum(&z.sqr()?)?.affine(-0.5, -self.log_norm)?)
    }

    fn draw(&self, chains: &Chains, key: Key) -> Result<Tensor> {
        let d = self.mean.dims()[1];
        let n = key.normal(chains, &[d], self.mean.dtype(), self.mean.device())?;
        let x = n.matmul(&self.factor)?.broadcast_add(&self.mean)?;
        Ok(x.reshape([&[chains.len()], self.shape.as_slice()].concat())?)
    }
}

/// Row-major L with C + ridge = L Lᵀ; `None` where that is not positive.
fn cholesky(c: Vec<Vec<f64>>, ridge: f64) -> Option<Vec<f64>> {
    let d = c.len();
    let mut l = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..=i {
            let done: f64 = (0..j).map(|k| l[i * d + k] * l[j * d + k]).sum();
            let left = c[i][j] - done;
            l[i * d + j] = match i == j {
                true => Some((left + ridge).sqrt()).filter(|root| *root > 0.0)?,
                false => left / l[j * d + j],
            };
        }
    }
    Some(l)
}

/// L⁻¹ of a lower triangular L, row-major.
fn inverse(l: &[f64]) -> Vec<f64> {
    let d = (l.len() as f64).sqrt() as usize;
    let mut out = vec![0.0; d * d];
    for i in 0..d {
        out[i * d + i] = 1.0 / l[i * d + i];
        for j in 0..i {
            let done: f64 = (j..i).map(|k| l[i * d + k] * out[k * d + j]).sum();
            out[i * d + j] = -done / l[i * d + i];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ebm_core::candle::DType;

    #[test]
    fn density_and_draws_are_those_of_the_normal_law() {
        // Exact moments: mean (1, 2), covariance diag(2/3·4, 2/3·1) with n − 1 = 3.
        let x = Tensor::new(&[[3f64, 3.0], [3.0, 1.0], [-1.0, 3.0], [-1.0, 1.0]], &Device::Cpu).unwrap();
        let m = Moments::of(&x).unwrap();
        let (a, b) = (16.0f64 / 3.0, 4.0 / 3.0);
        let at = Batch::new(Tensor::new(&[[2f64, 0.0]], &Device::Cpu).unwrap()).unwrap();
        let want = -0.5 * (1.0 / a + 4.0 / b) - 0.5 * (a * b).ln() - std::f64::consts::TAU.ln();
        let got = m.log_density(&at).unwrap().to_vec1::<f64>().unwrap()[0];
        // The ridge is a millionth.
        assert!((got - want).abs() < 1e-5, "{got} {want}");
        let draws = m.draw(&Chains::range(0, 40_000), Key::root(1)).unwrap();
        let again = Moments::of(&draws).unwrap();
        let gap =
            (again.mean - m.mean).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
        // Four standard errors of the wider mean.
        assert!(gap < 4.0 * (a / 40_000.0f64).sqrt(), "{gap}");
        assert!((again.log_norm - m.log_norm).abs() < 0.03, "{} {}", again.log_norm, m.log_norm);
    }

    #[test]
    fn what_has_no_moments_is_refused() {
        let one = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(Moments::of(&one).unwrap_err().to_string().contains("1 samples"));
        let still = Tensor::ones((5, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(Moments::of(&still).unwrap_err().to_string().contains("do not vary"));
    }
}
