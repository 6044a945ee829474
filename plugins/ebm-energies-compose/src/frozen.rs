//! `frozen`: an energy that is not trained.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Frozen, Result, Settings, plugin};

/// The energy without its parameters: they neither move nor stand in the checkpoint.
#[derive(Debug, Settings)]
pub struct FrozenConfig {
    /// The energy.
    pub energy: Box<dyn EnergyConfig>,
}

#[plugin(
    "frozen",
    summary = "an energy that is not trained",
    source = "this project",
    example = "energy = { kind = \"mlp\", hidden = [8] }"
)]
impl EnergyConfig for FrozenConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        Ok(Arc::new(Frozen::new(cx.part("frozen", "energy", &shape, &*self.energy)?)))
    }
}
