//! `gaussian-mixture`: weighted round Gaussians; also the form in which rings and moons are computed.

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Result, Role, Settings, View, plugin};

use crate::{Closed, Drawer, KnownDensity};

/// `E(x) = −log Σ_k w_k s_k^(−D) exp(−|x − m_k|²/(2s_k²))` on the flattened sample of `D` values, weights
/// summing to 1; `E = −log p − (D/2) log 2π`.
///
/// In f32 the energy is rounded to about `6e-8·|x − m|²/s²` nats, with `m` the mixture's mean and `s`
/// its smallest deviation.
#[derive(Clone, Debug, Settings)]
pub struct GaussianMixture {
    /// The Gaussians.
    pub components: Vec<RoundGaussian>,
}

/// A Gaussian with the same deviation in all directions.
#[derive(Clone, Debug, PartialEq, Settings)]
pub struct RoundGaussian {
    /// Mean of each coordinate, flattened.
    pub mean: Vec<f64>,
    /// Standard deviation.
    #[setting(above = 0.0)]
    pub sd: f64,
    /// Weight; only ratios matter.
    #[setting(default = 1.0, above = 0.0)]
    pub weight: f64,
}

#[plugin(
    "gaussian-mixture",
    summary = "a weighted sum of round Gaussians",
    source = "textbook",
    example = "components = [{ mean = [-1.0, 0.0], sd = 0.3 }, { mean = [1.5, 0.5], sd = 0.5, weight = 2.0 }]"
)]
impl EnergyConfig for GaussianMixture {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        if self.components.is_empty() {
            return Err(cx.refuse("components", "is empty, must have one or more"));
        }
        for (i, c) in self.components.iter().enumerate() {
            if c.mean.len() != cx.sample_len() {
                let message = format!("has {} numbers, must have {}", c.mean.len(), cx.sample_len());
                return Err(cx.refuse(&format!("components[{i}].mean"), message));
            }
        }
        mixture(cx, self.components.clone(), "gaussian-mixture")
    }
}

/// The energy of these components, which must be proper: as many means as values, positive sd and weight.
pub(crate) fn mixture(
    cx: &mut BuildCx,
    mut components: Vec<RoundGaussian>,
    term: &str,
) -> Result<Arc<dyn EnergyFn>> {
    let (d, k) = (cx.sample_len(), components.len());
    let total: f64 = components.iter().map(|c| c.weight).sum();
    components.iter_mut().for_each(|c| c.weight /= total);
    let net = Mixture { components, values: d };
    let centre = net.centre();

    // Logits are one matrix product of [y, |y|²] with y = x − centre, which keeps |y|² small.
    let mut slopes = vec![0.0; (d + 1) * k];
    let mut levels = vec![0.0; k];
    for (j, c) in net.components.iter().enumerate() {
        let inverse = 1.0 / (c.sd * c.sd);
        let mut square = 0.0;
        for i in 0..d {
            let m = c.mean[i] - centre[i];
            slopes[i * k + j] = m * inverse;
            square += m * m;
        }
        slopes[d * k + j] = -0.5 * inverse;
        levels[j] = c.weight.ln() - d as f64 * c.sd.ln() - 0.5 * square * inverse;
    }
    let offset = centre.iter().map(|c| -c).collect();
    let cpu = &Device::Cpu;
    cx.value("offset", &Tensor::from_vec(offset, d, cpu)?, Role::Buffer)?;
    cx.value("slopes", &Tensor::from_vec(slopes, (d + 1, k), cpu)?, Role::Buffer)?;
    cx.value("levels", &Tensor::from_vec(levels, k, cpu)?, Role::Buffer)?;
    Closed::build(cx, net, term)
}

struct Mixture {
    components: Vec<RoundGaussian>,
    values: usize,
}

impl Mixture {
    fn average(&self, f: impl Fn(&RoundGaussian, usize) -> f64) -> Vec<f64> {
        (0..self.values).map(|i| self.components.iter().map(|c| c.weight * f(c, i)).sum()).collect()
    }

    fn centre(&self) -> Vec<f64> {
        self.average(|c, i| c.mean[i])
    }
}

impl Forward for Mixture {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let y = x.flatten()?.shift(p.get("offset")?)?;
        let square = y.square()?.sum_last()?;
        let features = V::join(&[y, square], |parts| Tensor::cat(parts, 1))?;
        features.matmul(p.get("slopes")?)?.shift(p.get("levels")?)?.log_sum_exp_last()?.scale(-1.0)
    }

    fn python(&self) -> Option<String> {
        let whole = "y = x.flatten(1) + self.offset\n\
                     features = torch.cat([y, y.square().sum(1, keepdim=True)], 1)\n\
                     return -torch.logsumexp(features @ self.slopes + self.levels, 1)";
        Some(whole.into())
    }
}

impl KnownDensity for Mixture {
    fn log_z(&self, _: &View) -> Result<f64> {
        Ok(0.5 * self.values as f64 * TAU.ln())
    }

    fn drawer(&self, _: &View) -> Result<Drawer<'_>> {
        let running = running(self.components.iter().map(|c| c.weight));
        Ok(Box::new(move |s, out| {
            let c = &self.components[s.index(&running)];
            out.iter_mut().zip(&c.mean).for_each(|(o, m)| *o = m + c.sd * s.normal());
        }))
    }

    fn mean(&self, _: &View) -> Option<Vec<f64>> {
        Some(self.centre())
    }

    fn variance(&self, _: &View) -> Option<Vec<f64>> {
        let centre = self.centre();
        Some(self.average(|c, i| c.sd * c.sd + (c.mean[i] - centre[i]).powi(2)))
    }
}

/// Running sums.
pub(crate) fn running(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let add = |sum: &mut f64, w| {
        *sum += w;
        Some(*sum)
    };
    weights.scan(0.0, add).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::check_tests::{build, log_density, refusal};

    fn pair() -> GaussianMixture {
        let at = |mean: f64, sd, weight| RoundGaussian { mean: vec![mean], sd, weight };
        GaussianMixture { components: vec![at(100.0, 0.5, 3.0), at(103.0, 1.0, 1.0)] }
    }

    #[test]
    fn the_density_is_the_sum_by_hand() {
        let e = build(&pair(), &[1]);
        let normal = |z: f64, s: f64| (-0.5 * z * z).exp() / (s * TAU.sqrt());
        for x in [99.0, 100.0, 101.7, 104.0f64] {
            let want = (0.75 * normal((x - 100.0) / 0.5, 0.5) + 0.25 * normal(x - 103.0, 1.0)).ln();
            // Differences of squares of size (x − mean)²/s² ~ 50, rounded.
            assert!((log_density(&e, &[x]) - want).abs() < 1e-13, "{x}");
        }
        // Law of total variance: 0.75·0.25 + 0.25·1 + 0.75·0.25·9.
        let d = e.density().unwrap();
        assert!((d.mean().unwrap()[0] - 100.75).abs() < 1e-12);
        assert!((d.variance().unwrap()[0] - 2.125).abs() < 1e-12);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let with = |f: fn(&mut RoundGaussian)| {
            let mut m = pair();
            f(&mut m.components[1]);
            refusal(&m, &[1])
        };
        assert!(with(|c| c.sd = -1.0).contains("components[1].sd: is -1"));
        assert!(with(|c| c.weight = f64::NAN).contains("components[1].weight"));
        assert!(with(|c| c.mean = vec![1.0, 2.0]).contains("components[1].mean: has 2"));
        assert!(refusal(&GaussianMixture { components: vec![] }, &[1]).contains("components"));
    }
}
