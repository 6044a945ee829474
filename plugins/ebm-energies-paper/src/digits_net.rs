//! `digits-net`: the paper's network for MNIST.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::block::{Form, Layers, network};
use crate::layout::Network;

/// The published `MNISTModel` (Du, Li, Tenenbaum, Mordatch 2021): three residual blocks, 28 → 14 → 7 → 4.
/// Its conditional form cannot run as published (its label map gives 256 features, its blocks expect
/// 512), so there is none here.
#[derive(Clone, Debug, Settings)]
pub struct DigitsNet {
    /// Filters of the first block; beyond 128 a multiple of 32.
    #[setting(default = 64, at_least = 1)]
    pub filters: usize,
}

#[plugin(
    "digits-net",
    summary = "the paper's residual network for MNIST",
    source = "Du, Li, Tenenbaum, Mordatch 2021 (published program)",
    example = "filters = 16"
)]
impl EnergyConfig for DigitsNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        network(cx, Network::Digits, self.filters, &Form::default(), Layers::default())
    }
}
