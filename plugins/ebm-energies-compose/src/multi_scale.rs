//! `multi-scale`: energies of an image at several resolutions, summed.

use std::sync::Arc;

use ebm_core::{
    BuildCx, EnergyConfig, EnergyFn, Map, Part, PullBack, Result, Separable, Settings, Sum, plugin,
};

use crate::sum::{PartConfig, energy_of};

/// `E = Σ αₛ Eₛ(pool^{S−1−s}(x))`, coarsest part first, the last on the image itself; `pool` is the
/// 3×3 average with stride 2 and counted padding (Du, Li, Tenenbaum, Mordatch 2021, section 3.3:
/// columns small, mid, large).
#[derive(Debug, Settings)]
pub struct MultiScale {
    /// The parts, coarsest first; the last sees the image itself.
    pub parts: Vec<PartConfig>,
}

#[plugin(
    "multi-scale",
    summary = "energies of an image at several resolutions, coarsest first, summed",
    source = "Du, Li, Tenenbaum, Mordatch 2021, section 3.3",
    example = "parts = [{ name = \"main\", energy = { kind = \"mlp\", hidden = [8] } }]"
)]
impl EnergyConfig for MultiScale {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        let mut parts = Vec::new();
        for (i, p) in self.parts.iter().enumerate() {
            let levels = self.parts.len() - 1 - i;
            let energy = if levels == 0 {
                cx.part(&p.name, &energy_of(i), &shape, &*p.energy)?
            } else {
                let map = Separable::pyramid(&shape, levels).map_err(|e| cx.relocate("", e))?;
                let inner = cx.part(&p.name, &energy_of(i), map.output_shape(), &*p.energy)?;
                Arc::new(PullBack::new(Arc::new(map), inner)?)
            };
            parts.push(Part::new(&p.name, energy).weighted(p.weight));
        }
        Ok(Arc::new(Sum::new(parts).map_err(|e| cx.relocate("parts", e))?))
    }
}
