//! The plain program: some steps of one transition.

use std::collections::BTreeMap;

use candle_core::Tensor;
use ebm_core::{
    Batch, BuildCx, ChainState, DrawRequest, Drawn, EnergyFn, Error, Key, Link, Param, Result, RowProgram,
    RowStep, Sampler, SamplerConfig, Sensitivity, StepInfo, Trail, Transition, TransitionConfig,
    catalogue::Family, operators, register,
};
use serde::{Deserialize, Serialize};

use crate::langevin::{link, noise, saturated};

/// `steps` steps of `transition`; step `k` runs under `key.at(k)`.
///
/// Where every step touches each row alone by one gradient step, nobody watches and at most the
/// last link is asked for, the energy's engine or the device may run the program as a whole
/// ([`operators::walk`]); the result is that of the plain loop to rounding.
///
/// Entries of the transition's state that it names as carried (adapted step sizes) are read from
/// the request's memory at the start and written back at the end. A memory entry `bank`
/// `(M, ...)`, if there, is shown to the transition and not written back: reference samples for
/// [`crate::DifferenceJump`].
pub struct Chain {
    transition: std::sync::Arc<dyn Transition>,
    steps: usize,
}

/// Name of the reference samples in a program's memory and in a chain's state.
pub(crate) const BANK: &str = "bank";

impl Chain {
    /// `steps` steps of `transition`.
    pub fn new(transition: Box<dyn Transition>, steps: usize) -> Self {
        Chain { transition: transition.into(), steps }
    }

    pub(crate) fn with(&self, steps: usize) -> Chain {
        Chain { transition: self.transition.clone(), steps }
    }

    fn program(&self) -> Option<RowProgram> {
        let steps: Option<Vec<RowStep>> =
            (0..self.steps).map(|k| self.transition.row_step(k, self.steps)).collect();
        steps.filter(|s| !s.is_empty()).map(|steps| RowProgram { steps })
    }

    /// The program as a whole, where the engine can.
    fn walk(
        &self,
        e: &dyn EnergyFn,
        from: &Batch,
        key: Key,
        request: &DrawRequest<'_>,
    ) -> Result<Option<Drawn>> {
        if request.trail > 1 || request.probe.wants_steps() {
            return Ok(None);
        }
        let Some(program) = self.program() else { return Ok(None) };
        let Some(walked) = operators::walk(e, from, &program, key)? else { return Ok(None) };
        let last = program.steps.len() - 1;
        let step = program.steps[last];
        let mut trail = Trail::default();
        if request.trail > 0 {
            let rows = request.trail_rows.unwrap_or(from.len()).min(from.len());
            let hat = from.with_x(walked.hat).narrow(0, rows)?;
            // Noise after the move decides which clamps hold, so it is drawn again.
            let after = if step.noise_first { None } else { noise(&step, &hat, key.at(last))? };
            trail.push(link(&step, &hat, &walked.grad.narrow(0, 0, rows)?, after.as_ref())?.1, 1);
        }
        let mut info = StepInfo::new();
        info.insert("energy", walked.energy.get(last)?);
        info.insert("grad_square", walked.grad_square.get(last)?);
        if let Some(c) = step.clamp {
            info.insert("saturated", saturated(&walked.x, c)?);
        }
        let mut state = ChainState::new(from.with_x(walked.x));
        (state.step, state.of) = (self.steps, self.steps);
        let mut drawn = Drawn::new(state, trail, info);
        drawn.curves.insert("energy", walked.energy.mean(1)?);
        drawn.curves.insert("grad_square", walked.grad_square.mean(1)?);
        Ok(Some(drawn))
    }
}

/// Rows `0..rows` of a link.
pub(crate) fn narrow(link: Link, rows: usize) -> Result<Link> {
    Ok(match link {
        Link::Descent { at, scale, pass, active } if at.len() > rows => Link::Descent {
            at: at.narrow(0, rows)?,
            scale,
            pass: pass.map(|p| p.narrow(0, 0, rows)).transpose()?,
            active: active.map(|a| a.narrow(0, 0, rows)).transpose()?,
        },
        Link::Sequence(parts) => {
            Link::Sequence(parts.into_iter().map(|part| narrow(part, rows)).collect::<Result<_>>()?)
        }
        other => other,
    })
}

/// Collects the means of every diagnostic at every step.
#[derive(Default)]
pub(crate) struct Curves(BTreeMap<&'static str, Vec<Tensor>>);

impl Curves {
    pub(crate) fn add(&mut self, info: &StepInfo) -> Result<()> {
        for (name, v) in info {
            self.0.entry(name).or_default().push(v.mean_all()?);
        }
        Ok(())
    }

    /// `(K,)` for each diagnostic (fewer where a transition has it only at some steps).
    pub(crate) fn stack(self) -> Result<BTreeMap<&'static str, Tensor>> {
        self.0.into_iter().map(|(name, v)| Ok((name, Tensor::stack(&v, 0)?))).collect()
    }
}

impl Sampler for Chain {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        if let Some(drawn) = self.walk(e, &from, key, request)? {
            return Ok(drawn);
        }
        let rows = request.trail_rows.unwrap_or(from.len());
        let mut state = self.transition.init(e, from, key.at("init"))?;
        state.of = self.steps.max(1);
        let carried = self.transition.carried();
        for name in carried.iter().map(String::as_str).chain([BANK]) {
            if let Some(t) = request.memory.get(name) {
                state.aux.insert(name.to_string(), t.clone());
            }
        }
        let mut info = StepInfo::new();
        let mut trail = Trail::default();
        let mut curves = Curves::default();
        for k in 0..self.steps {
            let stepped = self.transition.step(e, &state, key.at(k))?;
            request.probe.on_step(k, &stepped)?;
            curves.add(&stepped.info)?;
            if request.trail > 0 {
                trail.push(narrow(stepped.link, rows)?, request.trail);
            }
            (state, info) = (stepped.state, stepped.info);
        }
        for name in carried {
            if let Some(t) = state.aux.get(&name) {
                request.memory.insert(name, t.clone());
            }
        }
        state.aux.remove(BANK);
        let mut drawn = Drawn::new(state, trail, info);
        drawn.curves = curves.stack()?;
        Ok(drawn)
    }

    fn couples_chains(&self) -> bool {
        self.transition.couples_chains()
    }

    fn sensitivity(&self) -> Sensitivity {
        self.transition.sensitivity()
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        Box::new(self.with(steps))
    }

    fn name(&self) -> String {
        format!("chain of {} steps of {}", self.steps, self.transition.name())
    }
}

/// Settings of `chain`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Number of steps K.
    pub steps: usize,
    /// The step.
    pub transition: Box<dyn TransitionConfig>,
}

#[typetag::serde(name = "chain")]
impl SamplerConfig for ChainConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        if self.steps == 0 {
            return Err(Error::config("chain.steps", "is 0, must be at least 1"));
        }
        Ok(Box::new(Chain::new(cx.within("transition", |cx| self.transition.build(cx))?, self.steps)))
    }
}

register! {
    SamplerConfig, "chain" => ChainConfig,
    summary: "a number of steps of one transition",
    source: "this project",
    example: r#"steps = 40
transition = { kind = "langevin", step_size = 100.0, noise = 0.001, clamp = [0.0, 1.0] }"#,
    params: [
        Param::int("steps", "number of steps").at_least(1.0).at_most(1e7),
        Param::part("transition", Family::Transition, "the step"),
    ],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Blind, Chains, EnergySpec, ParamSet, Slope, Stepped, ThetaGrad, Walked, WeightFn};
    use ebm_testkit::{relative_gap, toy};

    use super::*;
    use crate::{Langevin, Mala};

    /// An engine that walks by the plain loop, to test the program around it.
    struct Walker<E>(E);

    impl<E: EnergyFn> EnergyFn for Walker<E> {
        fn spec(&self) -> &EnergySpec {
            self.0.spec()
        }
        fn params(&self) -> &ParamSet {
            self.0.params()
        }
        fn terms(&self, at: &Batch) -> Result<Tensor> {
            self.0.terms(at)
        }
        fn slope(&self, at: &Batch) -> Result<Slope> {
            self.0.slope(at)
        }
        fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
            self.0.grad_theta(at, w)
        }
        fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
            self.0.grad_theta_slope(at, v)
        }
        fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
            self.0.hvp(at, v)
        }
        fn walk(&self, at: &Batch, program: &RowProgram, key: Key) -> Result<Option<Walked>> {
            let (mut x, mut hat, mut grad) = (at.x.clone(), at.x.clone(), at.x.clone());
            let (mut energy, mut square) = (Vec::new(), Vec::new());
            for (k, s) in program.steps.iter().enumerate() {
                let eps = key.at(k).normal(&at.chains, at.sample_shape(), x.dtype(), x.device())?;
                let eps = eps.affine(s.noise, 0.0)?;
                hat = if s.noise_first { (&x + &eps)? } else { x };
                let slope = self.0.slope(&at.with_x(hat.clone()))?;
                grad = slope.grad;
                let mut d = grad.affine(s.step_size, 0.0)?;
                if let Some(m) = s.move_limit {
                    d = d.clamp(-m, m)?;
                }
                x = (&hat - d)?;
                if !s.noise_first {
                    x = (x + eps)?;
                }
                if let Some((lo, hi)) = s.clamp {
                    x = x.clamp(lo, hi)?;
                }
                energy.push(slope.energy);
                square.push(grad.sqr()?.flatten_from(1)?.mean(1)?);
            }
            let (energy, grad_square) = (Tensor::stack(&energy, 0)?, Tensor::stack(&square, 0)?);
            Ok(Some(Walked { x, hat, grad, energy, grad_square }))
        }
    }

    fn start() -> Batch {
        let x = Key::root(8).normal(&Chains::range(3, 6), &[3], DType::F64, &Device::Cpu).unwrap();
        Batch::new(x).unwrap().with_chains(Chains::range(3, 6))
    }

    #[test]
    fn a_walk_equals_the_loop_in_all_it_returns() {
        let kinds = [
            Langevin::new(0.3, 0.7).clamped(-0.8, 0.9).limited(0.25),
            Langevin::new(0.3, 0.7).clamped(-0.8, 0.9).noise_last(),
            Langevin::new(0.3, 0.2).clamped(-0.8, 0.9).limited(0.25).noise_last(),
            Langevin::unadjusted(0.1, 1.0),
        ];
        for kind in kinds {
            let chain = Chain::new(Box::new(kind), 7);
            let draw = |e: &dyn EnergyFn| {
                let (mut blind, mut memory) = (Blind, BTreeMap::new());
                let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(1, Some(4));
                chain.draw(e, start(), Key::root(6), &mut request).unwrap()
            };
            let walked = draw(&Walker(toy::mlp(3, 5, 2, 4).unwrap()));
            let looped = draw(&toy::mlp(3, 5, 2, 4).unwrap());
            // Same operations in the same order: equal to the last bit.
            let same = |a: &Tensor, b: &Tensor| assert_eq!(relative_gap(a, b).unwrap(), 0.0);
            same(&walked.last.at.x, &looped.last.at.x);
            assert_eq!((walked.last.step, walked.last.of), (looped.last.step, looped.last.of));
            let (keys, other): (Vec<_>, Vec<_>) =
                (walked.info.keys().collect(), looped.info.keys().collect());
            assert_eq!(keys, other);
            looped.info.iter().for_each(|(k, v)| same(&walked.info[k], v));
            walked.curves.iter().for_each(|(k, v)| same(v, &looped.curves[k]));
            let u = Tensor::ones((4, 3), DType::F64, &Device::Cpu).unwrap();
            let e = toy::mlp(3, 5, 2, 4).unwrap();
            let (a, b) = (walked.trail.pull_back(&e, &u).unwrap(), looped.trail.pull_back(&e, &u).unwrap());
            assert_eq!((a.len(), b.len()), (1, 1));
            same(&a[0].v, &b[0].v);
            same(&a[0].at.x, &b[0].at.x);
            assert_eq!(a[0].at.chains.ids(), [3, 4, 5, 6]);
        }
    }

    #[test]
    fn probes_and_long_trails_see_every_step() {
        let e = Walker(toy::mlp(3, 5, 2, 4).unwrap());
        let chain = Chain::new(Box::new(Langevin::new(0.3, 0.2)), 5);
        let mut seen = Vec::new();
        let mut probe = |k: usize, s: &Stepped| {
            seen.push((k, s.state.step));
            Ok(())
        };
        let mut memory = BTreeMap::new();
        let mut request = DrawRequest::new(&mut probe, &mut memory).with_trail(usize::MAX, None);
        let drawn = chain.draw(&e, start(), Key::root(6), &mut request).unwrap();
        assert_eq!(drawn.trail.len(), 5);
        assert_eq!(drawn.curves["energy"].dims(), [5]);
        assert_eq!(seen, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
    }

    /// The derivative of ⟨u, x_K⟩ in θ through a trail of `n` links, against differences of the
    /// whole chain for n = K, and against differences of the last step alone for n = 1.
    #[test]
    fn the_trail_is_the_derivative_of_the_chain() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let chain = Chain::new(Box::new(Langevin::new(0.3, 0.2).clamped(-0.8, 0.9).limited(0.2)), 4);
        let u = Key::root(1).normal(&Chains::range(0, 6), &[3], DType::F64, &Device::Cpu).unwrap();
        let draw = |n| {
            let (mut blind, mut memory) = (Blind, BTreeMap::new());
            let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(n, None);
            chain.draw(&e, start(), Key::root(6), &mut request).unwrap()
        };
        let drawn = draw(4);
        assert_eq!(drawn.trail.len(), 4);
        let mut got = ThetaGrad { terms: u.clone(), grads: BTreeMap::new() };
        for d in drawn.trail.pull_back(&e, &u).unwrap() {
            got.accumulate(&e.grad_theta_slope(&d.at, &d.v).unwrap().grads, 1.0).unwrap();
        }
        let want = ebm_testkit::theta_difference(&e, 1e-5, || {
            Ok((draw(0).last.at.x * &u)?.sum_all()?.to_scalar::<f64>()?)
        })
        .unwrap();
        for (name, g) in &got.grads {
            // Truncation of the difference: h² times third derivatives of order 10.
            assert!(relative_gap(g, &want[name]).unwrap() < 1e-6, "{name}");
        }
        // The last link holds some coordinates, lets others pass, and limits some moves.
        let Link::Descent { pass, active, .. } = Langevin::new(0.3, 0.2)
            .clamped(-0.8, 0.9)
            .limited(0.2)
            .step(&e, &drawn.last, Key::root(3))
            .unwrap()
            .link
        else {
            panic!("a descent")
        };
        for mask in [pass.unwrap(), active.unwrap()] {
            let on = mask.sum_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(on > 0.0 && on < 18.0, "{on} of 18");
        }
    }

    #[test]
    fn carried_entries_go_through_memory() {
        let e = toy::bowl(3, 1.0).unwrap();
        let chain = Chain::new(Box::new(Mala::new(0.01).adapting(0.6, 0.5)), 3);
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        chain.draw(&e, start(), Key::root(6), &mut DrawRequest::new(&mut blind, &mut memory)).unwrap();
        let once = memory["mala.step_size"].to_vec1::<f64>().unwrap()[0];
        chain.draw(&e, start(), Key::root(6), &mut DrawRequest::new(&mut blind, &mut memory)).unwrap();
        let twice = memory["mala.step_size"].to_vec1::<f64>().unwrap()[0];
        // Tiny steps are nearly all accepted: log h grows by 0.5·(1 − 0.6) a step, six times.
        assert!(once > 0.01 && (twice / 0.01).ln() > 1.1, "{once}, {twice}");
    }
}
