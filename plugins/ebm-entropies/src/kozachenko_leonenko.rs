//! `kozachenko-leonenko`: the full nearest-neighbour estimate of differential entropy, any `k`.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{BuildCx, EntropyConfig, EntropyEstimate, EntropyEstimator, Key, Result, Settings, plugin};

use crate::neighbours::{kth_nearest, mean_log_gradient};

/// Differential entropy from the distance to the k-th nearest earlier sample, in nats.
///
/// `H ≈ ψ(M + 1) − ψ(k) + log V_D + D · mean log d_k`, with `d_k` the distance to the `k`-th nearest of
/// `M` reference samples and `V_D` the volume of the unit ball (Kozachenko, Leonenko 1987; the
/// cross form of Leonenko, Pronzato, Savani 2008, with ψ(M + 1) for log M). Nats.
///
/// The probability of the ball of radius `d_k` follows Beta(k, M + 1 − k) whatever the density is,
/// and its mean logarithm is ψ(k) − ψ(M + 1): where the density is constant on the ball there is no
/// bias at any M. With `exclude` and the samples in the bank themselves, M is one less and this is
/// the classical estimate.
#[derive(Clone, Debug, Settings)]
pub struct KozachenkoLeonenko {
    /// Which neighbour.
    #[setting(default = 1, at_least = 1, at_most = 1_000_000)]
    pub k: usize,
    /// Reference samples at most this far away are taken for the sample itself and do not count.
    #[setting(at_least = 0.0)]
    pub exclude: Option<f64>,
}

/// Added inside the logarithm, so that a sample on a reference sample has a finite value, in f32 too.
const FLOOR: f64 = 1e-37;

/// ψ(k) of a whole number: harmonic number minus Euler's constant.
fn digamma(k: usize) -> f64 {
    (1..k).rev().map(|i| 1.0 / i as f64).sum::<f64>() - 0.577_215_664_901_532_9
}

/// Logarithm of the volume of the unit ball in `d` dimensions, by `V_d = 2π/d · V_{d−2}`.
fn log_ball(d: usize) -> f64 {
    let start = if d.is_multiple_of(2) { 0.0 } else { 2f64.ln() };
    (2 + d % 2..=d).step_by(2).fold(start, |v, n| v + (std::f64::consts::TAU / n as f64).ln())
}

impl EntropyEstimator for KozachenkoLeonenko {
    fn estimate(&self, x: &Tensor, bank: &Tensor, _: Key) -> Result<EntropyEstimate> {
        let near = kth_nearest("kozachenko-leonenko", x, bank, self.k, self.exclude.unwrap_or(-1.0))?;
        let d = x.flatten_from(1)?.dims()[1];
        let constant = |m: &usize| log_ball(d) - digamma(self.k) + digamma(m + 1);
        let constant: Vec<f64> = near.counted.iter().map(constant).collect();
        let constant = Tensor::new(constant.as_slice(), &Device::Cpu)?.to_dtype(near.distance.dtype())?;
        let logs = near.distance.affine(1.0, FLOOR)?.log()?.affine(d as f64, 0.0)?;
        let value = (logs + constant.to_device(near.distance.device())?)?;
        let value = value.to_dtype(x.dtype())?.to_device(x.device())?;
        Ok(EntropyEstimate { value, grad: mean_log_gradient(x, bank, &near)?.affine(d as f64, 0.0)? })
    }

    fn smallest_bank(&self) -> usize {
        self.k
    }

    fn name(&self) -> String {
        "kozachenko-leonenko".into()
    }
}

#[plugin(
    "kozachenko-leonenko",
    source = "Kozachenko, Leonenko 1987; Leonenko, Pronzato, Savani 2008",
    example = "k = 3"
)]
impl EntropyConfig for KozachenkoLeonenko {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn EntropyEstimator>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ebm_core::Chains;
    use ebm_core::candle::{DType, Device};

    #[test]
    fn ball_volumes_are_the_known_ones() {
        let pi = std::f64::consts::PI;
        for (d, v) in [(1, 2.0), (2, pi), (3, 4.0 * pi / 3.0), (4, pi * pi / 2.0), (5, 8.0 * pi * pi / 15.0)]
        {
            assert!((log_ball(d) - f64::ln(v)).abs() < 1e-12, "{d}");
        }
        assert!((digamma(4) - (1.0 + 0.5 + 1.0 / 3.0 - 0.577_215_664_901_532_9)).abs() < 1e-15);
    }

    #[test]
    fn the_entropy_of_a_normal_law_comes_out() {
        // H of N(0, I) in two dimensions is log(2πe) = 2.8379; the standard deviation of one log-distance
        // term is about 1.6 at k = 3, so 400 samples give 0.08 and 0.35 is more than four of that.
        let draw = |key: Key, n| key.normal(&Chains::range(0, n), &[2], DType::F64, &Device::Cpu).unwrap();
        let (x, bank) = (draw(Key::root(1), 400), draw(Key::root(2), 1500));
        let h = KozachenkoLeonenko { k: 3, exclude: None }.estimate(&x, &bank, Key::root(0)).unwrap();
        let h = h.value.mean_all().unwrap().to_scalar::<f64>().unwrap();
        assert!((h - 2.837_877).abs() < 0.35, "{h}");
    }

    #[test]
    fn there_is_no_bias_where_the_density_is_constant() {
        // Uniform on [−1, 1] around 0: entropy log 2, from banks of only three.
        let x = Tensor::new(&[[0f64]], &Device::Cpu).unwrap();
        let e = KozachenkoLeonenko { k: 2, exclude: Some(0.0) };
        let (n, mut sum) = (4000, 0.0);
        for i in 0..n {
            let u = Key::root(i).uniform(&Chains::range(0, 3), &[1], DType::F64, &Device::Cpu).unwrap();
            // The sample itself is in the bank and does not count.
            let bank = Tensor::cat(&[u.affine(2.0, -1.0).unwrap(), x.clone()], 0).unwrap();
            sum += e.estimate(&x, &bank, Key::root(0)).unwrap().value.to_vec1::<f64>().unwrap()[0];
        }
        // Variance of log Beta(2, 2) is ψ'(2) − ψ'(4) = 0.36; four standard errors. With log M
        // in place of ψ(M + 1) it would be 0.16 too low.
        let tolerance = 4.0 * (0.36f64 / n as f64).sqrt();
        assert!((sum / n as f64 - 2f64.ln()).abs() < tolerance, "{}", sum / n as f64);
    }

    #[test]
    fn too_small_a_bank_is_an_error() {
        let t = Tensor::new(&[[0f64, 0.0]], &Device::Cpu).unwrap();
        let text = KozachenkoLeonenko { k: 2, exclude: None }
            .estimate(&t, &t, Key::root(0))
            .err()
            .unwrap()
            .to_string();
        assert!(text.contains('2') && text.contains("bank"), "{text}");
    }
}
