//! Several transitions, one after the other, as one step.

use ebm_core::{
    Adjust, Batch, BuildCx, ChainState, EnergyFn, Key, Law, Link, Result, Sensitivity, Settings, StepInfo,
    Stepped, Transition, TransitionConfig, plugin,
};

use crate::children::Children;

/// The transitions in their order. If each leaves a law invariant, so does their sequence; it need
/// not be reversible.
///
/// It counts as one step: a trail of one link goes through all of them, each with what its own link holds fixed. Of diagnostics with one
/// name the later one stands.
pub struct Then(Children);

impl Then {
    /// `transitions` in their order.
    pub fn new(transitions: Vec<Box<dyn Transition>>) -> Self {
        Then(Children::new(transitions))
    }
}

impl Transition for Then {
    fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        self.0.init(e, at, key)
    }

    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let mut now = state.clone();
        let mut links = Vec::new();
        let mut info = StepInfo::new();
        for i in 0..self.0.all().len() {
            let out = self.0.step(i, e, &now, key.at(i))?;
            now = out.state;
            // Schedules see one step, not one for each part.
            now.step = state.step;
            links.push(out.link);
            info.extend(out.info);
        }
        now.step = state.step + 1;
        let mut out = Stepped::new(now, Link::Sequence(links));
        out.info = info;
        Ok(out)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.0.fits(e)
    }

    fn couples_chains(&self) -> bool {
        self.0.couples_chains()
    }

    fn needs_reference(&self) -> bool {
        self.0.needs_reference()
    }

    fn law(&self) -> Law {
        Law::all(self.0.all().iter().map(|t| t.law()))
    }

    fn sensitivity(&self) -> Sensitivity {
        self.0.sensitivity()
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.0.bounds()
    }

    fn needs_energy(&self) -> bool {
        self.0.needs_energy()
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let all: Option<Vec<_>> = self.0.all().iter().map(|t| t.adjusted(by)).collect();
        Some(Box::new(Then::new(all?)))
    }

    fn carried(&self) -> Vec<String> {
        self.0.carried()
    }

    fn name(&self) -> String {
        format!("then ({})", self.0.names())
    }
}

/// Settings of `then`.
#[derive(Debug, Settings)]
pub struct ThenConfig {
    /// The transitions in their order.
    pub transitions: Vec<Box<dyn TransitionConfig>>,
}

#[plugin(
    "then",
    summary = "several transitions, one after the other, as one step",
    source = "this project",
    example = r#"transitions = [{ kind = "gaussian-noise", scale = 0.1 }, { kind = "uniform-restart", probability = 0.01 }]"#
)]
impl TransitionConfig for ThenConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        if self.transitions.is_empty() {
            return Err(cx.refuse("transitions", "is empty, give at least one transition"));
        }
        Ok(Box::new(Then::new(cx.each("transitions", &self.transitions, |t, cx| t.build(cx))?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::candle::Tensor;
    use ebm_core::{Blind, DrawRequest, Sampler};
    use ebm_samplers::{Chain, DifferenceJump, Hmc, Langevin, Mala, Pairs};
    use ebm_testkit::{check_transition, check_variance, run, toy};

    use super::*;
    use crate::{GaussianNoise, Mix, Repeat};

    #[test]
    fn a_part_that_couples_chains_is_known_at_the_top() {
        for (pairs, want) in [(Pairs::Chains, true), (Pairs::Bank, false)] {
            let jump =
                || -> Box<dyn Transition> { Box::new(Repeat::new(Box::new(DifferenceJump::new(pairs)), 2)) };
            let wrapped: [Box<dyn Transition>; 3] = [
                jump(),
                Box::new(Then::new(vec![Box::new(Hmc::new(0.1, 2)), jump()])),
                Box::new(Mix::new(vec![(1.0, Box::new(Mala::new(0.1))), (1.0, jump())]).unwrap()),
            ];
            for t in wrapped {
                assert_eq!(t.couples_chains(), want, "{}", t.name());
            }
        }
    }

    #[test]
    fn links_of_all_parts_count() {
        let e = toy::mlp(3, 4, 2, 1).unwrap();
        let at = run(&GaussianNoise::new(0.5), &e, 4, 1, Key::root(2)).unwrap().at;
        let parts = || -> Vec<Box<dyn Transition>> {
            vec![
                Box::new(Langevin::new(0.3, 0.1).clamped(-0.6, 0.6)),
                Box::new(GaussianNoise::new(0.1)),
                Box::new(Repeat::new(Box::new(Langevin::new(0.2, 0.05)), 2)),
                Box::new(Mala::new(0.3)),
            ]
        };
        check_transition(&Then::new(parts()), &e, &at, true).unwrap();
        let mut with_hmc = parts();
        with_hmc.push(Box::new(Hmc::new(0.1, 2)));
        let Sensitivity::Unknown(part) = Then::new(with_hmc).sensitivity() else { panic!("hmc cannot tell") };
        assert!(part.starts_with("hmc"), "{part}");
    }

    /// Moves and jumps of the recipes on the plane: caches must not outlive the point they belong to.
    #[test]
    fn moves_and_jumps_in_turn_keep_the_target() {
        let e = toy::bowl(2, 4.0).unwrap();
        let bank = run(&GaussianNoise::new(0.7), &e, 300, 1, Key::root(9)).unwrap().at.x;
        let all = Then::new(vec![
            Box::new(Repeat::new(Box::new(Mala::new(0.1)), 2)),
            Box::new(DifferenceJump::new(Pairs::Bank).times(2)),
        ]);
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let at = run(&GaussianNoise::new(3.0), &e, 6000, 1, Key::root(4)).unwrap().at;
        let chain = Chain::new(Box::new(all), 25);
        let mut request = DrawRequest::new(&mut blind, &mut memory).with_reference(Some(&bank));
        let drawn = chain.draw(&e, at, Key::root(5), &mut request).unwrap();
        check_variance(&drawn.last.at.x, 0.25, 4.0).unwrap();
    }

    #[test]
    fn two_adapting_parts_keep_their_own_step_sizes() {
        let e = toy::bowl(2, 1.0).unwrap();
        let both = Then::new(vec![
            Box::new(Mala::new(0.1).adapting(0.9, 0.5)),
            Box::new(Mala::new(0.1).adapting(0.3, 0.5)),
        ]);
        let kept = ["step_size", "step_size.warm_up"];
        let names: Vec<String> =
            (0..2).flat_map(|part| kept.map(|what| format!("{part}/mala.{what}"))).collect();
        assert_eq!(both.carried(), names);
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let at = run(&GaussianNoise::new(1.0), &e, 200, 1, Key::root(4)).unwrap().at;
        let chain = Chain::new(Box::new(both), 20);
        chain.draw(&e, at, Key::root(5), &mut DrawRequest::new(&mut blind, &mut memory)).unwrap();
        let size = |t: &Tensor| t.to_vec1::<f64>().unwrap()[0];
        // Acceptance 0.3 allows far larger steps than 0.9.
        assert!(size(&memory["1/mala.step_size"]) > 2.0 * size(&memory["0/mala.step_size"]));
    }
}
