//! The normalising constant of an energy by annealed importance sampling, from both sides.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use ebm_core::energy::compose::{Part, Sum};
use ebm_core::{Batch, Blind, Chains, EnergyFn, Key, Learning, Stepped, Transition};
use ebm_eval::{LogZ, ais_log_z};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::model::moves::{MoveWatch, StepSizes};
use crate::tensors::numbers;

/// How to anneal.
#[derive(Clone, Copy, Debug)]
pub struct AnnealOptions {
    /// Chains.
    pub chains: usize,
    /// Distributions from the base to the energy, each with one move: β of rung j is `(j/rungs)^power`.
    pub rungs: usize,
    /// 1 for evenly spaced rungs; more puts them nearer to the base.
    pub power: f64,
}

impl Default for AnnealOptions {
    fn default() -> Self {
        AnnealOptions { chains: 64, rungs: 1000, power: 2.0 }
    }
}

/// A bracket on log Z; nats.
#[derive(Clone, Debug, Serialize)]
pub struct AnnealedLogZ {
    /// From the base to the energy: below log Z in expectation.
    pub forward: LogZ,
    /// From samples of the energy to the base: above log Z in expectation, if the samples are exact.
    pub reverse: LogZ,
    /// Share of the moves that were accepted, both ways, if the moves say so.
    pub accepted: Option<f64>,
    /// Moves that diverged, of how many, both ways, if they say so.
    pub divergences: Option<(usize, usize)>,
    /// Step sizes at the first rung from the base and at the last, the energy itself, if they adapt: found by chains that
    /// were given up, and the same in all that is measured.
    pub step_sizes: Option<(StepSizes, StepSizes)>,
    /// Where the forward chains ended.
    #[serde(skip)]
    pub ends: Option<Batch>,
}

/// `log Z = log ∫ exp(−E(x)) dx` of `energy` (Neal 2001), with a bracket from chains the other way (Grosse, Ghahramani, Adams
/// 2015, "Sandwiching the marginal likelihood using bidirectional Monte Carlo").
///
/// The path is `(1 − β) E₀ + β E`, one of `moves` at each rung, which must leave `exp(−E)` of the energy it is given as it
/// is (MALA, HMC, a mixture of such; not cold Langevin), and keep the chains where the base lives. `base` is an energy with a known density
/// ([`EnergyFn::density`]) from which the forward chains start. The reverse chains start on `samples` of the energy, or, without any, on the ends of the
/// forward chains after a hundred more moves: then the upper side is a bound only as far as these are samples.
///
/// Moves that adapt step sizes do so on chains of their own that walk up first and are given up; what they had at a rung is
/// fixed at that rung both ways, so that the weights are unbiased.
///
/// # Errors
/// If `base` has no known density, fewer than three chains or no rungs are asked for, or energy or moves fail.
pub fn annealed_log_z(
    base: &Arc<dyn EnergyFn>,
    energy: &Arc<dyn EnergyFn>,
    moves: &dyn Transition,
    samples: Option<&Batch>,
    options: &AnnealOptions,
    key: Key,
) -> Result<AnnealedLogZ> {
    let Some(density) = base.density() else {
        return Err(Error::invalid(
            "base",
            "",
            "an energy with a known density that can be drawn from, such as `gaussian` or `uniform`",
        ));
    };
    if options.rungs == 0 {
        return Err(Error::invalid("rungs", 0, "at least 1"));
    }
    if !(options.power > 0.0 && options.power.is_finite()) {
        return Err(Error::invalid("power", options.power, "a positive number"));
    }
    let mut path = Path { base, energy, moves, options, learnt: Vec::new() };
    let chains = Chains::range(0, options.chains);
    let from_base = |key: Key| -> Result<Batch> { Ok(Batch::new(density.draw(&chains, key)?)?) };
    let start = from_base(key.at("base"))?;
    // E₀ + log p is −log Z₀ at every point.
    let log_p = numbers(&density.log_density(&start)?)?;
    let e = numbers(&base.energy(&start)?)?;
    let (Some(log_p), Some(e)) = (log_p.first(), e.first()) else {
        return Err(Error::invalid("chains", 0, "at least 3"));
    };
    let log_z_base = -(e + log_p);
    if !moves.carried().is_empty() {
        path.learnt = path.learn(from_base(key.at("learn").at("base"))?, key.at("learn"))?;
    }
    let mut blind = Blind;
    let mut watch = MoveWatch::beside(&mut blind);
    let (ends, weights) = path.walk(start, true, key.at("forward"), &mut watch)?;
    let last = watch.step_sizes();
    let forward = ais_log_z(&weights, log_z_base)?;
    let back = match samples {
        Some(samples) => samples.clone(),
        None => path.settled(ends.clone(), key.at("settle"))?,
    };
    let (_, weights) = path.walk(back, false, key.at("reverse"), &mut watch)?;
    // The reverse weights have the mean Z₀/Z.
    let down = ais_log_z(&weights, 0.0)?;
    let reverse = LogZ {
        log_z: log_z_base - down.log_z,
        interval: (log_z_base - down.interval.1, log_z_base - down.interval.0),
        ..down
    };
    let accepted = watch.accepted();
    Ok(AnnealedLogZ {
        forward,
        reverse,
        accepted: (!accepted.is_empty()).then(|| accepted.iter().sum::<f64>() / accepted.len() as f64),
        divergences: watch.divergences(),
        // The way back ends at the first rung.
        step_sizes: watch.step_sizes().zip(last),
        ends: Some(ends),
    })
}

/// Moves at the first rung in which step sizes are found before they follow the rungs, and at the energy before the way back.
const SETTLING: usize = 100;

/// Step sizes and whatever else moves carry, by name.
type Carried = BTreeMap<String, Tensor>;

struct Path<'a> {
    base: &'a Arc<dyn EnergyFn>,
    energy: &'a Arc<dyn EnergyFn>,
    moves: &'a dyn Transition,
    options: &'a AnnealOptions,
    /// What moves carry at each rung, from the first above the base on; empty if they carry nothing.
    learnt: Vec<Carried>,
}

impl Path<'_> {
    fn beta(&self, rung: usize) -> f64 {
        (rung as f64 / self.options.rungs as f64).powf(self.options.power)
    }

    /// A move at rung `rung`, the `k`-th of its walk.
    fn step(
        &self,
        at: Batch,
        (rung, k): (usize, usize),
        (carried, learning): (Option<Carried>, Learning),
        key: Key,
    ) -> Result<Stepped> {
        let beta = self.beta(rung);
        let parts = vec![
            Part::new("base", self.base.clone()).weighted(1.0 - beta),
            Part::new("energy", self.energy.clone()).weighted(beta),
        ];
        let energy = Sum::new(parts)?;
        let mut state = self.moves.init(&energy, at, key.at("init"))?;
        if let Some(carried) = carried {
            state.aux = carried;
        }
        (state.step, state.of, state.learning) = (k, self.options.rungs, learning);
        Ok(self.moves.step(&energy, &state, key.at("move"))?)
    }

    /// Walks up from `start` to learn what moves carry at each rung: step sizes are found at the first one, and go on from rung
    /// to rung.
    fn learn(&self, start: Batch, key: Key) -> Result<Vec<Carried>> {
        let names = self.moves.carried();
        let (mut at, mut carried, mut all) = (start, None, Vec::with_capacity(self.options.rungs));
        for k in 0..SETTLING {
            let stepped = self.step(at, (1, 0), (carried, Learning::WarmUp), key.at("settle").at(k))?;
            at = stepped.state.at;
            carried = Some(stepped.state.aux);
        }
        for k in 0..self.options.rungs {
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
    fn settled(&self, mut at: Batch, key: Key) -> Result<Batch> {
        let rungs = self.options.rungs;
        for k in 0..SETTLING {
            let carried = self.learnt.last().cloned();
            at = self.step(at, (rungs, 0), (carried, Learning::Done), key.at(k))?.state.at;
        }
        Ok(at)
    }

    /// Walks up or down; the ends and the log weights.
    fn walk(&self, start: Batch, up: bool, key: Key, watch: &mut MoveWatch<'_>) -> Result<(Batch, Vec<f64>)> {
        let rungs = self.options.rungs;
        let mut weights = vec![0.0; start.len()];
        let mut at = start;
        for k in 0..rungs {
            // Upwards weigh, then move at the new rung; downwards move at the old one, then weigh: each is the other reversed.
            let (from, to) = if up { (k, k + 1) } else { (rungs - k, rungs - k - 1) };
            if up {
                self.weigh(&at, from, to, &mut weights)?;
            }
            let rung = if up { to } else { from };
            let carried = self.learnt.get(rung - 1).cloned();
            let stepped = self.step(at, (rung, k), (carried, Learning::Done), key.at(k))?;
            watch.take(&stepped)?;
            at = stepped.state.at;
            if !up {
                self.weigh(&at, from, to, &mut weights)?;
            }
        }
        Ok((at, weights))
    }

    /// Adds the logarithm of the ratio of the densities of rung `to` and rung `from`.
    fn weigh(&self, at: &Batch, from: usize, to: usize, weights: &mut [f64]) -> Result<()> {
        let (e, base) = (numbers(&self.energy.energy(at)?)?, numbers(&self.base.energy(at)?)?);
        let rise = self.beta(to) - self.beta(from);
        for ((w, e), base) in weights.iter_mut().zip(e).zip(base) {
            *w -= rise * (e - base);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use candle_core::{DType, Device};
    use ebm_core::{BuildCx, EnergyConfig, TransitionConfig};
    use ebm_plugins as _;

    use super::*;

    fn energy(shape: &[usize], text: &str) -> Arc<dyn EnergyFn> {
        let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
        let mut cx = BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(0));
        config.build(&mut cx).unwrap()
    }

    fn moves(shape: &[usize], text: &str) -> Box<dyn Transition> {
        let config: Box<dyn TransitionConfig> = toml::from_str(text).unwrap();
        let mut cx = BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(0));
        config.build(&mut cx).unwrap()
    }

    /// Known log Z − estimate, in standard errors, must be small; the bracket must hold the truth.
    fn brackets(shape: &[usize], target: &str, base: &str, step: &str, options: AnnealOptions) {
        let (base, target) = (energy(shape, base), energy(shape, target));
        let density = target.density().unwrap();
        let exact =
            Batch::new(density.draw(&Chains::range(0, options.chains), Key::root(9)).unwrap()).unwrap();
        let log_p = numbers(&density.log_density(&exact).unwrap()).unwrap()[0];
        let truth = -(numbers(&target.energy(&exact).unwrap()).unwrap()[0] + log_p);
        let moves = moves(shape, step);
        let found =
            annealed_log_z(&base, &target, moves.as_ref(), Some(&exact), &options, Key::root(1)).unwrap();
        // Four standard errors: one in 16,000 seeds would miss; the seed is fixed, so it is missed always or never.
        for side in [&found.forward, &found.reverse] {
            assert!(side.se < 0.3, "{found:?}");
            assert!((side.log_z - truth).abs() < 4.0 * side.se.max(1e-6), "truth {truth}: {found:?}");
        }
        assert!(found.forward.interval.0 < truth && truth < found.reverse.interval.1, "{truth}: {found:?}");
    }

    const OPTIONS: AnnealOptions = AnnealOptions { chains: 200, rungs: 100, power: 2.0 };

    #[test]
    fn a_normal_density_and_a_mixture_have_their_constants() {
        let step = "kind = \"mala\"\nstep_size = 0.2";
        brackets(
            &[3],
            "kind = \"gaussian\"\nsd = 0.5\nmean = [1.0, -1.0, 0.5]",
            "kind = \"gaussian\"\nsd = 1.5",
            step,
            OPTIONS,
        );
        let step = "kind = \"hmc\"\nstep_size = 0.15\nleapfrogs = 5";
        brackets(&[2], "kind = \"grid25\"", "kind = \"gaussian\"\nsd = 4.0", step, OPTIONS);
    }

    #[test]
    fn a_cube_is_a_base_for_samples_with_a_range() {
        let target = "kind = \"gaussian\"\nsd = 0.1\nmean = [0.5, 0.5]";
        let step = "kind = \"mala\"\nstep_size = 0.003\nrange = [0.0, 1.0]";
        // The target's mass outside of the cube is 1e-6.
        brackets(&[2], target, "kind = \"uniform\"", step, OPTIONS);
    }

    /// Step sizes that begin forty times too small: found by chains that are given up, and the weights are those of fixed kernels.
    #[test]
    fn step_sizes_are_learnt_apart_from_the_weights() {
        for per_chain in [false, true] {
            let step = format!(
                "kind = \"mala\"\nstep_size = 0.01\ntarget_acceptance = 0.65\nadapt_rate = 0.5\nper_chain = {per_chain}"
            );
            let (base, target) =
                ("kind = \"gaussian\"\nsd = 2.0", "kind = \"gaussian\"\nsd = 0.5\nmean = [1.0, -1.0]");
            brackets(&[2], target, base, &step, OPTIONS);
            let (base, target, moves) = (energy(&[2], base), energy(&[2], target), moves(&[2], &step));
            let found = annealed_log_z(&base, &target, moves.as_ref(), None, &OPTIONS, Key::root(2)).unwrap();
            let (first, last) = found.step_sizes.unwrap();
            // Variance 4 at the base, a quarter at the energy; half the acceptance of 0.65 is met where h is of the variance's order.
            assert!(first.mean > 2.0 * last.mean && last.mean > 0.05, "{first:?} {last:?}");
            assert_eq!(found.divergences, Some((0, 2 * 100 * 200)));
            // A common size is met closely; sizes of single chains jitter by the square root of the rate.
            assert!((found.accepted.unwrap() - 0.65).abs() < 0.15, "{found:?}");
        }
    }

    #[test]
    fn without_samples_the_ends_start_the_way_back_and_a_base_must_be_known() {
        let (base, target) =
            (energy(&[2], "kind = \"gaussian\""), energy(&[2], "kind = \"gaussian\"\nsd = 2.0"));
        let moves = moves(&[2], "kind = \"mala\"\nstep_size = 0.5");
        let run = |base: &Arc<dyn EnergyFn>, options| {
            annealed_log_z(base, &target, moves.as_ref(), None, &options, Key::root(3))
        };
        let found = run(&base, OPTIONS).unwrap();
        let truth = (std::f64::consts::TAU * 4.0).ln();
        // The way back starts near the target only: a tenth is twice what either side deviates by here.
        assert!((found.reverse.log_z - truth).abs() < 0.1 && found.accepted.unwrap() > 0.5, "{found:?}");
        let unknown = energy(&[2], "kind = \"mlp\"\nhidden = [4]");
        assert!(run(&unknown, OPTIONS).unwrap_err().to_string().contains("known density"));
        assert!(
            run(&base, AnnealOptions { rungs: 0, ..OPTIONS }).unwrap_err().to_string().contains("rungs 0")
        );
        assert!(run(&base, AnnealOptions { chains: 0, ..OPTIONS }).is_err());
    }
}
