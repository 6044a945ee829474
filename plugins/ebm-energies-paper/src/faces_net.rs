//! `faces-net`: the network for CelebA, LSUN and rendered objects at 128×128.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::block::{Form, Layers, network};
use crate::layout::{Network, Scale};

/// The published `CelebAModel` at one scale (Du, Li, Tenenbaum, Mordatch 2021). Works for images of
/// 48×48 and larger at the main scale. As published, `norm` and `spectral` reach the main network
/// only; the other two always use norms and standardised weights.
#[derive(Clone, Debug, Settings)]
pub struct FacesNet {
    /// Filters after the first block, even; beyond 128 a multiple of 32.
    #[setting(default = 128, at_least = 2)]
    pub filters: usize,
    /// Instance norm (group norm with 32 groups beyond 128 filters); main scale only.
    #[setting(default = true)]
    pub norm: bool,
    /// Spectral norm in place of weight standardisation; main scale only.
    #[setting(default = false)]
    pub spectral: bool,
    /// Scale, attention, pooling, output, labels.
    #[setting(flatten, default)]
    pub form: Form,
}

/// The main network begins with half the filters: an odd number has no half.
pub(crate) fn check_even(cx: &BuildCx, filters: usize) -> Result<()> {
    if filters.is_multiple_of(2) {
        return Ok(());
    }
    let message = format!("is {filters}, must be even: the network begins with half of them");
    Err(cx.refuse("filters", message))
}

#[plugin(
    "faces-net",
    summary = "the paper's network for 128×128 faces, bedrooms and rendered objects, one scale",
    source = "Du, Li, Tenenbaum, Mordatch 2021 (published program)",
    example = "scale = \"small\"\nfilters = 16"
)]
impl EnergyConfig for FacesNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        check_even(cx, self.filters)?;
        let main = self.form.scale == Scale::Main;
        let layers =
            Layers { norm: self.norm || !main, spectral: self.spectral && main, ..Layers::default() };
        network(cx, Network::Faces, self.filters, &self.form, layers)
    }
}
