//! Step size and noise that change along a program.

use ebm_core::{
    Adjust, Batch, BuildCx, ChainState, EnergyFn, Error, Key, Result, RowStep, Sensitivity, Settings,
    Stepped, Transition, TransitionConfig, plugin,
};

/// How a factor goes from start to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Shape {
    /// By equal differences.
    #[default]
    Linear,
    /// By equal ratios; both ends must be positive.
    Geometric,
}

/// At step `k` of `K` the transition with step size and noise times factors that go from the first to
/// the second number with `k/(K − 1)`.
///
/// The published evaluation's noise schedule is `noise = [1.0, 0.0]`; the published training's,
/// σ(K−k−1)/K, is `[(K−1)/K, 0.0]`.
///
/// Its link is that of the transition with the step size of the step, which is held fixed; a step of size 0 has no gradient, and
/// trails reach the step before.
pub struct Anneal {
    inner: Box<dyn Transition>,
    step_size: (f64, f64),
    noise: (f64, f64),
    shape: Shape,
}

impl Anneal {
    /// `inner` under a schedule.
    ///
    /// # Errors
    /// If `inner` has nothing to adjust.
    pub fn new(
        inner: Box<dyn Transition>,
        step_size: (f64, f64),
        noise: (f64, f64),
        shape: Shape,
    ) -> Result<Self> {
        if inner.adjusted(Adjust { step_size: 1.0, noise: 1.0 }).is_none() {
            return Err(Error::capability(
                "anneal",
                "a step size or noise to adjust",
                inner.name(),
                "anneal a transition that has one, such as `langevin`",
            ));
        }
        Ok(Anneal { inner, step_size, noise, shape })
    }

    fn at(&self, index: usize, of: usize) -> Result<Box<dyn Transition>> {
        let t = if of > 1 { index as f64 / (of - 1) as f64 } else { 0.0 };
        let factor = |(start, end): (f64, f64)| match self.shape {
            Shape::Linear => start + (end - start) * t,
            Shape::Geometric => start * (end / start).powf(t),
        };
        let by = Adjust { step_size: factor(self.step_size), noise: factor(self.noise) };
        self.inner.adjusted(by).ok_or_else(|| Error::config("anneal", "the transition cannot be adjusted"))
    }
}

impl Transition for Anneal {
    fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        self.inner.init(e, at, key)
    }

    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        self.at(state.step, state.of)?.step(e, state, key)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.inner.fits(e)
    }

    fn couples_chains(&self) -> bool {
        self.inner.couples_chains()
    }

    fn needs_reference(&self) -> bool {
        self.inner.needs_reference()
    }

    fn sensitivity(&self) -> Sensitivity {
        self.inner.sensitivity()
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.inner.bounds()
    }

    fn needs_energy(&self) -> bool {
        self.inner.needs_energy()
    }

    fn row_step(&self, index: usize, of: usize) -> Option<RowStep> {
        self.at(index, of).ok()?.row_step(index, of)
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let scaled = |(a, b): (f64, f64), f: f64| (a * f, b * f);
        Some(Box::new(Anneal {
            inner: self.inner.adjusted(Adjust { step_size: 1.0, noise: 1.0 })?,
            step_size: scaled(self.step_size, by.step_size),
            noise: scaled(self.noise, by.noise),
            shape: self.shape,
        }))
    }

    fn carried(&self) -> Vec<String> {
        self.inner.carried()
    }

    fn name(&self) -> String {
        format!("anneal of {}", self.inner.name())
    }
}

/// Settings of `anneal`.
#[derive(Debug, Settings)]
pub struct AnnealConfig {
    /// The transition.
    pub transition: Box<dyn TransitionConfig>,
    /// Factors of its step size at the first and the last step.
    #[setting(default = [1.0, 1.0], at_least = 0.0)]
    pub step_size: [f64; 2],
    /// Factors of its noise at the first and the last step.
    #[setting(default = [1.0, 1.0], at_least = 0.0)]
    pub noise: [f64; 2],
    /// Equal differences or equal ratios.
    #[setting(default = Shape::Linear)]
    pub shape: Shape,
}

#[plugin(
    "anneal",
    summary = "step size and noise that change along a program",
    source = "Du, Li, Tenenbaum, Mordatch 2021, published program; Song, Ermon 2019",
    example = r#"transition = { kind = "gaussian-noise", scale = 0.1 }
noise = [1.0, 0.0]"#
)]
impl TransitionConfig for AnnealConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        for (name, ends) in [("step_size", self.step_size), ("noise", self.noise)] {
            if self.shape == Shape::Geometric && ends.contains(&0.0) {
                return Err(cx.refuse(name, format!("is {ends:?}, must be above 0 for a geometric schedule")));
            }
        }
        let pair = |[a, b]: [f64; 2]| (a, b);
        let inner = self.transition.build_at("transition", cx)?;
        let annealed = Anneal::new(inner, pair(self.step_size), pair(self.noise), self.shape);
        Ok(Box::new(annealed.map_err(|e| cx.refuse("transition", e.to_string()))?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::{Blind, DrawRequest, Sampler};
    use ebm_samplers::{Chain, Langevin};
    use ebm_testkit::{relative_gap, run, toy};

    use super::*;
    use crate::GaussianNoise;

    fn anneal(noise: (f64, f64), shape: Shape) -> Anneal {
        Anneal::new(Box::new(Langevin::new(0.5, 0.2)), (1.0, 1.0), noise, shape).unwrap()
    }

    #[test]
    fn schedules_are_the_published_ones() {
        let k = 5;
        for (factors, published) in [
            (
                (1.0, 0.0),
                Box::new(|i: usize| (k - 1 - i) as f64 / (k - 1) as f64) as Box<dyn Fn(usize) -> f64>,
            ),
            ((0.8, 0.0), Box::new(|i: usize| (k - i - 1) as f64 / k as f64)),
        ] {
            let a = anneal(factors, Shape::Linear);
            for i in 0..k {
                let s = a.row_step(i, k).unwrap();
                assert!((s.noise - 0.2 * published(i)).abs() < 1e-15 && s.step_size == 0.5, "{i}: {s:?}");
            }
        }
        let s = anneal((1.0, 0.01), Shape::Geometric).row_step(1, 3).unwrap();
        assert!((s.noise - 0.02).abs() < 1e-15);
    }

    #[test]
    fn steps_follow_the_rows_of_the_program() {
        let e = toy::mlp(2, 4, 1, 1).unwrap();
        let at = run(&GaussianNoise::new(1.0), &e, 4, 1, Key::root(2)).unwrap().at;
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let chain = Chain::new(Box::new(anneal((1.0, 0.0), Shape::Linear)), 3);
        let drawn =
            chain.draw(&e, at.clone(), Key::root(7), &mut DrawRequest::new(&mut blind, &mut memory)).unwrap();
        let mut state = ChainState::new(at);
        for (k, noise) in [0.2, 0.1, 0.0].into_iter().enumerate() {
            state = Langevin::new(0.5, noise).step(&e, &state, Key::root(7).at(k)).unwrap().state;
        }
        assert_eq!(relative_gap(&drawn.last.at.x, &state.at.x).unwrap(), 0.0);
    }

    #[test]
    fn what_cannot_be_annealed_is_refused() {
        let t = Box::new(crate::UniformRestart::new(0.1, 0.0, 1.0));
        let text = Anneal::new(t, (1.0, 1.0), (1.0, 0.0), Shape::Linear).err().unwrap().to_string();
        assert!(text.contains("uniform-restart"), "{text}");
    }
}
