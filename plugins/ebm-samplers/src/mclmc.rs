//! Microcanonical Langevin: motion at one energy, whose direction is slowly forgotten.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Key, Learning, Link, Result, Sensitivity, Settings, Slope,
    Stepped, Transition, TransitionConfig, host, plugin, row_mean,
};

use crate::kit::places::{Places, numbers, samples};
use crate::kit::{Factor, Metric, MetricKind};

/// Microcanonical Langevin Monte Carlo (Robnik, De Luca, Silverstein, Seljak 2023): positions move with speed 1 in a direction `u` that
/// turns towards lower energies and is partly forgotten over a length `L`,
///
/// ```text
/// x ← x + ε u;   u ← (u + e(sinh δ + (cosh δ − 1) e·u)) / (cosh δ + e·u sinh δ),   e = −g/|g|, δ = ε|g|/(D − 1)
/// u ← (u + ν z)/|u + ν z|,   ν = √((e^{2ε/L} − 1)/D)
/// ```
///
/// half a turn, a step, half a turn: one slope a step. No move is rejected: what it gains over NUTS in many dimensions it pays for with a
/// bias, which goes with `energy_error`, the mean square error of the energy a step and dimension. In a warm-up ε is found that has
/// this error (published algorithm: decaying averages of `ε⁶/error`) and the metric is learnt as for `nuts`; L is `length·√D`,
/// the width of the target in that metric. Moves that diverge are taken back with their direction turned round.
///
/// Diagnostics: `energy` and `grad_square` at the new state, in measures also `divergent`, `step_size` and `energy_error`.
#[derive(Clone, Debug, Settings)]
pub struct Mclmc {
    /// Step size ε to begin with, in the metric; absent: a quarter of √D.
    #[setting(above = 0.0)]
    pub step_size: Option<f64>,
    /// Mean square error of the energy a step and dimension towards which ε moves in a warm-up; the bias falls with it.
    #[setting(default = 5e-4, above = 0.0)]
    pub energy_error: f64,
    /// L over √D: how far a direction is remembered.
    #[setting(default = 1.0, above = 0.0)]
    pub length: f64,
    /// Coordinates in which chains move, as a warm-up learns them.
    #[setting(default = MetricKind::Diagonal)]
    pub metric: MetricKind,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
}

const DIRECTION: &str = "mclmc.direction";
const METRIC: &str = "mclmc.metric";
/// Step size, decaying sums of weighted `ε⁻⁶·error` and of weights, largest step size.
const STEP: &str = "mclmc.step";

/// Share of the averages that a step keeps: that of 150 effective steps.
const KEEP: f64 = 149.0 / 151.0;
/// How far in its logarithm an error may be from the one asked for to count in full.
const TRUST: f64 = 6.0 * 1.5;
/// Error of the energy a dimension beyond which a move has diverged.
const DIVERGENT: f64 = 1000.0;

/// What is known of the step size.
#[derive(Clone, Copy, Debug)]
struct Step {
    size: f64,
    errors: f64,
    weights: f64,
    most: f64,
}

impl Step {
    /// Takes the errors of a step of this size, squared and over what is asked for; none of a move that diverged.
    fn learn(&mut self, errors: &[Option<f64>]) {
        if errors.iter().any(Option::is_none) {
            self.most = 0.8 * self.size;
        }
        let weighed =
            errors.iter().flatten().map(|e| e + 1e-8).map(|e| (e, (-0.5 * (e.ln() / TRUST).powi(2)).exp()));
        let (mut errors, mut weights) = (0.0, 0.0);
        for (error, weight) in weighed {
            errors += weight * error / self.size.powi(6);
            weights += weight;
        }
        self.errors = KEEP * self.errors + errors;
        self.weights = KEEP * self.weights + weights;
        if self.errors > 0.0 && self.weights > 0.0 {
            self.size = (self.errors / self.weights).powf(-1.0 / 6.0);
        }
        self.size = self.size.min(self.most);
    }
}

/// Turns `u` by the slope `g` over a step `h`; how much the kinetic energy rises, `(D − 1) log(cosh δ + e·u sinh δ)`.
fn turn(u: &mut [f64], g: &[f64], h: f64) -> f64 {
    let (d, norm) = (u.len() as f64, g.iter().map(|g| g * g).sum::<f64>().sqrt());
    if norm == 0.0 {
        return 0.0;
    }
    let along: f64 = -u.iter().zip(g).map(|(u, g)| u * g).sum::<f64>() / norm;
    let delta = h * norm / (d - 1.0);
    // Without large exponentials: numerator and denominator times 2e^{−δ}.
    let zeta = (-delta).exp();
    let push = (1.0 - zeta) * (1.0 + zeta + along * (1.0 - zeta));
    u.iter_mut().zip(g).for_each(|(u, g)| *u = 2.0 * zeta * *u - push * g / norm);
    let length = u.iter().map(|u| u * u).sum::<f64>().sqrt();
    u.iter_mut().for_each(|u| *u /= length);
    let rise = 1.0 + along + (1.0 - along) * zeta * zeta;
    (d - 1.0) * (delta - std::f64::consts::LN_2 + rise.ln())
}

/// `(u + νz)` of length 1.
fn refresh(u: &mut [f64], z: &[f32], nu: f64) {
    u.iter_mut().zip(z).for_each(|(u, z)| *u += nu * f64::from(*z));
    let length = u.iter().map(|u| u * u).sum::<f64>().sqrt();
    if length > 0.0 {
        u.iter_mut().for_each(|u| *u /= length);
    }
}

impl Mclmc {
    fn learnt(&self) -> Metric {
        Metric::new(self.metric, false, METRIC.into())
    }

    fn step_of(&self, state: &ChainState, width: usize) -> Result<Step> {
        let root = (width as f64).sqrt();
        let size = self.step_size.unwrap_or(0.25 * root);
        let fresh = Step { size, errors: 0.0, weights: 0.0, most: f64::INFINITY };
        let Some(stored) = state.aux.get(STEP).map(host::numbers).transpose()? else { return Ok(fresh) };
        let [size, errors, weights, most] = stored[..] else { return Ok(fresh) };
        Ok(Step { size, errors, weights, most })
    }

    fn slopes(&self, factor: &Factor, grads: &[f64], width: usize) -> Vec<f64> {
        let mut out = vec![0.0; grads.len()];
        for (row, (g, out)) in grads.chunks(width).zip(out.chunks_mut(width)).enumerate() {
            factor.down(row, g, out);
            out.iter_mut().for_each(|g| *g /= self.temperature);
        }
        out
    }
}

impl Transition for Mclmc {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, here) = (&state.at, state.slope(e)?);
        let (rows, metric) = (at.len(), self.learnt());
        let (mut xs, energies, grads) =
            (host::numbers(&at.x)?, host::numbers(&here.energy)?, host::numbers(&here.grad)?);
        let width = xs.len() / rows.max(1);
        let (factor, mut step) = (metric.of(state)?, self.step_of(state, width)?);
        let (h, d) = (step.size, width as f64);
        let noise = |key: Key| {
            let mut z = vec![0f32; rows * width];
            key.fill_normal_rows(at.chains.ids(), width.max(1), &mut z);
            z
        };
        let mut us = match state.aux.get(DIRECTION) {
            Some(u) if u.elem_count() == xs.len() => host::numbers(u)?,
            _ => {
                let mut us = vec![0.0; xs.len()];
                let z = noise(key.at("direction"));
                us.chunks_mut(width.max(1)).zip(z.chunks(width.max(1))).for_each(|(u, z)| refresh(u, z, 1.0));
                us
            }
        };
        let (old_xs, old_us) = (xs.clone(), us.clone());
        let mut rises = vec![0.0; rows];
        let slopes = self.slopes(&factor, &grads, width);
        let mut moved = vec![0.0; width];
        for (row, rise) in rises.iter_mut().enumerate() {
            let of = row * width..(row + 1) * width;
            *rise += turn(&mut us[of.clone()], &slopes[of.clone()], 0.5 * h);
            factor.up(row, &us[of.clone()], &mut moved);
            xs[of].iter_mut().zip(&moved).for_each(|(x, u)| *x += h * u);
        }
        let all: Vec<usize> = (0..rows).collect();
        let (mut there, mut grads_there) = Places::new(e, at).slopes(&all, xs.clone())?;
        let slopes = self.slopes(&factor, &grads_there, width);
        let nu = (((2.0 * h / (self.length * d.sqrt())).exp() - 1.0) / d).sqrt();
        let z = noise(key.at("noise"));
        let mut errors = Vec::with_capacity(rows);
        for (row, rise) in rises.into_iter().enumerate() {
            let of = row * width..(row + 1) * width;
            let rise = rise + turn(&mut us[of.clone()], &slopes[of.clone()], 0.5 * h);
            let error = (there[row] - energies[row]) / self.temperature + rise;
            // False for NaN, too.
            if error.abs() <= DIVERGENT * d {
                refresh(&mut us[of.clone()], &z[of], nu);
                errors.push(Some(error));
                continue;
            }
            errors.push(None);
            xs[of.clone()].copy_from_slice(&old_xs[of.clone()]);
            grads_there[of.clone()].copy_from_slice(&grads[of.clone()]);
            there[row] = energies[row];
            us[of.clone()].iter_mut().zip(&old_us[of]).for_each(|(u, old)| *u = -old);
        }
        let grad = samples(grads_there, at)?;
        let energy = numbers(rows, |r| there[r])?.to_dtype(here.energy.dtype())?.to_device(at.device())?;
        let mut next = state.advance(samples(xs, at)?);
        let square = row_mean(&grad.sqr()?)?;
        next.cache = Some(Slope { energy: energy.clone(), grad });
        next.aux.insert(DIRECTION.into(), Tensor::from_vec(us, (rows, width), &Device::Cpu)?);
        if state.learning == Learning::WarmUp {
            let over: Vec<Option<f64>> =
                errors.iter().map(|e| e.map(|e| e * e / (d * self.energy_error))).collect();
            step.learn(&over);
            if metric.learn(&mut next)?.contains(&true) {
                next.aux.remove(STEP);
            } else {
                let stored = [step.size, step.errors, step.weights, step.most];
                next.aux.insert(STEP.into(), Tensor::new(&stored, &Device::Cpu)?);
            }
        }
        let stepped = Stepped::new(next, Link::Cut).with("energy", energy).with("grad_square", square);
        if state.learning == Learning::Follow {
            return Ok(stepped);
        }
        Ok(stepped
            .with("divergent", numbers(rows, |r| f64::from(u8::from(errors[r].is_none())))?)
            .with("energy_error", numbers(rows, |r| errors[r].map_or(0.0, |e| e * e / d))?)
            .with("step_size", numbers(rows, |_| h)?))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let mut new = self.clone();
        new.step_size = new.step_size.map(|h| h * by.step_size);
        new.temperature *= by.noise * by.noise;
        Some(Box::new(new))
    }

    fn carried(&self) -> Vec<String> {
        let mut all = self.learnt().carried();
        all.push(STEP.into());
        all
    }

    fn name(&self) -> String {
        format!("mclmc (energy error {}, length {} √D)", self.energy_error, self.length)
    }
}

#[plugin(
    "mclmc",
    summary = "microcanonical Langevin: motion at one energy without rejections, step size by the error of the energy",
    source = "Robnik, De Luca, Silverstein, Seljak 2023 (arXiv 2212.08549)",
    example = "energy_error = 5e-4"
)]
impl TransitionConfig for Mclmc {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        if cx.sample_len() < 2 {
            let message = "is mclmc, which turns a direction: samples have one number, wanted at least 2; take \"underdamped\"";
            return Err(cx.refuse("kind", message));
        }
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use ebm_core::candle::DType;
    use ebm_core::{Batch, Chains, Draws, EnergyConfig, Keep};
    use ebm_energies_density::{EightSchools, IllConditionedGaussian};
    use ebm_testkit::check_transition;

    use super::*;
    use crate::Chain;

    fn mclmc() -> Mclmc {
        let metric = MetricKind::Diagonal;
        Mclmc { step_size: None, energy_error: 5e-4, length: 1.0, metric, temperature: 1.0 }
    }

    fn build(config: &dyn EnergyConfig, d: usize) -> Arc<dyn EnergyFn> {
        config.build(&mut BuildCx::new(&[d], DType::F64, &Device::Cpu, Key::root(0))).unwrap()
    }

    fn normal(n: usize, d: usize) -> Batch {
        let x = Key::root(77).normal(&Chains::range(0, n), &[d], DType::F64, &Device::Cpu).unwrap();
        Batch::new(x).unwrap()
    }

    /// In three dimensions, from the formulas with sinh and cosh.
    #[test]
    fn a_turn_is_that_of_the_formula_and_comes_back() {
        let (u, g, h) = ([0.6, 0.0, 0.8], [1.0, -2.0, 0.5], 0.7);
        let norm = 5.25f64.sqrt();
        let delta = h * norm / 2.0;
        let e = g.map(|g: f64| -g / norm);
        let along: f64 = u.iter().zip(e).map(|(u, e)| u * e).sum();
        let below = delta.cosh() + along * delta.sinh();
        let mut turned = u;
        let rise = turn(&mut turned, &g, h);
        for i in 0..3 {
            let want = (u[i] + e[i] * (delta.sinh() + along * (delta.cosh() - 1.0))) / below;
            assert!((turned[i] - want).abs() < 1e-14);
        }
        assert!((rise - 2.0 * below.ln()).abs() < 1e-14);
        // Turned round, the same slope leads back.
        let mut back = turned.map(|u| -u);
        let fall = turn(&mut back, &g, h);
        assert!(back.iter().zip(u).all(|(b, u)| (b + u).abs() < 1e-14) && (fall + rise).abs() < 1e-13);
    }

    /// A turned Gaussian in 50 dimensions and eight schools: means and second moments to the bias that the error asked for leaves.
    #[test]
    fn targets_have_their_moments_to_a_small_bias() {
        let gauss = build(&IllConditionedGaussian { condition: 20.0 }, 50);
        let schools = build(&EightSchools { centred: false }, 10);
        for (e, d) in [(gauss, 50), (schools, 10)] {
            let keep = Keep::from(1500).after(800);
            let draws =
                Draws::of(&Chain::new(Box::new(mclmc()), 1), e.as_ref(), normal(16, d), keep, Key::root(3))
                    .unwrap();
            let density = e.density().unwrap();
            let (mean, variance) = (density.mean().unwrap(), density.variance().unwrap());
            for i in 0..d {
                let x = draws.coordinate(i).unwrap();
                let m = x.iter().sum::<f64>() / x.len() as f64;
                let v = x.iter().map(|x| (x - mean[i]).powi(2)).sum::<f64>() / x.len() as f64;
                // Hundreds of effective draws, and a bias of some hundredths of the variance.
                assert!((m - mean[i]).abs() < 0.2 * variance[i].sqrt(), "{d}, {i}: {m} {}", mean[i]);
                assert!((v / variance[i] - 1.0).abs() < 0.25, "{d}, {i}: {}", v / variance[i]);
            }
            let error = draws.numbers("energy_error").unwrap();
            let error = error.iter().sum::<f64>() / error.len() as f64;
            assert!((1e-4..2.5e-3).contains(&error), "{error}");
            let sizes = draws.numbers("step_size").unwrap();
            assert!(sizes.iter().all(|h| *h == sizes[0]), "the step size is fixed after the warm-up");
        }
    }

    #[test]
    fn rows_do_not_meet_and_moves_that_diverge_are_taken_back() {
        let e = ebm_testkit::toy::mlp(3, 5, 2, 4).unwrap();
        check_transition(&mclmc(), &e, &normal(5, 3), true).unwrap();
        let e = ebm_core::Opaque::new("half-line", &[2], ebm_core::ParamSet::default(), |_, x, _| {
            Ok((x - x.log()?)?.sum_keepdim(1)?)
        });
        let at = Batch::new(Tensor::ones((50, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let (mut state, mut diverged) = (ChainState::new(at), 0.0);
        for k in 0..40u64 {
            state.learning = Learning::Done;
            let stepped = Mclmc { step_size: Some(1.0), ..mclmc() }.step(&e, &state, Key::root(k)).unwrap();
            diverged += stepped.info["divergent"].sum_all().unwrap().to_scalar::<f64>().unwrap();
            state = stepped.state;
        }
        assert!(diverged > 0.0);
        assert!(state.at.x.min_all().unwrap().to_scalar::<f64>().unwrap() > 0.0);
    }
}
