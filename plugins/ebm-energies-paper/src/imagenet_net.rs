//! `imagenet-net`: the network for ImageNet at 128×128.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::block::{Form, Layers, network};
use crate::faces_net::check_even;
use crate::layout::Network;

/// The published `ImagenetModel` at one scale (Du, Li, Tenenbaum, Mordatch 2021): the blocks of
/// `faces-net`, always with norms and standardised weights, 1000 classes if conditional.
#[derive(Clone, Debug, Settings)]
pub struct ImagenetNet {
    /// Filters after the first block, even; beyond 128 a multiple of 32.
    #[setting(default = 64, at_least = 2)]
    pub filters: usize,
    /// Scale, attention, pooling, output, labels.
    #[setting(flatten, default)]
    pub form: Form,
}

#[plugin(
    "imagenet-net",
    summary = "the paper's network for ImageNet at 128×128, one scale",
    source = "Du, Li, Tenenbaum, Mordatch 2021 (published program)",
    example = "scale = \"small\"\nfilters = 16"
)]
impl EnergyConfig for ImagenetNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        check_even(cx, self.filters)?;
        network(cx, Network::Imagenet, self.filters, &self.form, Layers::default())
    }
}
