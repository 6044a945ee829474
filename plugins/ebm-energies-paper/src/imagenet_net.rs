//! `imagenet-net`: the network for ImageNet at 128×128.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Param, Result, register};
use serde::{Deserialize, Serialize};

use crate::block::{Switches, network};
use crate::faces_net::check_even;
use crate::layout::{Network, Scale, layout};

/// The published `ImagenetModel` at one scale (Du, Li, Tenenbaum, Mordatch 2021): the blocks of
/// `faces-net`, always with norms and standardised weights, 1000 classes if conditional.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagenetNet {
    /// Which of the three networks.
    #[serde(default)]
    pub scale: Scale,
    /// Filters after the first block; the main network begins with half of them.
    #[serde(default = "default_filters")]
    pub filters: usize,
    /// Self attention at a 32nd of the image (main scale only).
    #[serde(default = "yes")]
    pub attention: bool,
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
    64
}

fn yes() -> bool {
    true
}

impl Default for ImagenetNet {
    fn default() -> Self {
        ImagenetNet {
            scale: Scale::Main,
            filters: 64,
            attention: true,
            alias: false,
            square: false,
            sigmoid: false,
            conditional: false,
        }
    }
}

#[typetag::serde(name = "imagenet-net")]
impl EnergyConfig for ImagenetNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        check_even(cx, self.filters)?;
        let switches = Switches {
            attention: self.attention,
            norm: true,
            spectral: false,
            alias: self.alias,
            square: self.square,
            sigmoid: self.sigmoid,
            classes: cx.label(self.conditional)?,
        };
        network(cx, &layout(Network::Imagenet, self.scale, self.filters), &switches)
    }
}

register! {
    EnergyConfig, "imagenet-net" => ImagenetNet,
    summary: "the paper's network for ImageNet at 128×128, one scale",
    source: "Du, Li, Tenenbaum, Mordatch 2021 (published program)",
    example: "scale = \"small\"\nfilters = 16",
    params: [
        Param::choice("scale", Scale::WORDS, "which of the three networks: image, half or quarter resolution")
            .default("\"main\""),
        Param::int("filters", "filters after the first block, even; beyond 128 a multiple of 32")
            .default("64")
            .at_least(2.0),
        Param::bool("attention", "self attention (main scale only)").default("true"),
        Param::bool("alias", "anti-aliased pooling").default("false"),
        Param::bool("square", "square the energy").default("false"),
        Param::bool("sigmoid", "logistic function of the energy, after the square").default("false"),
        Param::bool("conditional", "label gain and bias in every block").default("false"),
    ],
}
