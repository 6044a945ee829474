//! The way of annealed chains, one by one or in populations that are resampled, between a base and an energy.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use ebm_core::energy::compose::{Part, Sum};
use ebm_core::{Batch, EnergyFn, Key, Learning, Stepped, Transition, effective_share, furthest, systematic};

use crate::error::Result;
use crate::model::moves::MoveWatch;
use crate::tensors::numbers;

/// Effective share of a population below which it is resampled.
const RESAMPLE: f64 = 0.5;
/// Rungs that are found at most.
const MOST_RUNGS: usize = 10_000;

/// Moves at the first rung in which step sizes are found before they follow the rungs, and at the energy before the way back.
const SETTLING: usize = 100;

/// Step sizes and whatever else moves carry, by name.
pub(super) type Carried = BTreeMap<String, Tensor>;

pub(super) struct Path<'a> {
    pub(super) base: &'a Arc<dyn EnergyFn>,
    pub(super) energy: &'a Arc<dyn EnergyFn>,
    pub(super) moves: &'a dyn Transition,
    /// β of each rung above the base; the last is 1.
    pub(super) betas: Vec<f64>,
    /// Chains of a population; 1 where none is resampled.
    pub(super) size: usize,
    /// Moves at each rung.
    pub(super) each: usize,
    /// What moves carry at each rung, from the first above the base on; empty if they carry nothing.
    pub(super) learnt: Vec<Carried>,
}

impl Path<'_> {
    fn beta(&self, rung: usize) -> f64 {
        if rung == 0 { 0.0 } else { self.betas[rung - 1] }
    }

    /// A move at rung `rung`, the `k`-th of its walk.
    fn step(
        &self,
        at: Batch,
        (rung, k): (usize, usize),
        (carried, learning): (Option<Carried>, Learning),
        key: Key,
    ) -> Result<Stepped> {
        self.step_at(at, (self.beta(rung), k), (carried, learning), key)
    }

    /// A move at `beta`, the `k`-th of its walk.
    fn step_at(
        &self,
        at: Batch,
        (beta, k): (f64, usize),
        (carried, learning): (Option<Carried>, Learning),
        key: Key,
    ) -> Result<Stepped> {
        let parts = vec![
            Part::new("base", self.base.clone()).weighted(1.0 - beta),
            Part::new("energy", self.energy.clone()).weighted(beta),
        ];
        let energy = Sum::new(parts)?;
        let mut state = self.moves.init(&energy, at, key.at("init"))?;
        if let Some(carried) = carried {
            state.aux = carried;
        }
        (state.step, state.of, state.learning) = (k, self.betas.len(), learning);
        // A warm-up is known by its length where it begins.
        state.warm_up_left = if learning == Learning::WarmUp { SETTLING } else { 0 };
        Ok(self.moves.step(&energy, &state, key.at("move"))?)
    }

    /// Walks up from `start` to learn what moves carry at each rung: step sizes are found at the first one, and go on from rung
    /// to rung.
    pub(super) fn learn(&self, start: Batch, key: Key) -> Result<Vec<Carried>> {
        let names = self.moves.carried();
        let (mut at, mut carried, mut all) = (start, None, Vec::with_capacity(self.betas.len()));
        for k in 0..SETTLING {
            let stepped = self.step(at, (1, 0), (carried, Learning::WarmUp), key.at("settle").at(k))?;
            at = stepped.state.at;
            carried = Some(stepped.state.aux);
        }
        for k in 0..self.betas.len() {
            let stepped = self.step(at, (k + 1, k), (carried, Learning::Follow), key.at(k))?;
            at = stepped.state.at;
            let now: Carried =
                stepped.state.aux.into_iter().filter(|(name, _)| names.contains(name)).collect();
            carried = Some(now.clone());
            all.push(now);
        }
        Ok(all)
    }

    /// Chains at the energy after some more moves there: the ends of a walk lag behind its last rungs.
    pub(super) fn settled(&self, mut at: Batch, key: Key) -> Result<Batch> {
        let rungs = self.betas.len();
        for k in 0..SETTLING {
            let carried = self.learnt.last().cloned();
            at = self.step(at, (rungs, 0), (carried, Learning::Done), key.at(k))?.state.at;
        }
        Ok(at)
    }

    /// Finds the rungs of sequential Monte Carlo, and what moves learn on them, with a population from the base that is given up.
    pub(super) fn find(&self, start: Batch, effective: f64, key: Key) -> Result<(Vec<f64>, Vec<Carried>)> {
        let names = self.moves.carried();
        let (mut at, mut carried): (Batch, Option<Carried>) = (start, None);
        let (mut betas, mut learnt, mut beta) = (Vec::new(), Vec::new(), 0.0);
        while beta < 1.0 {
            let gap = self.gap(&at)?;
            let share = |way: f64| {
                let logs: Vec<f64> = gap.iter().map(|g| -way * g).collect();
                effective_share(&logs)
            };
            let rest = 1.0 - beta;
            let way = if betas.len() + 1 < MOST_RUNGS { furthest(rest, effective, share) } else { rest };
            // Not by a sum, which may miss the end by a rounding.
            let next = if way < rest { beta + way } else { 1.0 };
            let logs: Vec<f64> = gap.iter().map(|g| -(next - beta) * g).collect();
            let key = key.at("find").at(betas.len());
            at = resampled(&at, &logs, 0, key.at("resample"))?;
            // A warm-up at every rung: there are few, and step sizes may fall by a tenth from one to the next.
            for k in 0..SETTLING + self.each {
                let learning = if k < SETTLING { Learning::WarmUp } else { Learning::Follow };
                let stepped = self.step_at(at, (next, 0), (carried, learning), key.at(k))?;
                at = stepped.state.at;
                let own = stepped.state.aux.into_iter().filter(|(name, _)| names.contains(name));
                carried = Some(own.collect());
            }
            beta = next;
            betas.push(beta);
            learnt.push(carried.clone().unwrap_or_default());
        }
        Ok((betas, learnt))
    }

    /// Walks up or down; the ends, and the log weight of each population.
    pub(super) fn walk(
        &self,
        start: Batch,
        up: bool,
        key: Key,
        watch: &mut MoveWatch<'_>,
    ) -> Result<(Batch, Vec<f64>)> {
        let rungs = self.betas.len();
        let mut weights = vec![0.0; start.len()];
        let mut sums = vec![0.0; start.len() / self.size.max(1)];
        let mut at = start;
        for k in 0..rungs {
            // Upwards weigh, then move at the new rung; downwards move at the old one, then weigh: each is the other reversed.
            let (from, to) = if up { (k, k + 1) } else { (rungs - k, rungs - k - 1) };
            if up {
                self.weigh(&at, from, to, &mut weights)?;
                at = self.resample(at, &mut weights, &mut sums, key.at("resample").at(k))?;
            }
            let rung = if up { to } else { from };
            let carried = self.learnt.get(rung - 1).cloned();
            for again in 0..self.each {
                let key = if self.each == 1 { key.at(k) } else { key.at(k).at(again) };
                let stepped = self.step(at, (rung, k), (carried.clone(), Learning::Done), key)?;
                watch.take(&stepped)?;
                at = stepped.state.at;
            }
            if !up {
                self.weigh(&at, from, to, &mut weights)?;
                at = self.resample(at, &mut weights, &mut sums, key.at("resample").at(k))?;
            }
        }
        if self.size == 1 {
            return Ok((at, weights));
        }
        for (sum, logs) in sums.iter_mut().zip(weights.chunks(self.size)) {
            *sum += log_mean(logs);
        }
        Ok((at, sums))
    }

    /// Replaces chains by their weights in the populations of which too few are effective; what their weights were on average goes
    /// to `sums`.
    fn resample(&self, mut at: Batch, weights: &mut [f64], sums: &mut [f64], key: Key) -> Result<Batch> {
        if self.size == 1 {
            return Ok(at);
        }
        for (i, (sum, logs)) in sums.iter_mut().zip(weights.chunks_mut(self.size)).enumerate() {
            if effective_share(logs) < RESAMPLE {
                *sum += log_mean(logs);
                at = resampled(&at, logs, i * self.size, key.at(i))?;
                logs.fill(0.0);
            }
        }
        Ok(at)
    }

    /// Energy less that of the base, one a chain.
    fn gap(&self, at: &Batch) -> Result<Vec<f64>> {
        let (e, base) = (numbers(&self.energy.energy(at)?)?, numbers(&self.base.energy(at)?)?);
        Ok(e.iter().zip(base).map(|(e, base)| e - base).collect())
    }

    /// Adds the logarithm of the ratio of the densities of rung `to` and rung `from`.
    fn weigh(&self, at: &Batch, from: usize, to: usize, weights: &mut [f64]) -> Result<()> {
        let rise = self.beta(to) - self.beta(from);
        weights.iter_mut().zip(self.gap(at)?).for_each(|(w, gap)| *w -= rise * gap);
        Ok(())
    }
}

/// `log mean exp`; −∞ if all are.
pub(super) fn log_mean(logs: &[f64]) -> f64 {
    ebm_eval::log_sum_exp(logs) - (logs.len() as f64).ln()
}

/// `at` with the rows from `first` on drawn anew from themselves, as many as there are weights.
pub(super) fn resampled(at: &Batch, logs: &[f64], first: usize, key: Key) -> Result<Batch> {
    let mut index: Vec<u32> = (0..at.len() as u32).collect();
    for (place, member) in systematic(logs, key).into_iter().enumerate() {
        index[first + place] = (first + member) as u32;
    }
    // Copies go their own ways: each place keeps the random numbers of its chain.
    Ok(at.rows(&index)?.with_chains(at.chains.clone()))
}
