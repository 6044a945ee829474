//! Underdamped Langevin dynamics: positions with momenta that are rubbed and kicked.

use ebm_core::candle::Tensor;
use ebm_core::{
    Adjust, Batch, BuildCx, ChainState, EnergyFn, Key, Link, Result, Sensitivity, Settings, Stepped,
    Transition, TransitionConfig, plugin, row_mean,
};

/// One step of size h of `dx = v dt`, `dv = −∇E dt − γ v dt + √(2γT) dW` in the splitting BAOAB (Leimkuhler, Matthews 2013):
/// half a kick, half a drift, friction and noise for all of h, half a drift, half a kick.
///
/// Unadjusted, one slope a step. On a Gaussian the variance of the positions is exact for every stable step, hω < 2 (ω² the
/// curvature); elsewhere its error is of order h², and h⁴ at high friction. Momenta go on from step to step and are drawn afresh at
/// the beginning of a program. The link is exact: a KL term may go through all steps.
///
/// Diagnostics: `energy` and `grad_square` at the new state.
#[derive(Clone, Debug, Settings)]
pub struct Underdamped {
    /// Step size h.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// Friction γ: the rate at which momenta are forgotten.
    #[setting(default = 1.0, at_least = 0.0, unit = "1/time")]
    pub friction: f64,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
}

/// Where the momenta are kept.
const MOMENTUM: &str = "underdamped.momentum";

impl Underdamped {
    fn normal(at: &Batch, key: Key, deviation: f64) -> Result<Tensor> {
        let n = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        Ok(n.affine(deviation, 0.0)?)
    }
}

impl Transition for Underdamped {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, half) = (&state.at, 0.5 * self.step_size);
        let here = state.slope(e)?;
        // A momentum drawn afresh owes nothing to one that was before, in another program of a program of programs.
        let (v, start) = match state.aux.get(MOMENTUM) {
            Some(v) if v.dims() == at.x.dims() => (v.clone(), Link::Identity),
            _ => (Self::normal(at, key.at("momentum"), self.temperature.sqrt())?, Link::Damp { keep: 0.0 }),
        };
        let keep = (-self.friction * self.step_size).exp();
        let v = (v - here.grad.affine(half, 0.0)?)?;
        let x = (&at.x + v.affine(half, 0.0)?)?;
        let rubbed = (self.temperature * (1.0 - keep * keep)).sqrt();
        let v = (v.affine(keep, 0.0)? + Self::normal(at, key.at("noise"), rubbed)?)?;
        let x = (x + v.affine(half, 0.0)?)?;
        let next = at.with_x(x.clone());
        let there = e.slope(&next)?;
        let v = (v - there.grad.affine(half, 0.0)?)?;
        let kick = |at: &Batch| Link::Kick { at: at.clone(), scale: half, active: None };
        let drift = || Link::Drift { scale: half, active: None };
        let link = Link::Sequence(vec![start, kick(at), drift(), Link::Damp { keep }, drift(), kick(&next)]);
        let (energy, square) = (there.energy.clone(), row_mean(&there.grad.sqr()?)?);
        let mut moved = state.advance(x);
        moved.cache = Some(there);
        moved.aux.insert(MOMENTUM.into(), v);
        Ok(Stepped::new(moved, link).with("energy", energy).with("grad_square", square))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        Some(Box::new(Underdamped {
            step_size: self.step_size * by.step_size,
            temperature: self.temperature * by.noise * by.noise,
            ..self.clone()
        }))
    }

    fn name(&self) -> String {
        format!("underdamped (step size {}, friction {})", self.step_size, self.friction)
    }
}

#[plugin(
    "underdamped",
    summary = "underdamped Langevin dynamics (BAOAB): momenta with friction, one slope a step",
    source = "Leimkuhler, Matthews 2013",
    example = "step_size = 0.05\nfriction = 1.0"
)]
impl TransitionConfig for Underdamped {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_testkit::{check_transition, check_variance, run, toy};

    use super::*;

    /// hω = 1: half of what is stable, where other splittings are a quarter off.
    #[test]
    fn the_variance_of_a_gaussian_is_exact_at_coarse_steps() {
        let (lambda, temperature) = (4.0, 0.5);
        for friction in [0.5, 4.0] {
            let kernel = Underdamped { step_size: 0.5, friction, temperature };
            let x = run(&kernel, &toy::bowl(1, lambda).unwrap(), 8_000, 60, Key::root(5)).unwrap().at.x;
            check_variance(&x, temperature / lambda, 4.0).unwrap();
        }
    }

    #[test]
    fn links_are_exact_and_rows_do_not_meet() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let kernel = Underdamped { step_size: 0.3, friction: 0.7, temperature: 1.0 };
        let at = run(&kernel, &e, 5, 2, Key::root(5)).unwrap().at;
        check_transition(&kernel, &e, &at, true).unwrap();
    }
}
