//! `frozen`: an energy that is not trained.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Family, Frozen, Param, Result, register};
use serde::{Deserialize, Serialize};

/// The energy without its parameters: they neither move nor stand in the checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenConfig {
    /// The energy.
    pub energy: Box<dyn EnergyConfig>,
}

#[typetag::serde(name = "frozen")]
impl EnergyConfig for FrozenConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        Ok(Arc::new(Frozen::new(cx.part("frozen", &shape, &*self.energy)?)))
    }
}

register! {
    EnergyConfig, "frozen" => FrozenConfig,
    summary: "an energy that is not trained",
    source: "this project",
    example: "energy = { kind = \"mlp\", hidden = [8] }",
    params: [Param::part("energy", Family::Energy, "the energy")],
}
