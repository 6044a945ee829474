//! Noise on every coordinate: a random walk, or a softened start.

use ebm_core::candle::Tensor;
use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Error, Key, Link, Param, Result, Sensitivity, Stepped, Transition,
    TransitionConfig, register,
};
use serde::{Deserialize, Serialize};

/// `x′ = x + σ·ε`, then clamped if asked. Without clamp it is symmetric, so `metropolis` may wrap it.
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
        let inside = (y.ge(low)? * y.le(high)?)?.to_dtype(y.dtype())?;
        let link = Link::Descent { at: at.clone(), scale: 0.0, pass: Some(inside), active: None };
        Ok(Stepped::new(state.advance(y.clamp(low, high)?), link))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }

    fn needs_energy(&self) -> bool {
        false
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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianNoiseConfig {
    /// Standard deviation σ.
    pub scale: f64,
    /// Range of the samples after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamp: Option<[f64; 2]>,
}

#[typetag::serde(name = "gaussian-noise")]
impl TransitionConfig for GaussianNoiseConfig {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let clamp = match self.clamp {
            Some([low, high]) if low >= high => {
                let message = format!("is [{low}, {high}], must rise, such as [0.0, 1.0]");
                return Err(Error::config("gaussian-noise.clamp", message));
            }
            other => other.map(|[low, high]| (low, high)),
        };
        Ok(Box::new(GaussianNoise { scale: self.scale, clamp }))
    }
}

register! {
    TransitionConfig, "gaussian-noise" => GaussianNoiseConfig,
    summary: "noise on every coordinate: a random walk",
    source: "textbook",
    example: "scale = 0.1",
    params: [
        Param::float("scale", "standard deviation of the noise").at_least(0.0),
        Param::floats("clamp", "range of the samples after it").default("none"),
    ],
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
