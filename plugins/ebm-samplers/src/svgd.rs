//! Stein variational gradient descent: particles that follow the slope and keep apart.

use ebm_core::candle::{D, Tensor};
use ebm_core::{
    BuildCx, ChainState, EnergyFn, Error, Key, Link, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, host, plugin, row_mean,
};

/// `x′ᵢ = xᵢ + ε/n Σⱼ [−k(xⱼ, xᵢ) ∇E(xⱼ) + ∇ₓⱼ k(xⱼ, xᵢ)]` with `k = exp(−|xⱼ − xᵢ|²/h)` (Liu, Wang 2016, algorithm 1).
///
/// All chains of a batch are one set of particles: without noise they settle where the sum is zero, spread out as exp(−E). In many
/// dimensions the spread comes out too small, and particles in one place stay together. h is the median of the squared distances over log(n + 1), or fixed. Time and
/// memory go as the square of the batch.
///
/// Diagnostics: `energy` and `grad_square` where the particles came from.
#[derive(Clone, Debug, Settings)]
pub struct Svgd {
    /// Step size ε.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// Bandwidth h, a squared distance; absent: by the median of the distances, at each step.
    #[setting(above = 0.0)]
    pub bandwidth: Option<f64>,
}

impl Svgd {
    /// The bandwidth for these squared distances `(n, n)`.
    fn bandwidth(&self, squares: &Tensor, n: usize) -> Result<f64> {
        if let Some(h) = self.bandwidth {
            return Ok(h);
        }
        let mut all = host::singles(squares)?;
        let middle = all.len() / 2;
        let (_, median, _) = all.select_nth_unstable_by(middle, f32::total_cmp);
        // Particles in one place: any bandwidth does.
        Ok(Some(f64::from(*median) / (n as f64 + 1.0).ln()).filter(|h| *h > 0.0).unwrap_or(1.0))
    }
}

impl Transition for Svgd {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, _: Key) -> Result<Stepped> {
        let (at, n) = (&state.at, state.at.len());
        if n < 2 {
            return Err(Error::config("svgd", format!("has {n} chains, needs at least 2 that keep apart")));
        }
        let here = state.slope(e)?;
        let (x, g) = (at.x.flatten_from(1)?, here.grad.flatten_from(1)?);
        // Distances do not depend on where the particles are; their rounding does.
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let squares = centred.sqr()?.sum_keepdim(D::Minus1)?;
        let products = centred.matmul(&centred.t()?)?.affine(-2.0, 0.0)?;
        let squares = products.broadcast_add(&squares)?.broadcast_add(&squares.t()?)?.relu()?;
        let h = self.bandwidth(&squares, n)?;
        let k = squares.affine(-1.0 / h, 0.0)?.exp()?;
        let apart = (centred.broadcast_mul(&k.sum_keepdim(D::Minus1)?)? - k.matmul(&centred)?)?;
        let along = (apart.affine(2.0 / h, 0.0)? - k.matmul(&g)?)?;
        let x = (x + along.affine(self.step_size / n as f64, 0.0)?)?.reshape(at.x.shape())?;
        let square = row_mean(&here.grad.sqr()?)?;
        let stepped = Stepped::new(state.advance(x), Link::Cut);
        Ok(stepped.with("energy", here.energy).with("grad_square", square))
    }

    fn sensitivity(&self) -> Sensitivity {
        // A particle moves with all others, which a link of rows cannot tell.
        Sensitivity::Unknown(self.name())
    }

    fn couples_chains(&self) -> bool {
        true
    }

    fn name(&self) -> String {
        format!("svgd (step size {})", self.step_size)
    }
}

#[plugin(
    "svgd",
    summary = "Stein variational gradient descent: particles that follow the slope and keep apart",
    source = "Liu, Wang 2016 (arXiv 1608.04471), algorithm 1",
    example = "step_size = 0.1"
)]
impl TransitionConfig for Svgd {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Batch, Chains};
    use ebm_testkit::{moments, toy};

    use super::*;

    #[test]
    fn particles_spread_out_as_the_target_and_stay() {
        let svgd = Svgd { step_size: 0.2, bandwidth: None };
        let e = toy::bowl(2, 4.0).unwrap();
        let start = Key::root(3).normal(&Chains::range(0, 60), &[2], DType::F64, &Device::Cpu).unwrap();
        let mut state = ChainState::new(Batch::new(start).unwrap());
        for _ in 0..400 {
            state = svgd.step(&e, &state, Key::root(0)).unwrap().state;
        }
        let x = state.at.x;
        let found = moments(&x).unwrap();
        // The mean is exact at rest; the spread of 60 particles is some hundredths too small.
        assert!(found.mean.abs() < 5e-3, "{found:?}");
        assert!((0.85..1.02).contains(&(found.variance / 0.25)), "{found:?}");
        let before = ChainState::new(Batch::new(x).unwrap());
        let after = svgd.step(&e, &before, Key::root(4)).unwrap();
        let moved = (after.state.at.x - before.at.x).unwrap().abs().unwrap().max_all().unwrap();
        assert!(moved.to_scalar::<f64>().unwrap() < 1e-3);
    }

    #[test]
    fn the_step_is_that_of_two_particles_by_hand() {
        // x = ±1, E = 2x², h = 2: k = exp(−4/2), push apart 2/h·(x − x′)k.
        let e = toy::bowl(1, 4.0).unwrap();
        let at = Batch::new(Tensor::new(&[[1f64], [-1.0]], &Device::Cpu).unwrap()).unwrap();
        let svgd = Svgd { step_size: 0.1, bandwidth: Some(2.0) };
        let out = svgd.step(&e, &ChainState::new(at), Key::root(0)).unwrap().state.at.x;
        let k = (-2.0f64).exp();
        let want = 1.0 + 0.1 / 2.0 * (-4.0 + 4.0 * k + 2.0 * k);
        let got = out.to_vec2::<f64>().unwrap();
        assert!((got[0][0] - want).abs() < 1e-12 && (got[1][0] + want).abs() < 1e-12, "{got:?} {want}");
    }

    #[test]
    fn one_particle_is_refused() {
        let at = Batch::new(Tensor::new(&[[1f64]], &Device::Cpu).unwrap()).unwrap();
        let svgd = Svgd { step_size: 0.1, bandwidth: None };
        let text = svgd.step(&toy::bowl(1, 1.0).unwrap(), &ChainState::new(at), Key::root(0)).unwrap_err();
        assert!(text.to_string().contains("1 chains"), "{text}");
    }
}
