//! `leaping`: a gradient step whose noise is now and then ten times as large.

use ebm_core::{
    BuildCx, ChainState, EnergyFn, Key, Link, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, per_row, plugin,
};

/// A gradient step whose noise is now and then ten times as large.
///
/// x′ = x − λ∇E(x) + σ·s·ε with s = 10 with probability `leaps`, else 1.
#[derive(Clone, Debug, Settings)]
pub struct Leaping {
    /// Factor λ of the gradient.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// Standard deviation σ of the noise.
    #[setting(at_least = 0.0)]
    pub noise: f64,
    /// Share of large steps.
    #[setting(at_least = 0.0, at_most = 1.0)]
    pub leaps: f64,
}

impl Transition for Leaping {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, slope) = (&state.at, state.slope(e)?);
        let noise = key.at("noise").normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        // One number a chain: which chains leap depends on the chain alone, not on its place in the batch.
        let leap = key.at("leap").uniform(&at.chains, &[], at.dtype(), at.device())?.lt(self.leaps)?;
        let size = leap.to_dtype(at.dtype())?.affine(9.0 * self.noise, self.noise)?;
        let moved =
            ((&at.x - (&slope.grad * self.step_size)?)? + noise.broadcast_mul(&per_row(&size, &noise)?)?)?;
        let link = Link::Descent { at: at.clone(), scale: self.step_size, pass: None, active: None };
        Ok(Stepped::new(state.advance(moved), link).with("energy", slope.energy))
    }
    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }
    fn name(&self) -> String {
        "leaping".into()
    }
}

#[plugin("leaping", source = "this example", example = "step_size = 0.1\nnoise = 0.1\nleaps = 0.05")]
impl TransitionConfig for Leaping {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}
