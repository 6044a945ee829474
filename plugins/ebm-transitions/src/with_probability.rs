//! A transition that each chain takes with a probability, else stays.

use ebm_core::{
    BuildCx, ChainState, EnergyFn, Key, Link, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, plugin,
};

use crate::Mix;

/// Stays where it is.
struct Stay;

impl Transition for Stay {
    fn step(&self, _: &dyn EnergyFn, state: &ChainState, _: Key) -> Result<Stepped> {
        let mut next = state.advance(state.at.x.clone());
        next.cache = state.cache.clone();
        Ok(Stepped::new(next, Link::Identity))
    }

    fn fits(&self, _: &dyn EnergyFn) -> Result<()> {
        Ok(())
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Passes
    }

    fn needs_energy(&self) -> bool {
        false
    }

    fn name(&self) -> String {
        "stay".into()
    }
}

/// Settings of `with-probability`: a [`Mix`] of the transition and staying. Its link is that of the transition for the chains that took
/// it, with the draw held fixed; for the others `dx′ = dx`.
#[derive(Debug, Settings)]
pub struct WithProbabilityConfig {
    /// Probability that a chain takes it.
    #[setting(at_least = 0.0, at_most = 1.0)]
    pub probability: f64,
    /// The transition.
    pub transition: Box<dyn TransitionConfig>,
}

#[plugin(
    "with-probability",
    summary = "a transition that each chain takes with a probability, else stays",
    source = "this project",
    example = r#"probability = 0.5
transition = { kind = "gaussian-noise", scale = 0.1 }"#
)]
impl TransitionConfig for WithProbabilityConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let p = self.probability;
        Ok(Box::new(Mix::new(vec![
            (p, self.transition.build_at("transition", cx)?),
            (1.0 - p, Box::new(Stay)),
        ])?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_testkit::{check_variance, run, toy};

    use super::*;
    use crate::GaussianNoiseConfig;

    #[test]
    fn half_the_chains_move() {
        let config = WithProbabilityConfig {
            probability: 0.5,
            transition: Box::new(GaussianNoiseConfig { scale: 1.0, clamp: None }),
        };
        let t = config.build(&mut BuildCx::new(&[1], DType::F64, &Device::Cpu, Key::root(0))).unwrap();
        let e = toy::bowl(1, 1.0).unwrap();
        // After 40 steps each chain moved about 20 times: nearly Gaussian with variance 20.
        check_variance(&run(&*t, &e, 10_000, 40, Key::root(1)).unwrap().at.x, 20.0, 4.0).unwrap();
    }
}
