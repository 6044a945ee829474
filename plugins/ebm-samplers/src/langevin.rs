//! Langevin steps without an accept test: the published form and, by settings, the textbook one.

use ebm_core::candle::Tensor;
use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Key, Result, RowStep, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, plugin, row_mean, row_sum,
};

/// `x̂ = x + σε; x′ = clamp(x̂ − λ∇E(x̂))`, or with the noise after the move.
///
/// The noise comes first and is small in Du, Li, Tenenbaum, Mordatch (2021). With the
/// noise last and `σ² = 2λ` this is the unadjusted Langevin algorithm ([`Langevin::unadjusted`]).
/// The link to θ is exact: noise and step size are held fixed, the gradient, the clamp and the limit of moves are differentiated.
///
/// Diagnostics: `energy` and `grad_square` at the point where the gradient was taken, and
/// `saturated`, the share of coordinates on the clamp.
#[derive(Clone, Debug)]
pub struct Langevin {
    step: RowStep,
    /// Whether noise follows the step size (`σ ∝ √λ`) when a schedule changes it.
    matched: bool,
}

impl Langevin {
    /// Step size λ and noise σ, noise first, no clamp.
    pub fn new(step_size: f64, noise: f64) -> Self {
        let step = RowStep { step_size, noise, noise_first: true, clamp: None, move_limit: None };
        Langevin { step, matched: false }
    }

    /// `x′ = x − h∇E(x) + √(2hT)·ε`, whose stationary law tends to `exp(−E/T)` as `h → 0`.
    pub fn unadjusted(step_size: f64, temperature: f64) -> Self {
        let noise = (2.0 * step_size * temperature).sqrt();
        let step = RowStep { step_size, noise, noise_first: false, clamp: None, move_limit: None };
        Langevin { step, matched: true }
    }

    /// The same with samples clamped to `[low, high]` after each step.
    #[must_use]
    pub fn clamped(mut self, low: f64, high: f64) -> Self {
        self.step.clamp = Some((low, high));
        self
    }

    /// The same with no coordinate moved by the gradient by more than `limit`.
    #[must_use]
    pub fn limited(mut self, limit: f64) -> Self {
        self.step.move_limit = Some(limit);
        self
    }

    /// The same with noise after the move.
    #[must_use]
    pub fn noise_last(mut self) -> Self {
        self.step.noise_first = false;
        self
    }
}

impl Transition for Langevin {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let s = &self.step;
        let eps = s.noise_of(&state.at, key)?;
        let (hat, slope, after) = match eps {
            Some(n) if s.noise_first => {
                let hat = state.at.with_x((&state.at.x + n)?);
                let slope = e.slope(&hat)?;
                (hat, slope, None)
            }
            after => (state.at.clone(), state.slope(e)?, after),
        };
        let (x, link) = s.end(&hat, &slope.grad, after.as_ref())?;
        let clamped = s.saturated(&x)?;
        let grad_square = row_mean(&slope.grad.sqr()?)?;
        let stepped = Stepped::new(state.advance(x), link)
            .with("energy", slope.energy)
            .with("grad_square", grad_square);
        Ok(match clamped {
            Some(share) => stepped.with("saturated", share),
            None => stepped,
        })
    }

    fn sensitivity(&self) -> Sensitivity {
        if self.step.step_size == 0.0 { Sensitivity::Passes } else { Sensitivity::Exact }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.step.clamp
    }

    fn row_step(&self, _: usize, _: usize) -> Option<RowStep> {
        Some(self.step)
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let mut new = self.clone();
        new.step.step_size *= by.step_size;
        new.step.noise *= by.noise * if self.matched { by.step_size.sqrt() } else { 1.0 };
        Some(Box::new(new))
    }

    /// Known for the plain Gaussian proposal: noise last, no clamp, no limit.
    fn log_ratio(&self, e: &dyn EnergyFn, from: &ChainState, to: &ChainState) -> Result<Option<Tensor>> {
        let s = &self.step;
        if s.noise_first || s.clamp.is_some() || s.move_limit.is_some() || s.noise == 0.0 {
            return Ok(None);
        }
        let log_proposal = |a: &ChainState, b: &ChainState| -> Result<Tensor> {
            let gap = ((&b.at.x - &a.at.x)? + a.slope(e)?.grad.affine(s.step_size, 0.0)?)?;
            Ok(row_sum(&gap.sqr()?)?.affine(-0.5 / (s.noise * s.noise), 0.0)?)
        };
        Ok(Some((log_proposal(to, from)? - log_proposal(from, to)?)?))
    }

    fn name(&self) -> String {
        let s = &self.step;
        format!("langevin (step size {}, noise {})", s.step_size, s.noise)
    }
}

/// Settings of `langevin`.
#[derive(Debug, Clone, Settings)]
pub struct LangevinConfig {
    /// Factor λ of the energy's gradient.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// Standard deviation σ of the noise of a step.
    #[setting(default = 0.001, at_least = 0.0)]
    pub noise: f64,
    /// Noise before the gradient is taken (published) or after the move.
    #[setting(default = true)]
    pub noise_first: bool,
    /// Range of the samples after each step.
    pub clamp: Option<[f64; 2]>,
    /// Largest move of one coordinate by the gradient.
    #[setting(above = 0.0)]
    pub move_limit: Option<f64>,
}

#[plugin(
    "langevin",
    summary = "a gradient step with noise of its own size, clamped if asked",
    source = "Du, Li, Tenenbaum, Mordatch 2021, algorithm 1",
    example = "step_size = 100.0\nnoise = 0.001\nclamp = [0.0, 1.0]"
)]
impl TransitionConfig for LangevinConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(Langevin {
            step: RowStep {
                step_size: self.step_size,
                noise: self.noise,
                noise_first: self.noise_first,
                clamp: cx.interval("clamp", self.clamp)?,
                move_limit: self.move_limit,
            },
            matched: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Batch, Chains, Link};
    use ebm_testkit::{check_transition, check_variance, run, toy};

    use super::*;

    fn near(x: &Tensor, want: &[f64]) {
        let x = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        // Rounding of a few operations on numbers below 2.
        assert!(x.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-15), "{x:?}, {want:?}");
    }

    #[test]
    fn one_step_by_hand() {
        let x = Tensor::new(&[[0.5f64, 0.9], [0.1, 0.2]], &Device::Cpu).unwrap();
        let at = Batch::new(x.clone()).unwrap();
        let e = toy::bowl(2, 3.0).unwrap();
        // E = 3|x|²/2, so x − λ∇E = x(1 − 3λ) = −0.5x with λ = ½, then clamped below at −0.2.
        let out = Langevin::new(0.5, 0.0)
            .clamped(-0.2, 1.0)
            .step(&e, &ChainState::new(at.clone()), Key::root(0))
            .unwrap();
        near(&out.state.at.x, &[-0.2, -0.2, -0.05, -0.1]);
        assert_eq!(out.info["saturated"].to_vec1::<f64>().unwrap(), [1.0, 0.0]);
        near(&out.info["grad_square"].get(1).unwrap(), &[(0.09 + 0.36) / 2.0]);
        let Link::Descent { pass, active, scale, .. } = out.link else { panic!("a descent") };
        assert_eq!(scale, 0.5);
        assert_eq!(pass.unwrap().to_vec2::<f64>().unwrap(), [[0.0, 0.0], [1.0, 1.0]]);
        assert!(active.is_none());
        let out = Langevin::new(0.5, 0.0).limited(0.31).step(&e, &ChainState::new(at), Key::root(0)).unwrap();
        near(&out.state.at.x, &[0.19, 0.59, -0.05, -0.1]);
        let Link::Descent { active, .. } = out.link else { panic!("a descent") };
        assert_eq!(active.unwrap().to_vec2::<f64>().unwrap(), [[0.0, 0.0], [1.0, 1.0]]);
    }

    #[test]
    fn noise_first_moves_the_point_of_the_gradient() {
        let at = Batch::new(Tensor::zeros((4, 3), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let e = toy::bowl(3, 1.0).unwrap();
        let key = Key::root(4).at(0u64);
        let eps = key.normal(&at.chains, &[3], at.dtype(), at.device()).unwrap();
        for (t, factor) in [(Langevin::new(0.25, 0.1), 0.075), (Langevin::new(0.25, 0.1).noise_last(), 0.1)] {
            let x = t.step(&e, &ChainState::new(at.clone()), key).unwrap().state.at.x;
            let gap = (x - eps.affine(factor, 0.0).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
            // Rounding of two products of numbers below 1.
            assert!(gap.to_scalar::<f64>().unwrap() < 1e-15);
        }
    }

    /// The unadjusted algorithm on a Gaussian of curvature λ is an AR(1) process with variance
    /// 1/(λ(1 − hλ/2)) exactly, wider than the target.
    #[test]
    fn the_unadjusted_variance_is_the_known_one() {
        let (h, lambda) = (0.2, 2.0);
        let want = 1.0 / (lambda * (1.0 - h * lambda / 2.0));
        // Memory of the start is (1 − hλ)^60 < 1e−13. The target's own variance ½ is 25 % less,
        // 12 standard errors off: the test can tell them apart.
        let x = run(&Langevin::unadjusted(h, 1.0), &toy::bowl(1, lambda).unwrap(), 8_000, 60, Key::root(2));
        check_variance(&x.unwrap().at.x, want, 4.0).unwrap();
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let x = Key::root(8).normal(&Chains::range(0, 5), &[3], DType::F64, &Device::Cpu).unwrap();
        let at = Batch::new(x).unwrap();
        let published = Langevin::new(0.3, 0.2).clamped(-0.8, 0.9).limited(0.2);
        check_transition(&published, &e, &at, true).unwrap();
        check_transition(&published.noise_last(), &e, &at, true).unwrap();
        check_transition(&Langevin::unadjusted(0.1, 1.0), &e, &at, true).unwrap();
    }

    #[test]
    fn schedules_keep_matched_noise_matched() {
        let by = Adjust { step_size: 0.25, noise: 1.0 };
        let s = Langevin::unadjusted(0.02, 1.0).adjusted(by).unwrap().row_step(0, 1).unwrap();
        assert!((s.noise * s.noise - 2.0 * s.step_size).abs() < 1e-15);
        let s = Langevin::new(0.02, 0.3).adjusted(by).unwrap().row_step(0, 1).unwrap();
        assert_eq!((s.step_size, s.noise), (0.005, 0.3));
    }
}
