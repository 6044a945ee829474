//! `digits-net`: the paper's network for MNIST.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Param, Result, register};
use serde::{Deserialize, Serialize};

use crate::block::{Switches, network};
use crate::layout::{Network, Scale, layout};

/// The published `MNISTModel` (Du, Li, Tenenbaum, Mordatch 2021): three residual blocks, 28 → 14 → 7 → 4.
/// Its conditional form cannot run as published (its label map gives 256 features, its blocks expect
/// 512), so there is none here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigitsNet {
    /// Filters of the first block.
    #[serde(default = "sixty_four")]
    pub filters: usize,
}

fn sixty_four() -> usize {
    64
}

impl Default for DigitsNet {
    fn default() -> Self {
        DigitsNet { filters: 64 }
    }
}

#[typetag::serde(name = "digits-net")]
impl EnergyConfig for DigitsNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        network(cx, &layout(Network::Digits, Scale::Main, self.filters), &Switches::default())
    }
}

register! {
    EnergyConfig, "digits-net" => DigitsNet,
    summary: "the paper's residual network for MNIST",
    source: "Du, Li, Tenenbaum, Mordatch 2021 (published program)",
    example: "filters = 16",
    params: [
        Param::int("filters", "filters of the first block; beyond 128 a multiple of 32").default("64").at_least(1.0),
    ],
}
