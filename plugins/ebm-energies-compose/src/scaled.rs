//! `negate` and `temperature`: one energy times a factor.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Family, Param, Result, Sum, register};
use serde::{Deserialize, Serialize};

/// `−weight · E`: "not", to be summed with an energy that bounds it (Du, Li, Mordatch 2020).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Negate {
    /// Strength, positive.
    #[serde(default = "one")]
    pub weight: f64,
    /// The energy to negate.
    pub energy: Box<dyn EnergyConfig>,
}

/// `E / T`: the density to the power `1/T`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// T.
    pub temperature: f64,
    /// The energy.
    pub energy: Box<dyn EnergyConfig>,
}

fn one() -> f64 {
    1.0
}

fn scaled(cx: &mut BuildCx, name: &str, energy: &dyn EnergyConfig, factor: f64) -> Result<Arc<dyn EnergyFn>> {
    let shape = cx.sample_shape().to_vec();
    let inner = cx.part(name, &shape, energy)?;
    Ok(Arc::new(Sum::scaled(name, inner, factor)?))
}

#[typetag::serde(name = "negate")]
impl EnergyConfig for Negate {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        scaled(cx, "not", &*self.energy, -self.weight)
    }
}

#[typetag::serde(name = "temperature")]
impl EnergyConfig for Temperature {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        scaled(cx, "at", &*self.energy, 1.0 / self.temperature)
    }
}

register! {
    EnergyConfig, "negate" => Negate,
    summary: "an energy times −weight: not; sum it with an energy that bounds it",
    source: "Du, Li, Mordatch 2020, section 3",
    example: "weight = 0.3\nenergy = { kind = \"mlp\", hidden = [8] }",
    params: [
        Param::float("weight", "strength").default("1.0").above(0.0),
        Param::part("energy", Family::Energy, "the energy to negate"),
    ],
}

register! {
    EnergyConfig, "temperature" => Temperature,
    summary: "an energy divided by a temperature",
    source: "textbook",
    example: "temperature = 2.0\nenergy = { kind = \"mlp\", hidden = [8] }",
    params: [
        Param::float("temperature", "T").above(0.0),
        Param::part("energy", Family::Energy, "the energy"),
    ],
}
