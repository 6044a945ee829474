//! Noise on every coordinate: a random walk, or a softened start.

use ebm_core::bounds::clamped;
use ebm_core::candle::Tensor;
use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Key, Link, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, plugin, within,
};

/// `x′ = x + σ·ε`, then clamped if asked. Without clamp it is symmetric, so `metropolis` may wrap it.
///
/// Its link holds the noise fixed; where the clamp holds a coordinate, nothing goes through.
#[derive(Clone, Debug)]
pub struct GaussianNoise {
    scale: f64,
    clamp: Option<(f64, f64)>,
}

impl GaussianNoise {
    /// Noise of standard deviation `scale`.
    pub fn new(scale: f64) -> Self {
        GaussianNoise { scale, clamp: None }
    }
}

impl Transition for GaussianNoise {
    fn step(&self, _: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let at = &state.at;
        let eps = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let y = (&at.x + eps.affine(self.scale, 0.0)?)?;
        let Some((low, high)) = self.clamp else {
            return Ok(Stepped::new(state.advance(y), Link::Identity));
        };
        let inside = within(&y, low, high)?;
        let link = Link::Descent { at: at.clone(), scale: 0.0, pass: Some(inside), active: None };
        Ok(Stepped::new(state.advance(clamped(&y, low, high)?), link))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Passes
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.clamp
    }

    fn needs_energy(&self) -> bool {
        false
    }

    fn noise(&self) -> Option<f64> {
        Some(self.scale)
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        Some(Box::new(GaussianNoise { scale: self.scale * by.noise, clamp: self.clamp }))
    }

    fn log_ratio(&self, _: &dyn EnergyFn, from: &ChainState, _: &ChainState) -> Result<Option<Tensor>> {
        match self.clamp {
            Some(_) => Ok(None),
            None => Ok(Some(Tensor::zeros(from.at.len(), from.at.dtype(), from.at.device())?)),
        }
    }

    fn name(&self) -> String {
        format!("gaussian-noise ({})", self.scale)
    }
}

/// Settings of `gaussian-noise`.
#[derive(Debug, Clone, Settings)]
pub struct GaussianNoiseConfig {
    /// Standard deviation of the noise.
    #[setting(at_least = 0.0)]
    pub scale: f64,
    /// Range of the samples after it.
    pub clamp: Option<[f64; 2]>,
}

#[plugin(
    "gaussian-noise",
    summary = "noise on every coordinate: a random walk",
    source = "textbook",
    example = "scale = 0.1"
)]
impl TransitionConfig for GaussianNoiseConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(GaussianNoise { scale: self.scale, clamp: cx.interval("clamp", self.clamp)? }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_samplers::Metropolis;
    use ebm_testkit::{check_transition, check_variance, run, toy};

    use super::*;

    #[test]
    fn the_walk_has_its_variance_and_a_test_gives_it_a_target() {
        let e = toy::bowl(1, 4.0).unwrap();
        let walk = GaussianNoise::new(0.5);
        check_variance(&run(&walk, &e, 10_000, 8, Key::root(1)).unwrap().at.x, 2.0, 4.0).unwrap();
        let tested = Metropolis::new(Box::new(walk), 1.0);
        check_variance(&run(&tested, &e, 10_000, 80, Key::root(1)).unwrap().at.x, 0.25, 4.0).unwrap();
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        let e = toy::mlp(3, 4, 1, 1).unwrap();
        let at = run(&GaussianNoise::new(1.0), &e, 5, 1, Key::root(2)).unwrap().at;
        for clamp in [None, Some((-0.7, 0.5))] {
            check_transition(&GaussianNoise { scale: 0.3, clamp }, &e, &at, true).unwrap();
        }
    }
}
