//! `sum`: weighted sum of energies, the conjunction ("and") of their densities.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Part, Result, Settings, Sum, plugin};

/// `E = Σ αₖ Eₖ`, terms side by side: a product of densities (Hinton 2002); α < 0 is "not"
/// (Du, Li, Mordatch 2020).
#[derive(Debug, Settings)]
pub struct SumConfig {
    /// The parts.
    pub parts: Vec<PartConfig>,
}

/// A named, weighted part.
#[derive(Debug, Settings)]
pub struct PartConfig {
    /// Prefix of its parameters and terms; names differ within one energy.
    pub name: String,
    /// Factor of its energy; negative for "not".
    #[setting(default = 1.0)]
    pub weight: f64,
    /// The energy.
    pub energy: Box<dyn EnergyConfig>,
}

/// The setting that holds the energy of part `i`.
pub(crate) fn energy_of(i: usize) -> String {
    format!("parts[{i}].energy")
}

/// The live part in `parts[i]`, for the samples of `cx`.
pub(crate) fn build_part(part: &PartConfig, i: usize, cx: &mut BuildCx) -> Result<Part> {
    let shape = cx.sample_shape().to_vec();
    let energy = cx.part(&part.name, &energy_of(i), &shape, &*part.energy)?;
    Ok(Part::new(&part.name, energy).weighted(part.weight))
}

#[plugin(
    "sum",
    summary = "weighted sum of energies: all of them at once; negative weights: not",
    source = "Hinton 2002 (products of experts); Du, Li, Mordatch 2020",
    example = "parts = [{ name = \"a\", energy = { kind = \"mlp\", hidden = [8] } }]"
)]
impl EnergyConfig for SumConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let parts = self.parts.iter().enumerate().map(|(i, p)| build_part(p, i, cx));
        let parts = parts.collect::<Result<_>>()?;
        Ok(Arc::new(Sum::new(parts).map_err(|e| cx.relocate("parts", e))?))
    }
}
