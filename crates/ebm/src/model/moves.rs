//! What the moves of chains say of themselves after their warm-up: acceptance, divergences, step sizes.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::Tensor;
use ebm_core::host::numbers;
use ebm_core::{Learning, Probe, Stepped};
use ebm_eval::{ChainAdvice, EnergyInformation};
use serde::Serialize;

/// Step sizes over the chains, as they stand after the warm-up in which they adapted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepSizes {
    /// The smallest.
    pub least: f64,
    /// Their geometric mean.
    pub mean: f64,
    /// The largest.
    pub greatest: f64,
    /// Chains.
    pub chains: usize,
    /// Chains whose step size is the smallest or the largest allowed: their acceptance is not what was asked for.
    pub at_limit: usize,
}

impl StepSizes {
    /// Of one for each chain; none without any.
    fn of(sizes: impl Iterator<Item = (f64, bool)>) -> Option<Self> {
        let all: Vec<(f64, bool)> = sizes.collect();
        let sizes = || all.iter().map(|s| s.0);
        (!all.is_empty()).then(|| StepSizes {
            least: sizes().fold(f64::INFINITY, f64::min),
            mean: (sizes().map(f64::ln).sum::<f64>() / all.len() as f64).exp(),
            greatest: sizes().fold(0.0, f64::max),
            chains: all.len(),
            at_limit: all.iter().filter(|s| s.1).count(),
        })
    }
}

impl fmt::Display for StepSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step size {:.4e} after the warm-up, fixed since", self.mean)?;
        if self.least < self.greatest {
            write!(f, " ({:.4e} to {:.4e} over the chains)", self.least, self.greatest)?;
        }
        Ok(())
    }
}

/// Trajectories of Hamiltonian dynamics that choose their own length, after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trajectories {
    /// How many.
    pub count: usize,
    /// Leapfrog steps of one on average: slopes.
    pub leapfrogs: f64,
    /// Doublings of one on average.
    pub depth: f64,
    /// How many were ended by their greatest length.
    pub cut: usize,
    /// The least E-BFMI of a chain: [`EnergyInformation`].
    pub energy_information: Option<f64>,
}

impl fmt::Display for Trajectories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} leapfrog steps a trajectory, depth {:.1}", self.leapfrogs, self.depth)?;
        write!(f, ", {} of {} cut", self.cut, self.count)?;
        if let Some(e) = self.energy_information {
            write!(f, ", E-BFMI at least {e:.2}")?;
        }
        Ok(())
    }
}

/// Collects what moves say, beside a probe that looks at what it likes.
pub(crate) struct MoveWatch<'a> {
    inner: &'a mut dyn Probe,
    /// Sum and number of the acceptances of each chain.
    accepted: BTreeMap<u64, (f64, usize)>,
    diverged: usize,
    moves: usize,
    /// The last step size of each chain, and whether it is at a limit.
    sizes: BTreeMap<u64, (f64, bool)>,
    /// Mean of the step sizes that states carry, at the first step after the warm-up and at the last.
    carried: Option<(f64, f64)>,
    /// Sums over trajectories, and the Hamiltonian at the draws of each chain.
    trajectories: Trajectories,
    hamiltonians: BTreeMap<u64, EnergyInformation>,
}

impl<'a> MoveWatch<'a> {
    pub(crate) fn beside(inner: &'a mut dyn Probe) -> Self {
        MoveWatch {
            inner,
            accepted: BTreeMap::new(),
            diverged: 0,
            moves: 0,
            sizes: BTreeMap::new(),
            carried: None,
            trajectories: Trajectories {
                count: 0,
                leapfrogs: 0.0,
                depth: 0.0,
                cut: 0,
                energy_information: None,
            },
            hamiltonians: BTreeMap::new(),
        }
    }

    /// Share of the moves of each chain that were accepted, of the chains that say so.
    pub(crate) fn accepted(&self) -> Vec<f64> {
        self.accepted.values().map(|(sum, n)| sum / *n as f64).collect()
    }

    /// Moves that diverged, of how many, if they say so.
    pub(crate) fn divergences(&self) -> Option<(usize, usize)> {
        (self.moves > 0).then_some((self.diverged, self.moves))
    }

    /// Trajectories that chose their length.
    pub(crate) fn trajectories(&self) -> Option<Trajectories> {
        let all = self.trajectories;
        let n = all.count as f64;
        (all.count > 0).then(|| Trajectories {
            leapfrogs: all.leapfrogs / n,
            depth: all.depth / n,
            energy_information: self.hamiltonians.values().filter_map(|h| h.value()).reduce(f64::min),
            ..all
        })
    }

    /// Step sizes that adapted.
    pub(crate) fn step_sizes(&self) -> Option<StepSizes> {
        StepSizes::of(self.sizes.values().copied())
    }

    /// Mean step size at the first step after the warm-up and at the last, of kernels that adapt.
    pub(crate) fn carried(&self) -> Option<(f64, f64)> {
        self.carried
    }

    /// Says in the log what samples should not be drawn without: step sizes found, and what is wrong with them.
    pub(crate) fn tell(&self) {
        if let Some(s) = self.step_sizes() {
            tracing::info!("{s}");
            if s.at_limit > 0 {
                let advice = ChainAdvice::AtLimit { chains: s.at_limit, of: s.chains, step_size: s.mean };
                tracing::warn!("{advice}");
            }
        }
        let adapted = self.step_sizes().is_some();
        if let Some((diverged, of)) = self.divergences().filter(|d| d.0 > 0) {
            tracing::warn!("{}", ChainAdvice::Divergent { diverged, of, adapted });
        }
        if let Some(t) = self.trajectories() {
            tracing::info!("{t}");
        }
        let stuck = self.accepted.values().filter(|a| a.0 == 0.0).count();
        if stuck > 0 {
            tracing::warn!("{}", ChainAdvice::Rejecting { stuck, of: self.accepted.len(), adapted });
        }
    }

    /// Takes what `step` says, if it is none of a warm-up.
    pub(crate) fn take(&mut self, step: &Stepped) -> ebm_core::Result<()> {
        if step.state.learning == Learning::WarmUp {
            return Ok(());
        }
        let ids = step.state.at.chains.ids();
        // One number a row, or one for all rows.
        let by_row = |name: &str| -> ebm_core::Result<Option<Vec<f64>>> {
            let Some(t) = step.info.get(name) else { return Ok(None) };
            let all = numbers(t)?;
            let row = |k: usize| all.get(k).or(all.last()).copied();
            Ok((0..ids.len()).map(row).collect())
        };
        if let Some(all) = by_row("accepted")? {
            for (id, rate) in ids.iter().zip(all) {
                let sum = self.accepted.entry(*id).or_default();
                *sum = (sum.0 + rate, sum.1 + 1);
            }
        }
        if let Some(all) = by_row("divergent")? {
            self.diverged += all.iter().filter(|d| **d > 0.0).count();
            self.moves += all.len();
        }
        if let (Some(leapfrogs), Some(depths)) = (by_row("leapfrogs")?, by_row("tree_depth")?) {
            self.trajectories.count += leapfrogs.len();
            self.trajectories.leapfrogs += leapfrogs.iter().sum::<f64>();
            self.trajectories.depth += depths.iter().sum::<f64>();
            let cut = by_row("cut")?.unwrap_or_default();
            self.trajectories.cut += cut.iter().filter(|c| **c > 0.0).count();
        }
        for (id, h) in ids.iter().zip(by_row("hamiltonian")?.into_iter().flatten()) {
            self.hamiltonians.entry(*id).or_default().push(h);
        }
        let sizes = by_row("step_size")?;
        if let Some(sizes) = &sizes {
            let limits = by_row("at_limit")?.unwrap_or_else(|| vec![0.0; ids.len()]);
            for ((id, h), limit) in ids.iter().zip(sizes).zip(limits) {
                self.sizes.insert(*id, (*h, limit > 0.0));
            }
        }
        if let Some(mean) = mean(sizes.map_or_else(|| carried(step), Ok)?) {
            self.carried = Some((self.carried.map_or(mean, |s| s.0), mean));
        }
        Ok(())
    }
}

impl Probe for MoveWatch<'_> {
    fn on_step(&mut self, index: usize, step: &Stepped) -> ebm_core::Result<()> {
        self.take(step)?;
        self.inner.on_step(index, step)
    }

    fn wants_steps(&self) -> bool {
        self.inner.wants_steps()
    }
}

/// Step sizes that a state carries, which are those that may adapt.
fn carried(step: &Stepped) -> ebm_core::Result<Vec<f64>> {
    let named = step.state.aux.iter().filter(|(name, _)| name.ends_with("step_size"));
    let all: Vec<Vec<f64>> =
        named.map(|(_, sizes): (_, &Tensor)| numbers(sizes)).collect::<ebm_core::Result<_>>()?;
    Ok(all.concat())
}

fn mean(all: Vec<f64>) -> Option<f64> {
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}
