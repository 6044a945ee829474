//! The Metropolis-adjusted Langevin algorithm: a Langevin proposal with an exact accept test.

use ebm_core::candle::Tensor;
use ebm_core::{
    Adjust, Batch, BuildCx, ChainState, EnergyFn, Key, Law, Link, Result, Sensitivity, Settings, Slope,
    Stepped, Transition, TransitionConfig, plugin, row_sum,
};

mod by_rows;

use by_rows::Move;

use crate::kit::places::row_slopes;
use crate::kit::rows::{self, End};
use crate::kit::{AdaptSettings, Decision, Frame, MetricKind, Sizes, StepSize, Tuning, diagnosed, outside};

/// `x′ = x − h∇E(x) + √(2hT)·ε`, taken with probability `min(1, exp(−ΔE/T)·q(x|x′)/q(x′|x))`
/// (Besag 1994; Roberts, Tweedie 1996). Leaves `exp(−E/T)` invariant for every step size.
///
/// One slope a step: that of the end is cached for the next step. The step size may move towards
/// a target acceptance (0.574 is optimal in many dimensions: Roberts, Rosenthal 1998); it is common to
/// all chains, or each chain has its own ([`Mala::per_chain`]), and carried from program to program.
/// The link to θ holds noise, accept decisions and step sizes fixed, also step sizes that adapt, although these depend on θ
/// through the acceptance of earlier steps; it differentiates the gradient. Rejected rows are active nowhere.
///
/// Diagnostics: `energy` and `grad_square` at the new state, `accepted`; in measures also `divergent` and `at_limit`.
#[derive(Clone, Debug)]
pub struct Mala {
    tuning: Tuning,
    temperature: f64,
    range: Option<(f64, f64)>,
    /// Factor of the step size by a schedule, on top of the adapted one.
    factor: f64,
}

const STEP: &str = "mala.step_size";

impl Mala {
    /// Fixed step size h, temperature 1, no bounds.
    pub fn new(step_size: f64) -> Self {
        let tuning = StepSize::fixed(STEP, step_size).into();
        Mala { tuning, temperature: 1.0, range: None, factor: 1.0 }
    }

    /// The same at temperature T.
    #[must_use]
    pub fn at_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// The same on the box `[low, high]`: proposals outside are rejected.
    #[must_use]
    pub fn inside(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// The same with the step size moving towards acceptance `target`, by `rate` in its logarithm a step.
    #[must_use]
    pub fn adapting(mut self, target: f64, rate: f64) -> Self {
        self.tuning = StepSize::configured(STEP, self.tuning.step.initial, Some(target), rate, None).into();
        self
    }

    /// After [`Mala::adapting`]: the same in a metric that a warm-up learns, which makes it preconditioned Langevin.
    #[must_use]
    pub fn in_metric(mut self, kind: MetricKind) -> Self {
        self.tuning = self.tuning.in_metric(kind);
        self
    }

    /// After [`Mala::adapting`]: each chain has a step size of its own, by its identity. For chains that go
    /// on for long at different scales; in training, where chains come and go, a common one learns faster.
    #[must_use]
    pub fn per_chain(mut self) -> Self {
        self.tuning.step.per_chain = true;
        self.tuning.metric.per_chain = true;
        self
    }

    /// The proposal, or, in a metric, the move to it in its coordinates.
    fn propose(
        &self,
        (x, here): (&Tensor, &Slope),
        frame: &Frame,
        h: &Sizes,
        (noise, at): (Key, &Batch),
    ) -> Result<Tensor> {
        let sigma = h.map(|h| (2.0 * h * self.temperature).sqrt());
        let from = if let Frame::Unit = frame { x.clone() } else { x.zeros_like()? };
        let grad = frame.down(&here.grad)?;
        if let Some(proposal) = rows::langevin(&from, &grad, h, &sigma, noise, &at.chains)? {
            return Ok(proposal);
        }
        let eps = noise.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        Ok(((from - h.times(&grad)?)? + sigma.times(&eps)?)?)
    }

    /// A move of tensors, in the metric of `frame`.
    fn by_tensors(
        &self,
        e: &dyn EnergyFn,
        (at, here): (&Batch, &Slope),
        (frame, h): (&Frame, &Sizes),
        noise: Key,
    ) -> Result<Move> {
        let step = self.propose((&at.x, here), frame, h, (noise, at))?;
        let unit = matches!(frame, Frame::Unit);
        let (from, to, x) = match unit {
            true => (at.x.clone(), step.clone(), step),
            // In the coordinates of the metric, from where the chain is.
            false => (at.x.zeros_like()?, step.clone(), (&at.x + frame.up(&step)?)?),
        };
        let there = e.slope(&at.with_x(x.clone()))?;
        let inner = |s: &Slope| -> Result<Slope> {
            Ok(Slope { energy: s.energy.clone(), grad: frame.down(&s.grad)? })
        };
        let boxed = self.range.filter(|_| unit);
        let mut log_ratio = self.log_ratio_of((&from, &inner(here)?), (&to, &inner(&there)?), h, boxed)?;
        if let Some(barrier) = outside(&x, self.range.filter(|_| !unit))? {
            log_ratio = (log_ratio + barrier)?;
        }
        Ok(Move { x, there, log_ratio })
    }

    /// Logarithm of the Metropolis ratio of a move, `(B,)`.
    fn log_ratio_of(
        &self,
        (x, here): (&Tensor, &Slope),
        (y, there): (&Tensor, &Slope),
        h: &Sizes,
        range: Option<(f64, f64)>,
    ) -> Result<Tensor> {
        if let Some(r) =
            rows::langevin_ratio(End::of(x, here), End::of(y, there), h, self.temperature, range)?
        {
            return Ok(r);
        }
        let forth = self.log_proposal(x, &here.grad, y, h)?;
        let back = self.log_proposal(y, &there.grad, x, h)?;
        let gain = (&here.energy - &there.energy)?.affine(1.0 / self.temperature, 0.0)?;
        let log_ratio = ((gain + back)? - forth)?;
        Ok(match outside(y, range)? {
            Some(barrier) => (log_ratio + barrier)?,
            None => log_ratio,
        })
    }

    /// `log q(to|from)` without its constant: `−|to − from + h∇E(from)|²/(4hT)`.
    fn log_proposal(&self, from: &Tensor, grad: &Tensor, to: &Tensor, h: &Sizes) -> Result<Tensor> {
        let gap = ((to - from)? + h.times(grad)?)?;
        h.map(|h| -1.0 / (4.0 * h * self.temperature)).times(&row_sum(&gap.sqr()?)?)
    }
}

impl Transition for Mala {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, here) = (&state.at, state.slope(e)?);
        let t = self.temperature;
        // A Langevin step of size h is a leapfrog step of √(2hT).
        let as_leapfrog = (|eps: f64| eps * eps / (2.0 * t), |h: f64| (2.0 * h * t).sqrt());
        let tuned = self.tuning.of((e, key.at("search")), state, &here, t, as_leapfrog)?;
        let (frame, h) = (tuned.factor.frame(&at.x)?, tuned.sizes.map(|h| h * self.factor));
        let noise = key.at("noise");
        let Move { x: proposal, there, log_ratio } = match row_slopes(e, at)? {
            Some(rows) => {
                by_rows::propose(rows.as_ref(), (state, &here), (&tuned.factor, &h), (t, self.range), noise)?
            }
            None => self.by_tensors(e, (at, &here), (&frame, &h), noise)?,
        };
        let decision = Decision::draw(&log_ratio, &at.chains, key.at("accept"))?;
        let active = decision.factor(&at.x)?;
        // Step sizes of rows stand in the factor of rows.
        let (scale, active) = match h {
            Sizes::Common(h) => (h, active),
            Sizes::Rows(_) => (1.0, h.times(&active)?),
        };
        let link = match &frame {
            Frame::Unit => Link::Descent { at: at.clone(), scale, pass: None, active: Some(active) },
            Frame::Scale(s) => {
                let active = active.broadcast_mul(&s.sqr()?)?.broadcast_as(at.x.shape())?.contiguous()?;
                Link::Descent { at: at.clone(), scale, pass: None, active: Some(active) }
            }
            _ => Link::Cut,
        };
        let chance = decision.chance.clone();
        let mut stepped = decision.step(state, &here, (&proposal, &there), link)?;
        self.tuning.learn(&mut stepped.state, &tuned, &chance)?;
        diagnosed(stepped, state, (&self.tuning.step, &tuned.sizes), &log_ratio, &there.energy)
    }

    fn law(&self) -> Law {
        Law::Reversible { temperature: self.temperature }
    }

    fn sensitivity(&self) -> Sensitivity {
        // One number a coordinate cannot tell a move that mixes them.
        match self.tuning.metric.kind.mixes() {
            true => Sensitivity::Unknown(self.name()),
            false => Sensitivity::Exact,
        }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.range
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        // Noise stands for the temperature: σ² = 2hT.
        let mut new = self.clone();
        new.factor *= by.step_size;
        new.temperature *= by.noise * by.noise;
        Some(Box::new(new))
    }

    fn carried(&self) -> Vec<String> {
        self.tuning.carried()
    }

    fn name(&self) -> String {
        format!("mala (step size {}, temperature {})", self.tuning.step.initial, self.temperature)
    }
}

/// Settings of `mala`.
#[derive(Debug, Clone, Settings)]
pub struct MalaConfig {
    /// Step size h, or its start if it adapts.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
    /// Box outside of which proposals are rejected.
    pub range: Option<[f64; 2]>,
    /// How the step size moves, and in which metric.
    #[setting(flatten)]
    pub adapt: AdaptSettings,
}

#[plugin(
    "mala",
    summary = "Langevin with a Metropolis test: the exact target at every step size",
    source = "Besag 1994; Roberts, Tweedie 1996",
    example = "step_size = 0.005\ntarget_acceptance = 0.65"
)]
impl TransitionConfig for MalaConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let tuning = self.adapt.tuning(cx, STEP, self.step_size)?;
        let range = cx.interval("range", self.range)?;
        Ok(Box::new(Mala { tuning, temperature: self.temperature, range, factor: 1.0 }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::candle::{DType, Device};
    use ebm_core::{Blind, Chains, DrawRequest, Sampler};
    use ebm_testkit::{check_transition, check_variance, moments, run, toy};

    use super::*;
    use crate::Chain;

    /// At hλ = 0.8 the unadjusted chain would be 67 % too wide; the test makes it exact.
    #[test]
    fn the_variance_is_that_of_the_target() {
        let (lambda, t) = (2.0, 0.5);
        let mala = Mala::new(0.4).at_temperature(t);
        let x = run(&mala, &toy::bowl(1, lambda).unwrap(), 8_000, 40, Key::root(3)).unwrap().at.x;
        check_variance(&x, t / lambda, 4.0).unwrap();
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let x = Key::root(8).normal(&Chains::range(0, 7), &[3], DType::F64, &Device::Cpu).unwrap();
        // A step of which some rows are rejected, so that the link's mask is put to work.
        check_transition(&Mala::new(0.9), &e, &Batch::new(x).unwrap(), true).unwrap();
    }

    #[test]
    fn the_box_holds_and_the_law_is_the_truncated_one() {
        // A flat energy on [−1, 2]: uniform, mean ½, variance 9/12.
        let mala = Mala::new(0.3).inside(-1.0, 2.0);
        let x = run(&mala, &toy::bowl(1, 0.0).unwrap(), 10_000, 60, Key::root(5)).unwrap().at.x;
        let m = moments(&x).unwrap();
        assert!((m.mean - 0.5).abs() < 4.0 * (0.75f64 / 10_000.0).sqrt(), "{m:?}");
        // Standard error of a uniform variance: σ²·sqrt(0.8/n).
        assert!((m.variance / 0.75 - 1.0).abs() < 4.0 * (0.8f64 / 10_000.0).sqrt(), "{m:?}");
    }

    #[test]
    fn the_step_size_finds_the_target_acceptance_and_is_carried() {
        let chain = Chain::new(Box::new(Mala::new(1e-3).adapting(0.65, 0.3)), 50);
        let mut memory = BTreeMap::new();
        let e = toy::bowl(4, 1.0).unwrap();
        let mut at = Batch::new(Tensor::zeros((500, 4), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let mut rate = 0.0;
        for round in 0..4u64 {
            let mut blind = Blind;
            let drawn =
                chain.draw(&e, at, Key::root(round), &mut DrawRequest::new(&mut blind, &mut memory)).unwrap();
            rate = drawn.info["accepted"].mean_all().unwrap().to_scalar::<f64>().unwrap();
            at = drawn.last.at;
        }
        // Four standard errors of 500 decisions at 0.65.
        assert!((rate - 0.65).abs() < 4.0 * (0.65f64 * 0.35 / 500.0).sqrt(), "acceptance {rate}");
        assert!(memory[STEP].to_vec1::<f64>().unwrap()[0] > 0.1);
    }

    #[test]
    fn states_of_infinite_energy_are_never_entered() {
        let e = ebm_core::Opaque::new("half-line", &[1], ebm_core::ParamSet::default(), |_, x, _| {
            // log x is not a number for x < 0.
            Ok((x - x.log()?)?)
        });
        let at = Batch::new(Tensor::ones((200, 1), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let mut state = ChainState::new(at);
        for k in 0..20u64 {
            state = Mala::new(0.5).step(&e, &state, Key::root(1).at(k)).unwrap().state;
        }
        assert!(state.at.x.min_all().unwrap().to_scalar::<f64>().unwrap() > 0.0);
    }
}
