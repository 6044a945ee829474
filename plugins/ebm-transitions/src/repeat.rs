//! One transition several times, as one step.

use ebm_core::{
    Adjust, Batch, BuildCx, ChainState, EnergyFn, Key, Law, Link, Result, Sensitivity, Settings, StepInfo,
    Stepped, Transition, TransitionConfig, plugin,
};

/// `times` steps of one transition. It counts as one step, and its link is that of all of them; diagnostics are those of the last.
pub struct Repeat {
    inner: Box<dyn Transition>,
    times: usize,
}

impl Repeat {
    /// `inner` repeated.
    pub fn new(inner: Box<dyn Transition>, times: usize) -> Self {
        Repeat { inner, times }
    }
}

impl Transition for Repeat {
    fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        self.inner.init(e, at, key)
    }

    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let mut now = state.clone();
        let mut links = Vec::with_capacity(self.times);
        let mut info = StepInfo::new();
        for k in 0..self.times {
            let out = self.inner.step(e, &now, key.at(k))?;
            (now, info) = (out.state, out.info);
            now.step = state.step;
            links.push(out.link);
        }
        now.step = state.step + 1;
        let mut out = Stepped::new(now, Link::Sequence(links));
        out.info = info;
        Ok(out)
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

    fn law(&self) -> Law {
        self.inner.law()
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

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        Some(Box::new(Repeat { inner: self.inner.adjusted(by)?, times: self.times }))
    }

    fn carried(&self) -> Vec<String> {
        self.inner.carried()
    }

    fn name(&self) -> String {
        format!("{} × {}", self.times, self.inner.name())
    }
}

/// Settings of `repeat`.
#[derive(Debug, Settings)]
pub struct RepeatConfig {
    /// How often.
    #[setting(at_least = 1, at_most = 100_000)]
    pub times: usize,
    /// The transition.
    pub transition: Box<dyn TransitionConfig>,
}

#[plugin(
    "repeat",
    summary = "one transition several times, as one step",
    source = "this project",
    example = r#"times = 2
transition = { kind = "gaussian-noise", scale = 0.1 }"#
)]
impl TransitionConfig for RepeatConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(Repeat::new(self.transition.build_at("transition", cx)?, self.times)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_testkit::{check_variance, run, toy};

    use super::*;
    use crate::GaussianNoise;

    #[test]
    fn each_time_has_its_own_noise() {
        let e = toy::bowl(1, 0.0).unwrap();
        let walk = Repeat::new(Box::new(GaussianNoise::new(1.0)), 5);
        let state = run(&walk, &e, 10_000, 2, Key::root(1)).unwrap();
        assert_eq!(state.step, 2);
        // Ten independent unit variances; with one noise five times over it would be 50.
        check_variance(&state.at.x, 10.0, 4.0).unwrap();
    }
}
