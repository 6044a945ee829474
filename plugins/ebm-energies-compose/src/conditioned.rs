//! `conditioned`: a conditional energy under one fixed condition.

use std::sync::Arc;

use ebm_core::{BuildCx, Conditioned, EnergyConfig, EnergyFn, Family, Param, Result, register};
use serde::{Deserialize, Serialize};

/// `E(x | c)` for one `c` for all samples; the batch's own condition is not looked at.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionedConfig {
    /// The condition vector.
    pub condition: Vec<f64>,
    /// A conditional energy.
    pub energy: Box<dyn EnergyConfig>,
}

#[typetag::serde(name = "conditioned")]
impl EnergyConfig for ConditionedConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        let inner = cx.part_under("given", &shape, self.condition.len(), &*self.energy)?;
        Ok(Arc::new(Conditioned::new(inner, self.condition.clone())?))
    }
}

register! {
    EnergyConfig, "conditioned" => ConditionedConfig,
    summary: "a conditional energy under one fixed condition",
    source: "Du, Li, Tenenbaum, Mordatch 2021, section 4.4",
    example: "condition = [0.0, 1.0]\nenergy = { kind = \"cifar-resnet\", filters = 16, conditional = true }",
    params: [
        Param::floats("condition", "the condition vector, such as a one-hot label"),
        Param::part("energy", Family::Energy, "a conditional energy"),
    ],
}
