//! At which temperature an energy describes the data best, on a grid or by matching mean energies of chains.

use crate::error::{EvalError, Result, all_finite, at_least};
use crate::plane::grid::PlaneGrid;

/// The temperature T in `[1e-12, 1e3]` at which exp(-E/T)/Z_T has the largest log-likelihood on points with the
/// energies `at`, and that log-likelihood in nats a point; `(t_best, ll_best_t)`.
///
/// The likelihood is concave in 1/T. Recipes with cold Langevin noise learn an energy for another temperature than
/// 1; this says how good its shape is. Read from held-out data it is a diagnostic, never a score.
pub fn best_temperature(grid: &PlaneGrid, energies: &[f64], at: &[f64]) -> (f64, f64) {
    let ll = |log_beta: f64| grid.log_likelihood(energies, at, log_beta.exp());
    let (mut low, mut high) = (1e-3f64.ln(), 1e12f64.ln());
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
    let (mut la, mut lb) = (ll(a), ll(b));
    for _ in 0..60 {
        if la < lb {
            (low, a, la) = (a, b, lb);
            b = low + golden * (high - low);
            lb = ll(b);
        } else {
            (high, b, lb) = (b, a, la);
            a = high - golden * (high - low);
            la = ll(a);
        }
    }
    let middle = 0.5 * (low + high);
    ((-middle).exp(), ll(middle))
}

/// Finds the temperature by energy matching: d ll / dβ is the mean energy of chains less that of data, for the
/// density exp(-βE), so at the best β chains at that β have the mean energy of the data. Needs chains and training
/// data, no log Z.
///
/// Each update is a damped Newton step of log β, (E_chain - E_data) / (β Var_chain E), at most 1/2 long, with gain
/// k^-0.6 (Robbins and Monro 1951); [`temperature`](Self::temperature) is the polynomial-decay average of the
/// iterates (Shamir and Zhang 2013), so noise of the chains averages out.
#[derive(Debug, Clone, Copy)]
pub struct EnergyMatching {
    data_mean: f64,
    log_beta: f64,
    average: f64,
    updates: u32,
}

impl EnergyMatching {
    /// Starts at β = 1 from the energies of training data, in nats. Errs on none or on non-finite ones.
    pub fn new(data_energies: &[f64]) -> Result<Self> {
        at_least("energies of data", data_energies.len(), 1)?;
        all_finite("energies of data", data_energies)?;
        let data_mean = data_energies.iter().sum::<f64>() / data_energies.len() as f64;
        Ok(Self { data_mean, log_beta: 0.0, average: 0.0, updates: 0 })
    }

    /// The β at which the chains should run next.
    pub fn beta(&self) -> f64 {
        self.log_beta.exp()
    }

    /// Averaged estimate of the temperature 1/β; 1 before the first update.
    pub fn temperature(&self) -> f64 {
        (-self.average).exp()
    }

    /// Takes the energies E (not βE) of chains that ran at [`beta`](Self::beta); returns their mean minus that of
    /// the data. Errs with fewer than two, on non-finite ones, or if all are equal.
    pub fn update(&mut self, chain_energies: &[f64]) -> Result<f64> {
        at_least("energies of chains", chain_energies.len(), 2)?;
        all_finite("energies of chains", chain_energies)?;
        let n = chain_energies.len() as f64;
        let mean = chain_energies.iter().sum::<f64>() / n;
        let variance = chain_energies.iter().map(|e| (e - mean) * (e - mean)).sum::<f64>() / (n - 1.0);
        if variance <= 0.0 {
            let wanted = "chains of different energies; let them move first";
            return Err(EvalError::Setting {
                what: "variance of the chains' energies",
                found: variance,
                wanted,
            });
        }
        let gap = mean - self.data_mean;
        self.updates += 1;
        let k = f64::from(self.updates);
        self.log_beta += (k.powf(-0.6) * gap / (self.beta() * variance)).clamp(-0.5, 0.5);
        self.average += 4.0 / (k + 3.0) * (self.log_beta - self.average);
        Ok(gap)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::numeric::splitmix::SplitMix;
    use crate::testing::goldens::assert_close;

    #[test]
    fn a_gaussian_is_read_at_its_temperature() {
        // E = |x|²/2 in two dimensions has E_T[E] = T, so data of mean energy 0.3 has T = 0.3.
        let g = PlaneGrid::new(6.0, 150).unwrap();
        let e = g
            .energies(|p: &[f32]| {
                Ok::<_, String>(p.chunks(2).map(|p| 0.5 * (p[0] * p[0] + p[1] * p[1])).collect())
            })
            .unwrap();
        let (t, ll) = best_temperature(&g, &e, &[0.1, 0.5, 0.3]);
        // The maximum is flat: rounding of ll by 1e-15 leaves T uncertain by its root.
        assert_close(t, 0.3, 1e-6);
        assert_close(ll, -1.0 - (std::f64::consts::TAU * 0.3).ln(), 1e-6);
    }

    #[test]
    fn matching_finds_the_temperature_of_exact_chains() {
        // In two dimensions the energy of exact draws at β is exponential with mean 1/β.
        let mut r = SplitMix::new(2);
        for wanted in [0.05, 1.0, 4.0] {
            let mut m = EnergyMatching::new(&[0.5 * wanted, 1.5 * wanted]).unwrap();
            for _ in 0..200 {
                let beta = m.beta();
                let e: Vec<f64> = (0..100).map(|_| -(1.0 - r.uniform()).ln() / beta).collect();
                m.update(&e).unwrap();
            }
            // 200 updates of 100 draws of relative sd 1: 0.007 at best, twice that for the weighted average.
            assert!((m.temperature() / wanted - 1.0).abs() < 0.04, "{} {wanted}", m.temperature());
        }
    }

    #[test]
    fn stuck_or_diverged_chains_are_refused() {
        let mut m = EnergyMatching::new(&[1.0]).unwrap();
        assert!(m.update(&[1.0, 1.0]).is_err());
        assert!(m.update(&[1.0]).is_err());
        assert!(m.update(&[1.0, f64::NAN]).is_err());
        assert_eq!((m.beta(), m.temperature()), (1.0, 1.0));
        assert!(EnergyMatching::new(&[]).is_err());
    }
}
