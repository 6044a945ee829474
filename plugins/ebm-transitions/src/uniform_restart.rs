//! Chains start again from uniform noise, now and then or at once.

use ebm_core::candle::{DType, Tensor};
use ebm_core::{
    BuildCx, ChainState, Domain, EnergyFn, Key, Link, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, per_row, plugin,
};

/// Each chain is replaced by uniform noise in `[low, high)` with a probability (0.001 in the published program); on a discrete domain by
/// uniform samples of it.
///
/// A chain's coin and noise depend on its number alone. A restarted chain is a constant: nothing
/// before is differentiated; the others are left as they are.
#[derive(Clone, Debug)]
pub struct UniformRestart {
    probability: f64,
    low: f64,
    high: f64,
}

impl UniformRestart {
    /// Restarts in `[low, high)` with `probability`.
    pub fn new(probability: f64, low: f64, high: f64) -> Self {
        UniformRestart { probability, low, high }
    }
}

impl Transition for UniformRestart {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let at = &state.at;
        let coin = key.at("coin");
        let hit: Vec<u8> =
            at.chains.ids().iter().map(|id| u8::from(coin.uniform_at(*id) < self.probability)).collect();
        let restarted = Tensor::from_slice(&hit, at.len(), at.device())?;
        if hit.iter().all(|h| *h == 0) {
            let none = restarted.to_dtype(at.dtype())?;
            return Ok(Stepped::new(state.advance(at.x.clone()), Link::Identity).with("restarted", none));
        }
        let domain =
            Some(e.spec().domain).filter(|d| d.is_discrete()).unwrap_or(Domain::Box(self.low, self.high));
        let fresh =
            domain.uniform(&at.chains, at.sample_shape(), at.dtype(), at.device(), key.at("noise"))?;
        let fresh = fresh.unwrap_or(at.x.zeros_like()?);
        let mask = per_row(&restarted, &at.x)?.broadcast_as(at.x.shape())?;
        let x = mask.where_cond(&fresh, &at.x)?;
        let restarted = restarted.to_dtype(DType::F32)?.to_dtype(at.dtype())?;
        let pass = per_row(&restarted.affine(-1.0, 1.0)?, &at.x)?;
        let link = Link::Descent { at: at.clone(), scale: 0.0, pass: Some(pass), active: None };
        Ok(Stepped::new(state.advance(x), link).with("restarted", restarted))
    }

    fn fits(&self, _: &dyn EnergyFn) -> Result<()> {
        Ok(())
    }

    fn sensitivity(&self) -> Sensitivity {
        // With probability 1 nothing of what was before is left.
        if self.probability >= 1.0 { Sensitivity::Cuts } else { Sensitivity::Passes }
    }

    fn needs_energy(&self) -> bool {
        false
    }

    fn name(&self) -> String {
        format!("uniform-restart (probability {})", self.probability)
    }
}

/// Settings of `uniform-restart`.
#[derive(Debug, Clone, Settings)]
pub struct UniformRestartConfig {
    /// Probability that a chain restarts.
    #[setting(default = 1.0, at_least = 0.0, at_most = 1.0)]
    pub probability: f64,
    /// Lower end of the noise; that of the data's range, or 0, if absent. A discrete domain has no ends.
    pub low: Option<f64>,
    /// Upper end of the noise; that of the data's range, or 1, if absent.
    pub high: Option<f64>,
}

#[plugin(
    "uniform-restart",
    summary = "chains start again from uniform noise with a probability",
    source = "Du, Mordatch 2019; Du, Li, Tenenbaum, Mordatch 2021",
    example = "probability = 0.05"
)]
impl TransitionConfig for UniformRestartConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let range = cx.range().unwrap_or((0.0, 1.0));
        let (low, high) = (self.low.unwrap_or(range.0), self.high.unwrap_or(range.1));
        if low >= high {
            let message = format!("the range is [{low}, {high}), which is empty; give low < high");
            return Err(cx.refuse("low", message));
        }
        Ok(Box::new(UniformRestart { probability: self.probability, low, high }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_testkit::{check_transition, moments, run, toy};

    use super::*;

    #[test]
    fn as_many_restart_as_they_should_and_the_rest_stay() {
        let e = toy::bowl(1, 1.0).unwrap();
        let x = run(&UniformRestart::new(0.3, 2.0, 4.0), &e, 20_000, 1, Key::root(3)).unwrap().at.x;
        let fresh = x.gt(0.0).unwrap().to_dtype(DType::F64).unwrap();
        let share = moments(&fresh).unwrap().mean;
        assert!((share - 0.3).abs() < 4.0 * (0.21f64 / 20_000.0).sqrt(), "{share}");
        // The mean of the restarted is 3, with standard deviation 2/√12.
        let mean = moments(&x).unwrap().mean / share;
        assert!((mean - 3.0).abs() < 4.0 * 0.58 / 6000f64.sqrt(), "{mean}");
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        let e = toy::mlp(3, 4, 1, 1).unwrap();
        let at = run(&UniformRestart::new(1.0, -1.0, 1.0), &e, 6, 1, Key::root(2)).unwrap().at;
        check_transition(&UniformRestart::new(0.5, -1.0, 1.0), &e, &at, true).unwrap();
        // After a step that depends on θ: the restarted rows must not.
        let step = Box::new(ebm_samplers::Langevin::new(0.3, 0.1));
        let then = crate::Then::new(vec![step, Box::new(UniformRestart::new(0.5, -1.0, 1.0))]);
        check_transition(&then, &e, &at, true).unwrap();
    }
}
