//! `negate` and `temperature`: one energy times a factor.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, Sum, plugin};

/// `−weight · E`: "not", to be summed with an energy that bounds it (Du, Li, Mordatch 2020).
#[derive(Debug, Settings)]
pub struct Negate {
    /// Strength, positive.
    #[setting(default = 1.0, above = 0.0)]
    pub weight: f64,
    /// The energy to negate.
    pub energy: Box<dyn EnergyConfig>,
}

/// `E / T`: the density to the power `1/T`.
#[derive(Debug, Settings)]
pub struct Temperature {
    /// T.
    #[setting(above = 0.0)]
    pub temperature: f64,
    /// The energy.
    pub energy: Box<dyn EnergyConfig>,
}

fn scaled(cx: &mut BuildCx, name: &str, energy: &dyn EnergyConfig, factor: f64) -> Result<Arc<dyn EnergyFn>> {
    let shape = cx.sample_shape().to_vec();
    let inner = cx.part(name, "energy", &shape, energy)?;
    Ok(Arc::new(Sum::scaled(name, inner, factor)?))
}

#[plugin(
    "negate",
    summary = "an energy times −weight: not; sum it with an energy that bounds it",
    source = "Du, Li, Mordatch 2020, section 3",
    example = "weight = 0.3\nenergy = { kind = \"mlp\", hidden = [8] }"
)]
impl EnergyConfig for Negate {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        scaled(cx, "not", &*self.energy, -self.weight)
    }
}

#[plugin(
    "temperature",
    summary = "an energy divided by a temperature",
    source = "textbook",
    example = "temperature = 2.0\nenergy = { kind = \"mlp\", hidden = [8] }"
)]
impl EnergyConfig for Temperature {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        scaled(cx, "at", &*self.energy, 1.0 / self.temperature)
    }
}
