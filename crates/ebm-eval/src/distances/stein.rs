//! Kernel Stein discrepancy: how far samples are from a density that is known by its slope only.

use serde::Serialize;

use crate::error::{EvalError, Result, at_least, same};
use crate::numeric::splitmix::SplitMix;
use crate::samples::{Features, same_width};

/// The kernel of a Stein discrepancy, over the Euclidean distance r and a length in units of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SteinKernel {
    /// (1 + r²/length²)^(-1/2), the inverse multiquadric: its discrepancy sees also samples that run away, in any
    /// dimension (Gorham and Mackey 2017, theorem 8). The one to use.
    InverseMultiquadric {
        /// The length; the median distance of the samples is customary.
        length: f64,
    },
    /// exp(-r²/(2 length²)) (Liu, Lee and Jordan 2016; Chwialkowski, Strathmann and Gretton 2016): from three
    /// dimensions on it does not see samples that run away.
    Gaussian {
        /// The length.
        length: f64,
    },
}

/// How the p-value of [`stein_discrepancy`] is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WildBootstrap {
    /// Resamples; the smallest p-value is 1/(resamples + 1).
    pub resamples: usize,
    /// Probability that the sign changes from one sample to the next: 1/2 for independent samples; for consecutive draws
    /// of a chain about 1/(autocorrelation time), so that signs live as long as the chain's memory.
    pub change: f64,
    /// Seed of the signs.
    pub seed: u64,
}

impl Default for WildBootstrap {
    /// 1,000 resamples for independent samples.
    fn default() -> Self {
        Self { resamples: 1000, change: 0.5, seed: 0 }
    }
}

/// A squared kernel Stein discrepancy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SteinDiscrepancy {
    /// The V-statistic, the mean of u(x_i, x_j) over all pairs: at least 0, biased upwards by about (mean u(x, x))/n. Its
    /// root is the discrepancy of Gorham and Mackey.
    pub v: f64,
    /// The U-statistic, the mean over pairs of different samples: unbiased, and around 0, often below, for exact samples.
    pub u: f64,
    /// Share of sign-flipped V-statistics at least as large, itself counted: small if the samples are not of the density.
    pub p_value: f64,
}

/// Squared kernel Stein discrepancy of samples `x` `(n, d)` from the density p whose `scores` ∇ log p(x) = −∇E(x)/T are
/// given `(n, d)`: no normalising constant is needed. With k = φ(|x − y|²) and s the score,
/// u(x, y) = φ s(x)·s(y) + 2φ' (s(y) − s(x))·(x − y) − 2dφ' − 4|x − y|²φ''
/// (Chwialkowski, Strathmann and Gretton 2016, equation 2; Liu, Lee and Jordan 2016, theorem 3.6). The p-value is of
/// their wild bootstrap of n V. `O(n² (d + resamples))`, and memory for n² numbers.
///
/// Blind to the weights of modes that lie far apart (Wenliang and Kanagawa 2020): it is about slopes.
///
/// # Errors
/// If the shapes differ, there are fewer than two samples, the length is not positive, `change` is outside (0, 1], or
/// `resamples` is 0.
pub fn stein_discrepancy(
    x: &Features,
    scores: &Features,
    kernel: SteinKernel,
    bootstrap: WildBootstrap,
) -> Result<SteinDiscrepancy> {
    same_width(x, scores)?;
    same("rows of scores", scores.n(), x.n(), "the samples")?;
    at_least("samples", x.n(), 2)?;
    at_least("resamples", bootstrap.resamples, 1)?;
    let setting = |what, found, wanted| Err(EvalError::Setting { what, found, wanted });
    let (SteinKernel::InverseMultiquadric { length } | SteinKernel::Gaussian { length }) = kernel;
    if !(length > 0.0 && length.is_finite()) {
        return setting("length of the Stein kernel", length, "a positive number");
    }
    if !(bootstrap.change > 0.0 && bootstrap.change <= 1.0) {
        return setting("probability of a change of sign", bootstrap.change, "a share in (0, 1]");
    }
    let n = x.n();
    let mut pairs = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let u = kernel.stein((x.row(i), scores.row(i)), (x.row(j), scores.row(j)));
            (pairs[i * n + j], pairs[j * n + i]) = (u, u);
        }
    }
    let diagonal: f64 = (0..n).map(|i| pairs[i * n + i]).sum();
    let total: f64 = pairs.iter().sum();
    let mut stream = SplitMix::new(bootstrap.seed);
    let mut signs = vec![1.0; n];
    let reached = (0..bootstrap.resamples).filter(|_| {
        let mut sign = if stream.uniform() < 0.5 { 1.0 } else { -1.0 };
        for s in &mut signs {
            *s = sign;
            if stream.uniform() < bootstrap.change {
                sign = -sign;
            }
        }
        let flipped: f64 = pairs
            .chunks_exact(n)
            .zip(&signs)
            .map(|(row, s)| s * row.iter().zip(&signs).map(|(u, t)| u * t).sum::<f64>())
            .sum();
        flipped >= total
    });
    let p_value = (1 + reached.count()) as f64 / (1 + bootstrap.resamples) as f64;
    let n = n as f64;
    Ok(SteinDiscrepancy { v: total / (n * n), u: (total - diagonal) / (n * (n - 1.0)), p_value })
}

impl SteinKernel {
    /// u of two samples, each with its score.
    fn stein(self, (x, sx): (&[f64], &[f64]), (y, sy): (&[f64], &[f64])) -> f64 {
        let (mut square, mut dot, mut along) = (0.0, 0.0, 0.0);
        for (((x, y), sx), sy) in x.iter().zip(y).zip(sx).zip(sy) {
            square += (x - y) * (x - y);
            dot += sx * sy;
            along += (sy - sx) * (x - y);
        }
        let (k, first, second) = match self {
            SteinKernel::InverseMultiquadric { length } => {
                let scale = 1.0 / (length * length);
                let base = 1.0 + square * scale;
                let k = 1.0 / base.sqrt();
                (k, -0.5 * scale * k / base, 0.75 * scale * scale * k / (base * base))
            }
            SteinKernel::Gaussian { length } => {
                let scale = 0.5 / (length * length);
                let k = (-scale * square).exp();
                (k, -scale * k, scale * scale * k)
            }
        };
        k * dot + 2.0 * first * along - 2.0 * x.len() as f64 * first - 4.0 * square * second
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, normals};

    const KERNELS: [SteinKernel; 2] =
        [SteinKernel::InverseMultiquadric { length: 1.5 }, SteinKernel::Gaussian { length: 1.5 }];

    fn negated(x: &Features) -> Features {
        Features::new(x.data().iter().map(|v| -v).collect(), x.n(), x.d()).unwrap()
    }

    #[test]
    fn agrees_with_stein_thinning_and_with_numpy() {
        // python scripts/make-eval-goldens.py stein
        let x = Features::new(normals(61, 120).into_iter().map(|v| 1.25 * v + 0.5).collect(), 40, 3).unwrap();
        for (kernel, gold) in KERNELS.into_iter().zip(GOLD) {
            let d = stein_discrepancy(&x, &negated(&x), kernel, WildBootstrap::default()).unwrap();
            assert_close(d.v, gold[0], 1e-12);
            assert_close(d.u, gold[1], 1e-12);
        }
    }
    const GOLD: [[f64; 2]; 2] =
        [[0.9290795712929808, 0.7650241941400299], [0.6497647617947936, 0.4785474664495815]];

    #[test]
    fn a_shift_of_a_normal_density_has_its_closed_form() {
        // The scores differ by the constant -μ, so KSD² = μ² E k(x, y), and E exp(-(x - y)²/2l²) = (1 + 2/l²)^(-1/2).
        let (mu, n) = (0.6, 1500);
        let mut r = SplitMix::new(2);
        let x = Features::new((0..n).map(|_| mu + r.normal()).collect(), n, 1).unwrap();
        let few = WildBootstrap { resamples: 20, ..Default::default() };
        let found = stein_discrepancy(&x, &negated(&x), SteinKernel::Gaussian { length: 1.0 }, few).unwrap();
        let wanted = mu * mu / 3f64.sqrt();
        // Standard error about 2 sd(E_y u)/√n with an sd of the order of 0.5: 0.026; three of them.
        assert!((found.u - wanted).abs() < 0.08, "{found:?} {wanted}");
        assert_close(found.p_value, 1.0 / 21.0, 1e-15);
    }

    #[test]
    fn p_values_are_uniform_for_exact_samples_and_small_for_others() {
        let mut r = SplitMix::new(3);
        for kernel in KERNELS {
            let mut rejected = [0usize; 2];
            for round in 0..200 {
                for (far, rejected) in [0.0, 0.5].into_iter().zip(&mut rejected) {
                    let x = Features::new((0..100).map(|_| far + r.normal()).collect(), 50, 2).unwrap();
                    let b = WildBootstrap { resamples: 99, seed: round, ..Default::default() };
                    let d = stein_discrepancy(&x, &negated(&x), kernel, b).unwrap();
                    *rejected += usize::from(d.p_value <= 0.1);
                }
            }
            // 10 % of 200: 20 with a standard deviation of 4.2; four of them. Shifts by half a deviation are seen.
            assert!((3..=37).contains(&rejected[0]) && rejected[1] > 180, "{kernel:?} {rejected:?}");
        }
    }

    #[test]
    fn settings_and_shapes_are_checked() {
        let x = Features::new(normals(1, 12), 6, 2).unwrap();
        let ask = |kernel, change, resamples| {
            stein_discrepancy(&x, &x, kernel, WildBootstrap { resamples, change, seed: 0 }).is_err()
        };
        assert!(
            ask(SteinKernel::Gaussian { length: 0.0 }, 0.5, 9)
                && ask(KERNELS[0], 0.0, 9)
                && ask(KERNELS[0], 0.5, 0)
        );
        let other = Features::new(normals(1, 10), 5, 2).unwrap();
        assert!(stein_discrepancy(&x, &other, KERNELS[0], WildBootstrap::default()).is_err());
    }
}
