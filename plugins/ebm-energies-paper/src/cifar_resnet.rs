//! `cifar-resnet`: the residual network for small colour images.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Param, Result, register};
use serde::{Deserialize, Serialize};

use crate::block::{Switches, network};
use crate::layout::{Network, Scale, layout};

/// The published `ResNetModel` at one scale (Du, Li, Tenenbaum, Mordatch 2021; CIFAR-10). Works for
/// images of 12×12 and larger at the main scale. Three of these under `multi-scale` make the paper's energy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CifarResnet {
    /// Which of the three networks.
    #[serde(default)]
    pub scale: Scale,
    /// Filters of the first block.
    #[serde(default = "sixty_four")]
    pub filters: usize,
    /// Self attention at an eighth of the image (main scale only).
    #[serde(default = "yes")]
    pub attention: bool,
    /// Instance norm (group norm with 32 groups beyond 128 filters).
    #[serde(default = "yes")]
    pub norm: bool,
    /// Spectral norm in place of weight standardisation.
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

fn sixty_four() -> usize {
    64
}

fn yes() -> bool {
    true
}

impl Default for CifarResnet {
    fn default() -> Self {
        CifarResnet {
            scale: Scale::Main,
            filters: 64,
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

#[typetag::serde(name = "cifar-resnet")]
impl EnergyConfig for CifarResnet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let switches = Switches {
            attention: self.attention,
            norm: self.norm,
            spectral: self.spectral,
            alias: self.alias,
            square: self.square,
            sigmoid: self.sigmoid,
            classes: cx.label(self.conditional)?,
        };
        network(cx, &layout(Network::Cifar, self.scale, self.filters), &switches)
    }
}

register! {
    EnergyConfig, "cifar-resnet" => CifarResnet,
    summary: "the paper's residual network for 32×32 colour images, one scale",
    source: "Du, Li, Tenenbaum, Mordatch 2021 (published program)",
    example: "scale = \"main\"\nfilters = 16\nattention = true",
    params: [
        Param::choice("scale", Scale::WORDS, "which of the three networks: image, half or quarter resolution")
            .default("\"main\""),
        Param::int("filters", "filters of the first block; beyond 128 a multiple of 32").default("64").at_least(1.0),
        Param::bool("attention", "self attention (main scale only); needs 4 or more filters").default("true"),
        Param::bool("norm", "instance norm, group norm beyond 128 filters").default("true"),
        Param::bool("spectral", "spectral norm in place of weight standardisation").default("false"),
        Param::bool("alias", "anti-aliased pooling").default("false"),
        Param::bool("square", "square the energy").default("false"),
        Param::bool("sigmoid", "logistic function of the energy, after the square").default("false"),
        Param::bool("conditional", "label gain and bias in every block").default("false"),
    ],
}
