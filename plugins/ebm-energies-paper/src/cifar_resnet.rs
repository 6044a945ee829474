//! `cifar-resnet`: the residual network for small colour images.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::block::{Form, Layers, network};
use crate::layout::Network;

/// The published `ResNetModel` at one scale (Du, Li, Tenenbaum, Mordatch 2021; CIFAR-10). Works for
/// images of 12×12 and larger at the main scale. Three of these under `multi-scale` make the paper's energy.
#[derive(Clone, Debug, Settings)]
pub struct CifarResnet {
    /// Filters of the first block; beyond 128 a multiple of 32.
    #[setting(default = 64, at_least = 1)]
    pub filters: usize,
    /// Instance norm (group norm with 32 groups beyond 128 filters).
    #[setting(default = true)]
    pub norm: bool,
    /// Spectral norm in place of weight standardisation.
    #[setting(default = false)]
    pub spectral: bool,
    /// Scale, attention, pooling, output, labels.
    #[setting(flatten, default)]
    pub form: Form,
}

#[plugin(
    "cifar-resnet",
    summary = "the paper's residual network for 32×32 colour images, one scale",
    source = "Du, Li, Tenenbaum, Mordatch 2021 (published program)",
    example = "scale = \"main\"\nfilters = 16\nattention = true"
)]
impl EnergyConfig for CifarResnet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let layers = Layers { norm: self.norm, spectral: self.spectral, ..Layers::default() };
        network(cx, Network::Cifar, self.filters, &self.form, layers)
    }
}
