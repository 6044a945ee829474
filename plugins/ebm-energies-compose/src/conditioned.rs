//! `conditioned`: a conditional energy under one fixed condition.

use std::sync::Arc;

use ebm_core::{BuildCx, Conditioned, EnergyConfig, EnergyFn, Result, Settings, plugin};

/// `E(x | c)` for one `c` for all samples; the batch's own condition is not looked at.
#[derive(Debug, Settings)]
pub struct ConditionedConfig {
    /// The condition vector, such as a one-hot label.
    pub condition: Vec<f64>,
    /// A conditional energy.
    pub energy: Box<dyn EnergyConfig>,
}

#[plugin(
    "conditioned",
    summary = "a conditional energy under one fixed condition",
    source = "Du, Li, Tenenbaum, Mordatch 2021, section 4.4",
    example = "condition = [0.0, 1.0]\nenergy = { kind = \"cifar-resnet\", filters = 16, conditional = true }"
)]
impl EnergyConfig for ConditionedConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        let inner = cx.part_under("given", "energy", &shape, self.condition.len(), &*self.energy)?;
        let under = Conditioned::new(inner, self.condition.clone());
        Ok(Arc::new(under.map_err(|e| cx.relocate("condition", e))?))
    }
}
