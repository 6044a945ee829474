//! The plain program: some steps of one transition.

use std::sync::Arc;

use ebm_core::{
    Batch, BuildCx, DrawRequest, Drawn, EnergyFn, Key, Result, Sampler, SamplerConfig, Sensitivity, Settings,
    Transition, TransitionConfig, drive, plugin,
};

/// `steps` steps of `transition`; step `k` runs under `key.at(k)`. The loop is [`drive`].
pub struct Chain {
    transition: Arc<dyn Transition>,
    steps: usize,
}

impl Chain {
    /// `steps` steps of `transition`.
    pub fn new(transition: Box<dyn Transition>, steps: usize) -> Self {
        Chain { transition: transition.into(), steps }
    }

    pub(crate) fn with(&self, steps: usize) -> Chain {
        Chain { transition: self.transition.clone(), steps }
    }
}

impl Sampler for Chain {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        drive(e, from, key, request, self.steps, &[self.transition.as_ref()], &|_| 0)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.transition.fits(e)
    }

    fn couples_chains(&self) -> bool {
        self.transition.couples_chains()
    }

    fn needs_reference(&self) -> bool {
        self.transition.needs_reference()
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        if trail.min(self.steps) == 0 { Sensitivity::Exact } else { self.transition.sensitivity() }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.transition.bounds()
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
#[derive(Debug, Settings)]
pub struct ChainConfig {
    /// Number of steps.
    #[setting(at_least = 1, at_most = 1e7)]
    pub steps: usize,
    /// The step.
    pub transition: Box<dyn TransitionConfig>,
}

#[plugin(
    "chain",
    summary = "a number of steps of one transition",
    source = "this project",
    example = r#"steps = 40
transition = { kind = "langevin", step_size = 100.0, noise = 0.001, clamp = [0.0, 1.0] }"#
)]
impl SamplerConfig for ChainConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(Chain::new(self.transition.build_at("transition", cx)?, self.steps)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::candle::{DType, Device, Tensor};
    use ebm_core::{
        Blind, Chains, EnergySpec, Link, ParamSet, RowProgram, Slope, Stepped, ThetaGrad, Walked, WeightFn,
    };
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
