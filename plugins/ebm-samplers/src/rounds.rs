//! The generation program: blocks of steps with transitions in between.

use ebm_core::{
    Batch, BuildCx, ChainState, DrawRequest, Drawn, EnergyFn, Key, Link, Result, Sampler, SamplerConfig,
    Sensitivity, Settings, Trail, Transition, TransitionConfig, common_bounds, one_step, plugin,
};

use crate::Chain;
use crate::kit::Curves;

/// `rounds` blocks of `steps` steps; after each block that another follows, the transitions
/// `between` (augmentation, noise); then `refine` steps; then `finish` once.
///
/// The trail goes back through blocks and what stands between them; a transition between counts with
/// the step that follows it, and a last one without a gradient, such as noise or an augmentation, with the step before. What transitions between and at the end learn (adapted step sizes) is kept apart from what the
/// blocks learn.
pub struct Rounds {
    block: Chain,
    rounds: usize,
    refine: usize,
    between: std::sync::Arc<[Box<dyn Transition>]>,
    finish: Option<std::sync::Arc<dyn Transition>>,
}

impl Rounds {
    /// `rounds` blocks of `steps` steps of `transition` with `between` in between.
    pub fn new(
        transition: Box<dyn Transition>,
        rounds: usize,
        steps: usize,
        between: Vec<Box<dyn Transition>>,
    ) -> Self {
        Rounds {
            block: Chain::new(transition, steps),
            rounds,
            refine: 0,
            between: between.into(),
            finish: None,
        }
    }

    /// The same with `steps` more steps after the last round, which is then followed by `between` too.
    #[must_use]
    pub fn refined(mut self, steps: usize) -> Self {
        self.refine = steps;
        self
    }

    /// The same with one step of `transition` at the very end.
    #[must_use]
    pub fn finished(mut self, transition: Box<dyn Transition>) -> Self {
        self.finish = Some(transition.into());
        self
    }

    /// The transitions besides that of the blocks.
    fn others(&self) -> impl Iterator<Item = &dyn Transition> {
        self.between.iter().map(Box::as_ref).chain(self.finish.as_deref())
    }
}

impl Sampler for Rounds {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let blocks: Vec<usize> = std::iter::repeat_n(self.block.steps(), self.rounds)
            .chain((self.refine > 0).then_some(self.refine))
            .collect();
        let mut at = from;
        let mut done = 0;
        let mut curves = Curves::default();
        let mut last: Option<Drawn> = None;
        let rows = request.trail_rows.unwrap_or(at.len());
        let mut trail = Trail::default();
        // Steps without a gradient do not count.
        let counted = |steps: usize| if self.block.sensitivity(1) == Sensitivity::Passes { 0 } else { steps };
        for (r, steps) in blocks.iter().enumerate() {
            // What the steps after this block leave of the trail.
            let left = request.trail.saturating_sub(counted(blocks[r + 1..].iter().sum::<usize>()));
            let mut before = Vec::new();
            if r > 0 {
                for (i, t) in self.between.iter().enumerate() {
                    let key = key.at("between").at(r).at(i);
                    // Annealed transitions see how far the program has come.
                    let place = (r, blocks.len());
                    let stepped = request.part(done, 0, |inner| {
                        let scope = format!("between{i}");
                        inner.scoped(&scope, |own| one_step(t.as_ref(), e, at, key, place, own))
                    })?;
                    at = stepped.state.at;
                    before.push(stepped.link.narrow(rows)?);
                }
            }
            let key = key.at("round").at(r);
            let mut drawn = request
                .part(done, left.min(*steps), |inner| self.block.with(*steps).draw(e, at, key, inner))?;
            let mut mine = std::mem::take(&mut drawn.trail).into_links();
            if left > 0 && left >= counted(*steps) {
                before.extend((!mine.is_empty()).then(|| mine.remove(0)));
                mine.insert(0, Link::Sequence(before));
            }
            mine.into_iter().for_each(|link| trail.push(link, request.trail));
            curves.add(&drawn);
            at = drawn.last.at.clone();
            done += steps;
            last = Some(drawn);
        }
        let mut drawn = last
            .unwrap_or_else(|| Drawn::new(ChainState::new(at), Trail::default(), ebm_core::StepInfo::new()));
        if let Some(t) = &self.finish {
            let (at, key) = (drawn.last.at.clone(), key.at("finish"));
            let stepped = request.part(done, 0, |inner| {
                inner.scoped("finish", |own| one_step(t.as_ref(), e, at, key, (0, 1), own))
            })?;
            if request.trail > 0 {
                trail.push(stepped.link.narrow(rows)?, request.trail);
            }
            drawn.last = stepped.state;
        }
        drawn.trail = trail;
        drawn.curves = curves.joined()?;
        Ok(drawn)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.block.fits(e)?;
        self.others().try_for_each(|t| t.fits(e))
    }

    fn couples_chains(&self) -> bool {
        self.block.couples_chains() || self.others().any(Transition::couples_chains)
    }

    fn needs_reference(&self) -> bool {
        self.block.needs_reference() || self.others().any(Transition::needs_reference)
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        if trail == 0 {
            return Sensitivity::Exact;
        }
        let finish = self.finish.as_deref().map(Transition::sensitivity);
        let left = trail - usize::from(finish == Some(Sensitivity::Exact));
        let last = if self.refine > 0 { self.refine } else { self.block.steps() };
        let block = (left > 0).then(|| self.block.sensitivity(left));
        // What stands between counts with the first step of the block after it.
        let several = self.rounds + usize::from(self.refine > 0) > 1;
        let reached = several && left > 0 && (left >= last || block == Some(Sensitivity::Passes));
        let between = self.between.iter().filter(|_| reached).map(|t| t.sensitivity());
        Sensitivity::all(between.chain(block).chain(finish))
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        common_bounds(self.others().map(Transition::bounds).chain([self.block.bounds()]))
    }

    fn steps(&self) -> usize {
        self.rounds.saturating_mul(self.block.steps()).saturating_add(self.refine)
    }

    /// As many whole rounds as fit beside the refinement; the rest of the steps goes there.
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        let rounds = steps.saturating_sub(self.refine) / self.block.steps().max(1);
        Box::new(Rounds {
            block: self.block.with(self.block.steps()),
            rounds,
            refine: steps - rounds * self.block.steps(),
            between: self.between.clone(),
            finish: self.finish.clone(),
        })
    }

    fn name(&self) -> String {
        format!("{} rounds of {}, then {} steps", self.rounds, self.block.name(), self.refine)
    }
}

/// Settings of `rounds`.
#[derive(Debug, Settings)]
pub struct RoundsConfig {
    /// Number of blocks.
    #[setting(at_least = 1, at_most = 1e6)]
    pub rounds: usize,
    /// Steps of a block.
    #[setting(at_least = 1, at_most = 10_000_000, unit = "steps")]
    pub steps: usize,
    /// The step.
    pub transition: Box<dyn TransitionConfig>,
    /// Transitions after each block that another follows.
    #[setting(default)]
    pub between: Vec<Box<dyn TransitionConfig>>,
    /// Steps after the last round, without transitions.
    #[setting(default = 0, at_least = 0, at_most = 10_000_000, unit = "steps")]
    pub refine: usize,
    /// One step at the very end, such as a jump without noise.
    pub finish: Option<Box<dyn TransitionConfig>>,
}

#[plugin(
    "rounds",
    summary = "blocks of steps with transitions in between, then a refinement (generation)",
    source = "Du, Li, Tenenbaum, Mordatch 2021; published evaluation programs",
    example = r#"rounds = 20
steps = 15
refine = 120
transition = { kind = "langevin", step_size = 500.0, clamp = [0.0, 1.0] }
between = [{ kind = "langevin", step_size = 1.0, noise = 0.1 }]"#
)]
impl SamplerConfig for RoundsConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        let between = cx.each("between", &self.between, |t, cx| t.build(cx))?;
        let step = self.transition.build_at("transition", cx)?;
        let mut all = Rounds::new(step, self.rounds, self.steps, between).refined(self.refine);
        if let Some(t) = &self.finish {
            all = all.finished(t.build_at("finish", cx)?);
        }
        Ok(Box::new(all))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::candle::{DType, Device, Tensor};
    use ebm_core::{Blind, Stepped};
    use ebm_testkit::toy;

    use super::*;
    use crate::Langevin;

    /// Adds one to every coordinate.
    struct Lift;

    impl Transition for Lift {
        fn step(&self, _: &dyn EnergyFn, state: &ChainState, _: Key) -> Result<Stepped> {
            Ok(Stepped::new(state.advance(state.at.x.affine(1.0, 1.0)?), ebm_core::Link::Identity))
        }
        fn sensitivity(&self) -> Sensitivity {
            Sensitivity::Passes
        }
        fn name(&self) -> String {
            "lift".into()
        }
    }

    fn draw(s: &dyn Sampler) -> (f64, Vec<usize>, usize) {
        let e = toy::bowl(1, 1.0).unwrap();
        let at = Batch::new(Tensor::zeros((1, 1), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let mut seen = Vec::new();
        let mut probe = |k: usize, _: &Stepped| {
            seen.push(k);
            Ok(())
        };
        let mut memory = BTreeMap::new();
        let mut request = DrawRequest::new(&mut probe, &mut memory).with_trail(99, None);
        let drawn = s.draw(&e, at, Key::root(0), &mut request).unwrap();
        let x = drawn.last.at.x.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
        assert_eq!(drawn.curves["energy"].dims(), [s.steps()]);
        (x, seen, drawn.trail.len())
    }

    #[test]
    fn transitions_stand_between_blocks_and_not_at_the_end() {
        // x → x/2 a step; blocks of 1 step; +1 between: 0, 1, ½, 1½, ¾.
        let half = || Box::new(Langevin::new(0.5, 0.0)) as Box<dyn Transition>;
        let plain = Rounds::new(half(), 3, 1, vec![Box::new(Lift)]);
        assert_eq!(draw(&plain), (0.75, vec![0, 1, 2], 3));
        // Refinement of two steps follows a third transition: (¾ + 1)/4.
        let refined = Rounds::new(half(), 3, 1, vec![Box::new(Lift)]).refined(2);
        assert_eq!(draw(&refined), (1.75 / 4.0, vec![0, 1, 2, 3, 4], 5));
        // A last step without a gradient counts with the step before.
        let finished = Rounds::new(half(), 3, 1, vec![]).finished(Box::new(Lift));
        assert_eq!(draw(&finished), (1.0, vec![0, 1, 2], 3));
    }

    /// The gradient of ⟨u, x⟩ in θ through all blocks against differences, and through the last four steps.
    #[test]
    fn the_trail_goes_through_blocks() {
        let e = toy::mlp(2, 4, 1, 3).unwrap();
        let mut r = Rounds::new(Box::new(Langevin::new(0.3, 0.1)), 2, 2, vec![Box::new(Lift)]).refined(1);
        r = r.finished(Box::new(Langevin::new(0.2, 0.0)));
        let start = || Batch::new(Tensor::ones((3, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let u = start().x;
        let draw = |trail: usize| {
            let (mut blind, mut memory) = (Blind, BTreeMap::new());
            let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(trail, None);
            r.draw(&e, start(), Key::root(1), &mut request).unwrap()
        };
        let mut sum = ebm_core::ThetaGrad { terms: u.clone(), grads: BTreeMap::new() };
        for d in draw(usize::MAX).trail.pull_back(&e, &u).unwrap() {
            sum.accumulate(&e.grad_theta_slope(&d.at, &d.v).unwrap().grads, 1.0).unwrap();
        }
        let want = ebm_testkit::theta_difference(&e, 1e-5, || {
            Ok((draw(0).last.at.x * &u)?.sum_all()?.to_scalar::<f64>()?)
        })
        .unwrap();
        for (name, g) in &want {
            // h² times third derivatives of order 10.
            assert!(ebm_testkit::relative_gap(&sum.grads[name], g).unwrap() < 1e-6, "{name}");
        }
        for n in [0, 1, 2, 3, 4, 6] {
            assert_eq!(draw(n).trail.len(), n);
        }
    }

    /// ⟨u, x⟩ through a trail of one link reaches the last step with a gradient, whatever noise comes after it.
    #[test]
    fn a_trail_of_one_link_reaches_through_a_finish_without_a_gradient() {
        let e = toy::mlp(2, 4, 1, 3).unwrap();
        let r = Rounds::new(Box::new(Langevin::new(0.3, 0.1)), 1, 2, vec![]).finished(Box::new(Lift));
        let start = || Batch::new(Tensor::ones((3, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(1, None);
        let drawn = r.draw(&e, start(), Key::root(1), &mut request).unwrap();
        assert_eq!((drawn.trail.len(), drawn.trail.pull_back(&e, &start().x).unwrap().len()), (1, 1));
        assert_eq!(r.sensitivity(1), Sensitivity::Exact);
        // A chain that no gradient moves says so.
        let blind = Rounds::new(Box::new(Lift), 2, 1, vec![]).finished(Box::new(Lift));
        assert_eq!(blind.sensitivity(usize::MAX), Sensitivity::Passes);
    }

    #[test]
    fn another_number_of_steps_keeps_the_refinement() {
        let r = Rounds::new(Box::new(Langevin::new(0.5, 0.0)), 3, 10, vec![]).refined(7);
        for n in [0, 5, 7, 17, 40, 41] {
            assert_eq!(r.with_steps(n).steps(), n);
        }
    }

    #[test]
    fn blocks_have_their_own_noise() {
        let e = toy::bowl(1, 0.0).unwrap();
        let at = Batch::new(Tensor::zeros((1, 1), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let r = Rounds::new(Box::new(Langevin::unadjusted(0.5, 1.0)), 2, 1, vec![]);
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let x = r.draw(&e, at.clone(), Key::root(0), &mut DrawRequest::new(&mut blind, &mut memory)).unwrap();
        let first =
            r.with_steps(1).draw(&e, at, Key::root(0), &mut DrawRequest::new(&mut blind, &mut memory));
        let v = |d: &Drawn| d.last.at.x.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
        assert!((v(&x) - 2.0 * v(&first.unwrap())).abs() > 1e-6);
    }
}
