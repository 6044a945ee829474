//! Draws of several chains of one scalar, and what all diagnostics do to them first: split and rank.

pub(crate) mod advice;
pub(crate) mod ais;
pub(crate) mod autocorrelation;
pub(crate) mod energy_information;
pub(crate) mod ess;
pub(crate) mod rhat;

use crate::error::{EvalError, Result, all_finite, at_least};
use crate::numeric::normal_quantile::normal_quantile;

/// Fewest draws a chain: each half must hold four.
pub const FEWEST_DRAWS: usize = 8;

/// `m` chains of `n` draws of one scalar (an energy, a coordinate), chain by chain, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Traces<'a> {
    data: &'a [f64],
    m: usize,
    n: usize,
}

impl<'a> Traces<'a> {
    /// View of `data`, `(m, n)` row-major. Errs if the length is not `m n`, with no chain, fewer than
    /// [`FEWEST_DRAWS`] draws a chain, or on a value that is not finite.
    pub fn new(data: &'a [f64], m: usize, n: usize) -> Result<Self> {
        if m.checked_mul(n) != Some(data.len()) {
            return Err(EvalError::Shape { what: "chains", found: data.len(), rows: m, width: n });
        }
        at_least("chains", m, 1)?;
        at_least("draws a chain", n, FEWEST_DRAWS)?;
        all_finite("chains", data)?;
        Ok(Self { data, m, n })
    }

    /// Number of chains.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Draws a chain.
    pub fn n(&self) -> usize {
        self.n
    }

    /// All draws, chain by chain.
    pub fn data(&self) -> &'a [f64] {
        self.data
    }

    /// First and second half of every chain, `2m` chains of `n / 2` draws; the middle draw of an odd number is
    /// left out. `map` is applied to each draw.
    pub(crate) fn split(&self, map: impl Fn(f64) -> f64) -> Split {
        let half = self.n / 2;
        let mut data = Vec::with_capacity(2 * self.m * half);
        for chain in self.data.chunks_exact(self.n) {
            data.extend(chain[..half].iter().copied().map(&map));
            data.extend(chain[self.n - half..].iter().copied().map(&map));
        }
        Split { data, n: half }
    }
}

/// Half chains of `n` draws.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    pub(crate) data: Vec<f64>,
    pub(crate) n: usize,
}

impl Split {
    pub(crate) fn chains(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks_exact(self.n)
    }

    /// Replaces each draw by the normal quantile of (rank - 3/8) / (S + 1/4), its rank among all S draws, ties
    /// averaged (Vehtari et al. 2021, equation 14).
    pub(crate) fn rank_normalised(mut self) -> Self {
        let size = self.data.len() as f64;
        let ranks = average_ranks(&self.data);
        for (v, rank) in self.data.iter_mut().zip(ranks) {
            *v = normal_quantile((rank - 0.375) / (size + 0.25));
        }
        self
    }
}

/// Ranks from 1, ties sharing their mean.
pub(crate) fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    // -0.0 == 0.0 although total_cmp orders them: both stand side by side, so grouping by == is right.
    let mut below = 0;
    for tied in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let rank = below as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|&i| ranks[i] = rank);
        below += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn halves_leave_out_the_middle() {
        let data: Vec<f64> = (0..18).map(f64::from).collect();
        let s = Traces::new(&data, 2, 9).unwrap().split(|v| -v);
        let halves: Vec<f64> = s.chains().map(|c| c[0]).collect();
        assert_eq!(halves, [0.0, -5.0, -9.0, -14.0]);
        assert_eq!(s.n, 4);
    }

    #[test]
    fn ties_share_a_rank() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, -2.0, 3.0]), [4.0, 2.0, 4.0, 1.0, 4.0]);
        assert_eq!(average_ranks(&[0.0, -0.0]), [1.5, 1.5]);
    }

    #[test]
    fn shapes_are_checked() {
        assert!(Traces::new(&[0.0; 16], 2, 9).is_err());
        assert!(Traces::new(&[], 0, 8).is_err());
        assert!(Traces::new(&[0.0; 14], 2, 7).is_err());
        assert!(Traces::new(&[f64::NAN; 8], 1, 8).is_err());
    }
}
