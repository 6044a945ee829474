//! `sum`: weighted sum of energies, the conjunction ("and") of their densities.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Family, Param, Part, Result, Sum, register};
use serde::{Deserialize, Serialize};

/// `E = Σ αₖ Eₖ`, terms side by side: a product of densities (Hinton 2002); α < 0 is "not"
/// (Du, Li, Mordatch 2020).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SumConfig {
    /// The parts.
    pub parts: Vec<PartConfig>,
}

/// A named, weighted part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// Prefix of its parameters and terms; names differ within one energy.
    pub name: String,
    /// Factor of its energy.
    #[serde(default = "one")]
    pub weight: f64,
    /// The energy.
    pub energy: Box<dyn EnergyConfig>,
}

fn one() -> f64 {
    1.0
}

pub(crate) const NAME: Param = Param::text("name", "prefix of its parameters and terms");
pub(crate) const WEIGHT: Param =
    Param::float("weight", "factor of its energy; negative for \"not\"").default("1.0");
pub(crate) const ENERGY: Param = Param::part("energy", Family::Energy, "the energy");

/// Settings of a list of parts, for the catalogue.
pub(crate) const PART: &[Param] = &[NAME, WEIGHT, ENERGY];

/// The live part of a setting, for the samples of `cx`.
pub(crate) fn build_part(
    name: &str,
    weight: f64,
    energy: &dyn EnergyConfig,
    cx: &mut BuildCx,
) -> Result<Part> {
    let shape = cx.sample_shape().to_vec();
    Ok(Part::new(name, cx.part(name, &shape, energy)?).weighted(weight))
}

#[typetag::serde(name = "sum")]
impl EnergyConfig for SumConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let parts = self.parts.iter().map(|p| build_part(&p.name, p.weight, &*p.energy, cx));
        Ok(Arc::new(Sum::new(parts.collect::<Result<_>>()?)?))
    }
}

register! {
    EnergyConfig, "sum" => SumConfig,
    summary: "weighted sum of energies: all of them at once; negative weights: not",
    source: "Hinton 2002 (products of experts); Du, Li, Mordatch 2020",
    example: "parts = [{ name = \"a\", energy = { kind = \"mlp\", hidden = [8] } }]",
    params: [Param::tables("parts", PART, "the parts")],
}
