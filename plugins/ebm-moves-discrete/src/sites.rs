//! Samples of a discrete domain as sites, each in one of some states.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Batch, Domain, EnergyFn, Error, Result, host};

/// How sites stand in a sample.
#[derive(Clone, Copy)]
pub(crate) struct Sites {
    domain: Domain,
    /// States of each.
    pub states: usize,
}

impl Sites {
    /// Those of an energy's samples.
    ///
    /// # Errors
    /// If its domain is not discrete; the move is called `who`.
    pub fn of(e: &dyn EnergyFn, who: &str) -> Result<Self> {
        let domain = e.spec().domain;
        domain.discrete_for(who)?;
        Ok(Sites { domain, states: domain.states().unwrap_or(2) })
    }

    /// Number of sites of a sample of so many values.
    pub fn count(self, values: usize) -> usize {
        if let Domain::Categorical(k) = self.domain { values / k.max(1) } else { values }
    }

    /// The state of a site.
    pub fn state(self, x: &[f64], site: usize) -> usize {
        match self.domain {
            Domain::Categorical(k) => x[site * k..][..k].iter().position(|v| *v > 0.5).unwrap_or(0),
            _ => usize::from(x[site] > 0.5),
        }
    }

    /// Puts a site into a state.
    pub fn set(self, x: &mut [f64], site: usize, state: usize) {
        match self.domain {
            Domain::Categorical(k) => {
                let own = &mut x[site * k..][..k];
                own.fill(0.0);
                own[state] = 1.0;
            }
            Domain::Spins => x[site] = if state == 1 { 1.0 } else { -1.0 },
            _ => x[site] = state as f64,
        }
    }

    /// Squared distance of two samples that differ in the state of one site.
    pub fn distance_square(self) -> f64 {
        match self.domain {
            Domain::Categorical(_) => 2.0,
            Domain::Spins => 4.0,
            _ => 1.0,
        }
    }

    /// By how much the energy rises, as far as its slope `grad` at `x` tells, where a site goes to each state: entry
    /// `site · states + state` of `out`, 0 for the state it is in.
    pub fn rises(self, x: &[f64], grad: &[f64], out: &mut [f64]) {
        let k = self.states;
        for (site, out) in out.chunks_mut(k).enumerate() {
            let own = self.state(x, site);
            for (state, rise) in out.iter_mut().enumerate() {
                *rise = match self.domain {
                    _ if state == own => 0.0,
                    Domain::Categorical(_) => grad[site * k + state] - grad[site * k + own],
                    Domain::Spins => -2.0 * x[site] * grad[site],
                    _ => (1.0 - 2.0 * x[site]) * grad[site],
                };
            }
        }
    }
}

/// Samples as numbers, and values of one.
pub(crate) fn rows(at: &Batch) -> Result<(Vec<f64>, usize)> {
    match at.x.elem_count() / at.len().max(1) {
        0 => Err(Error::shape("chains", at.x.dims(), "(B, ...)", "there are no values to move")),
        width => Ok((host::numbers(&at.x)?, width)),
    }
}

/// The rows of `at` with these values.
pub(crate) fn with_rows(at: &Batch, x: Vec<f64>) -> Result<Batch> {
    let x = Tensor::from_vec(x, at.x.dims(), &Device::Cpu)?;
    Ok(at.with_x(x.to_dtype(at.dtype())?.to_device(at.device())?))
}

/// `log Σ exp(v)`.
pub(crate) fn log_sum_exp(v: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = v.clone().fold(f64::NEG_INFINITY, f64::max);
    if most.is_finite() { most + v.map(|v| (v - most).exp()).sum::<f64>().ln() } else { most }
}

/// The place that the uniform number `coin` picks of the law `∝ exp(v)`.
pub(crate) fn pick(v: &[f64], coin: f64) -> usize {
    let total = log_sum_exp(v.iter().copied());
    let (mut left, mut last) = (coin, 0);
    for (i, v) in v.iter().enumerate() {
        let share = (v - total).exp();
        // A share of 0 is never picked, not by what rounding leaves over either.
        if share > 0.0 {
            last = i;
            left -= share;
            if left < 0.0 {
                return i;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn rare_places_together_have_their_share() {
        // One place of 9 in 10, nine thousand that share the rest: as many of equally spaced coins.
        let mut law = vec![(0.1f64 / 9000.0).ln(); 9001];
        law[0] = 0.9f64.ln();
        let picked: Vec<usize> = (0..1000).map(|i| pick(&law, (f64::from(i) + 0.5) / 1000.0)).collect();
        assert_eq!(picked.iter().filter(|&&place| place > 0).count(), 100);
        assert!(picked.is_sorted() && picked[999] > 8900, "{}", picked[999]);
    }
}
