//! `multi-scale`: energies of an image at several resolutions, summed.

use std::sync::Arc;

use ebm_core::{
    BuildCx, EnergyConfig, EnergyFn, Map, Param, Part, PullBack, Result, Separable, Sum, register,
};
use serde::{Deserialize, Serialize};

use crate::sum::{PART, PartConfig};

/// `E = Σ αₛ Eₛ(pool^{S−1−s}(x))`, coarsest part first, the last on the image itself; `pool` is the
/// 3×3 average with stride 2 and counted padding (Du, Li, Tenenbaum, Mordatch 2021, section 3.3;
/// spec 8.3: columns small, mid, large).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiScale {
    /// The parts, coarsest first.
    pub parts: Vec<PartConfig>,
}

#[typetag::serde(name = "multi-scale")]
impl EnergyConfig for MultiScale {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        let mut parts = Vec::new();
        for (i, p) in self.parts.iter().enumerate() {
            let levels = self.parts.len() - 1 - i;
            let energy = if levels == 0 {
                cx.part(&p.name, &shape, &*p.energy)?
            } else {
                let map = Separable::pyramid(&shape, levels)?;
                let inner = cx.part(&p.name, map.output_shape(), &*p.energy)?;
                Arc::new(PullBack::new(Arc::new(map), inner)?)
            };
            parts.push(Part::new(&p.name, energy).weighted(p.weight));
        }
        Ok(Arc::new(Sum::new(parts)?))
    }
}

register! {
    EnergyConfig, "multi-scale" => MultiScale,
    summary: "energies of an image at several resolutions, coarsest first, summed",
    source: "Du, Li, Tenenbaum, Mordatch 2021, section 3.3",
    example: "parts = [{ name = \"main\", energy = { kind = \"mlp\", hidden = [8] } }]",
    params: [Param::tables("parts", PART, "the parts, coarsest first; the last sees the image itself")],
}
