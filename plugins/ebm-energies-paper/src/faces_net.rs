//! `faces-net`: the network for CelebA, LSUN and rendered objects at 128×128.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Error, Param, Result, register};
use serde::{Deserialize, Serialize};

use crate::block::{Switches, network};
use crate::layout::{Network, Scale, layout};

/// The published `CelebAModel` at one scale (Du, Li, Tenenbaum, Mordatch 2021). Works for images of
/// 48×48 and larger at the main scale. As published, `norm` and `spectral` reach the main network
/// only; the other two always use norms and standardised weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FacesNet {
    /// Which of the three networks.
    #[serde(default)]
    pub scale: Scale,
    /// Filters after the first block; the main network begins with half of them.
    #[serde(default = "default_filters")]
    pub filters: usize,
    /// Self attention at a 32nd of the image (main scale only).
    #[serde(default = "yes")]
    pub attention: bool,
    /// Instance norm (group norm with 32 groups beyond 128 filters); main scale only.
    #[serde(default = "yes")]
    pub norm: bool,
    /// Spectral norm in place of weight standardisation; main scale only.
    #[serde(default)]
    pub spectral: bool,
    /// Anti-aliased pooling (Zhang 2019).
    #[serde(default)]
    pub alias: bool,
    /// Square the energy.
    #[serde(default)]
    pub square: bool,
    /// Logistic function of the energy (after the square).
    #[serde(default)]
    pub sigmoid: bool,
    /// Label gain and bias in every block; the label length is that of the data.
    #[serde(default)]
    pub conditional: bool,
}

fn default_filters() -> usize {
    128
}

fn yes() -> bool {
    true
}

impl Default for FacesNet {
    fn default() -> Self {
        FacesNet {
            scale: Scale::Main,
            filters: 128,
            attention: true,
            norm: true,
            spectral: false,
            alias: false,
            square: false,
            sigmoid: false,
            conditional: false,
        }
    }
}

/// The main network begins with half the filters: an odd number has no half.
pub(crate) fn check_even(cx: &BuildCx, filters: usize) -> Result<()> {
    if filters.is_multiple_of(2) {
        return Ok(());
    }
    Err(Error::config(
        format!("{}.filters", cx.path()),
        format!("is {filters}, must be even: the network begins with half of them"),
    ))
}

#[typetag::serde(name = "faces-net")]
impl EnergyConfig for FacesNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        check_even(cx, self.filters)?;
        let main = self.scale == Scale::Main;
        let switches = Switches {
            attention: self.attention,
            norm: self.norm || !main,
            spectral: self.spectral && main,
            alias: self.alias,
            square: self.square,
            sigmoid: self.sigmoid,
            classes: cx.label(self.conditional)?,
        };
        network(cx, &layout(Network::Faces, self.scale, self.filters), &switches)
    }
}

register! {
    EnergyConfig, "faces-net" => FacesNet,
    summary: "the paper's network for 128×128 faces, bedrooms and rendered objects, one scale",
    source: "Du, Li, Tenenbaum, Mordatch 2021 (published program)",
    example: "scale = \"small\"\nfilters = 16",
    params: [
        Param::choice("scale", Scale::WORDS, "which of the three networks: image, half or quarter resolution")
            .default("\"main\""),
        Param::int("filters", "filters after the first block, even; beyond 128 a multiple of 32")
            .default("128")
            .at_least(2.0),
        Param::bool("attention", "self attention (main scale only)").default("true"),
        Param::bool("norm", "instance norm, group norm beyond 128 filters (main scale only)").default("true"),
        Param::bool("spectral", "spectral norm in place of weight standardisation (main scale only)").default("false"),
        Param::bool("alias", "anti-aliased pooling").default("false"),
        Param::bool("square", "square the energy").default("false"),
        Param::bool("sigmoid", "logistic function of the energy, after the square").default("false"),
        Param::bool("conditional", "label gain and bias in every block").default("false"),
    ],
}
