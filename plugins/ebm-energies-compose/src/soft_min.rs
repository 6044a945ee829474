//! `soft-min`: the disjunction ("or") of energies.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, SoftMin, plugin};

use crate::sum::{PartConfig, build_part};

/// `E = −(1/β) log Σ exp(−β (αₖ Eₖ + log Zₖ))`: a mixture of densities for β = 1, their minimum for β → ∞
/// (Du, Li, Mordatch 2020; the published program uses β = 100).
#[derive(Debug, Settings)]
pub struct SoftMinConfig {
    /// Sharpness β: 1 is a mixture, large is the minimum.
    #[setting(default = 1.0, above = 0.0)]
    pub sharpness: f64,
    /// The parts.
    pub parts: Vec<SoftMinPart>,
}

/// A named, weighted part of a soft minimum.
#[derive(Debug, Settings)]
pub struct SoftMinPart {
    /// Name, weight and energy.
    #[setting(flatten)]
    pub part: PartConfig,
    /// Added to its weighted energy: log Z of the part gives it the mass 1 in the mixture.
    #[setting(default = 0.0, unit = "nats")]
    pub log_z: f64,
}

#[plugin(
    "soft-min",
    summary = "soft minimum of energies: any of them",
    source = "Du, Li, Mordatch 2020, section 3",
    example = "sharpness = 1.0\nparts = [{ name = \"a\", energy = { kind = \"mlp\", hidden = [8] } }]"
)]
impl EnergyConfig for SoftMinConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let parts = self.parts.iter().enumerate().map(|(i, p)| build_part(&p.part, i, cx));
        let parts = parts.collect::<Result<_>>()?;
        let log_z: Vec<f64> = self.parts.iter().map(|p| p.log_z).collect();
        let all = SoftMin::new(parts, self.sharpness).and_then(|all| all.with_log_z(&log_z));
        Ok(Arc::new(all.map_err(|e| cx.relocate("parts", e))?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device, Tensor};
    use ebm_core::{Batch, Key};

    use super::*;

    #[test]
    fn log_z_gives_parts_their_mass() {
        use ebm_energies_net as _;
        let part = |name: &str, log_z: f64| {
            format!("{{ name = '{name}', log_z = {log_z}, energy = {{ kind = 'mlp', hidden = [3] }} }}")
        };
        let energies = |parts: &[String]| {
            let text = format!("kind = 'soft-min'\nparts = [{}]", parts.join(", "));
            let config: Box<dyn EnergyConfig> = toml::from_str(&text).unwrap();
            let e = config.build(&mut BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0))).unwrap();
            let x = Tensor::new(&[[0.3f64, -1.0]], &Device::Cpu).unwrap();
            e.energy(&Batch::new(x).unwrap()).unwrap().to_vec1::<f64>().unwrap()[0]
        };
        let (a, b) = (energies(&[part("a", 0.0)]), energies(&[part("a", 0.0), part("b", 0.0)]));
        // −log(e^(−a) + e^(−b)) is known, so b is; both shifted then follow in closed form.
        let b = -((-b).exp() - (-a).exp()).ln();
        let want = -((-a - 0.5).exp() + (-b + 0.25).exp()).ln();
        let found = energies(&[part("a", 0.5), part("b", -0.25)]);
        assert!((found - want).abs() < 1e-12, "{found} {want}");
    }
}
