//! The published parameter names: what they are called here, and the whole published state.
//!
//! Inside a network of this crate a parameter has its published name without the scale's prefix.
//! Under `multi-scale` the parts are called `small`, `mid` and `large`:
//!
//! | here | published |
//! |---|---|
//! | `large.res_1a.conv1.weight` (or alone: `res_1a.conv1.weight`) | `res_1a.conv1.weight` |
//! | `mid.res_1a.conv1.weight` | `mid_res_1a.conv1.weight` |
//! | `small.energy_map.bias` | `small_energy_map.bias` |

use ebm_core::Role;

use crate::block::Layers;
use crate::layout::{Network, Scale, Stage, layout};

/// Names of the parts of a multi-scale energy, in the order of the published energy columns.
pub const PARTS: [(&str, Scale); 3] = [("small", Scale::Small), ("mid", Scale::Mid), ("large", Scale::Main)];

/// The published name of the parameter `local` of the part `part` (`small`, `mid`, `large`, or `""` for
/// a network that stands alone); `None` for another part.
pub fn published_name(part: &str, local: &str) -> Option<String> {
    let scale = match part {
        "" | "main" => Scale::Main,
        other => PARTS.iter().find(|(name, _)| *name == other)?.1,
    };
    Some(format!("{}{local}", scale.prefix()))
}

/// Part and local name of a published name: `mid_conv1.bias` is `("mid", "conv1.bias")`.
pub fn local_name(published: &str) -> (&'static str, &str) {
    for (part, scale) in [("small", Scale::Small), ("mid", Scale::Mid)] {
        if let Some(rest) = published.strip_prefix(scale.prefix()) {
            return (part, rest);
        }
    }
    ("large", published)
}

/// The published name of a parameter by its full name here: `mid.conv1.bias` or, of a network that
/// stands alone, `conv1.bias`.
pub fn published_of(full: &str) -> String {
    match full.split_once('.') {
        Some((part, local)) if PARTS.iter().any(|(name, _)| *name == part) => {
            published_name(part, local).unwrap_or_else(|| full.to_string())
        }
        _ => full.to_string(),
    }
}

/// One tensor of the published state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateTensor {
    /// Published name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Whether it takes part in the energy; the published networks carry some that do not.
    pub used: bool,
    /// Parameter or buffer.
    pub role: Role,
}

/// What decides the published state besides the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// `filter_dim`.
    pub filters: usize,
    /// Channels of the image.
    pub channels: usize,
    /// Three scales.
    pub multiscale: bool,
    /// Attention switched on; its parameters are there in any case.
    pub attention: bool,
    /// Labels used; the label maps are there in any case.
    pub conditional: bool,
    /// Norm layers (main scale only for faces).
    pub norm: bool,
    /// Spectral norm (main scale only for faces).
    pub spectral: bool,
}

/// All parameters and power-iteration vectors of the published state, used or not, without the
/// constant blur filters.
pub fn published_state(network: Network, o: &StateOptions) -> Vec<StateTensor> {
    let mut all = State { tensors: Vec::new() };
    let scales: &[Scale] = if o.multiscale && network != Network::Digits {
        &[Scale::Main, Scale::Mid, Scale::Small]
    } else {
        &[Scale::Main]
    };
    for &scale in scales {
        all.scale(network, scale, o);
    }
    match network {
        Network::Digits => {
            all.pair("map_fc1", &[256, 10], false);
            all.pair("map_fc2", &[256, 256], false);
        }
        Network::Faces | Network::Imagenet => {
            all.add("heir_weight", &[3], false, Role::Trainable);
        }
        Network::Cifar => {}
    }
    all.tensors
}

/// Length of the label that the published network's blocks expect.
pub fn published_classes(network: Network) -> usize {
    match network {
        Network::Cifar => 10,
        Network::Faces => 2,
        Network::Imagenet => 1000,
        Network::Digits => 512,
    }
}

struct State {
    tensors: Vec<StateTensor>,
}

impl State {
    fn add(&mut self, name: &str, shape: &[usize], used: bool, role: Role) {
        self.tensors.push(StateTensor { name: name.to_string(), shape: shape.to_vec(), used, role });
    }

    /// Weight of this shape and bias of its first length.
    fn pair(&mut self, name: &str, shape: &[usize], used: bool) {
        self.add(&format!("{name}.weight"), shape, used, Role::Trainable);
        self.add(&format!("{name}.bias"), &shape[..1], used, Role::Trainable);
    }

    fn scale(&mut self, network: Network, scale: Scale, o: &StateOptions) {
        // Options that a published network ignores (as the published program does).
        let reached = match network {
            Network::Cifar => true,
            Network::Faces => scale == Scale::Main,
            Network::Imagenet | Network::Digits => false,
        };
        let s = Layers {
            norm: o.norm || !reached,
            spectral: o.spectral && reached,
            classes: published_classes(network),
            ..Layers::default()
        };
        let labels = o.conditional && network != Network::Digits;
        let l = layout(network, scale, o.filters);
        let p = scale.prefix();
        self.pair(&format!("{p}conv1"), &[l.stem, o.channels, 3, 3], true);
        for stage in &l.stages {
            match *stage {
                Stage::Block { name, filters: f, down } => {
                    let name = format!("{p}{name}");
                    self.block(&name, f, down, &s, labels);
                }
                Stage::Attention { filters } => {
                    let q = filters / 8;
                    self.pair("self_attn.query_conv", &[q, filters, 1, 1], o.attention);
                    self.pair("self_attn.key_conv", &[q, filters, 1, 1], o.attention);
                    self.pair("self_attn.value_conv", &[filters, filters, 1, 1], o.attention);
                    self.add("self_attn.gamma", &[1], o.attention, Role::Trainable);
                }
            }
        }
        self.pair(&format!("{p}energy_map"), &[1, l.head()], true);
    }

    fn block(&mut self, name: &str, f: usize, down: Option<usize>, s: &Layers, labels: bool) {
        for (conv, norm, label) in [("conv1", "bn1", "latent_map"), ("conv2", "bn2", "latent_map_2")] {
            let conv = format!("{name}.{conv}");
            if s.spectral {
                self.add(&format!("{conv}.weight_orig"), &[f, f, 3, 3], true, Role::Trainable);
                self.add(&format!("{conv}.bias"), &[f], true, Role::Trainable);
                self.add(&format!("{conv}.weight_u"), &[f], true, Role::Buffer);
                self.add(&format!("{conv}.weight_v"), &[9 * f], true, Role::Buffer);
            } else {
                self.pair(&conv, &[f, f, 3, 3], true);
            }
            if s.norm {
                self.pair(&format!("{name}.{norm}"), &[f], true);
            }
            self.pair(&format!("{name}.{label}"), &[2 * f, s.classes], labels);
        }
        if let Some(to) = down {
            self.pair(&format!("{name}.conv_downsample"), &[to, f, 3, 3], true);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for published in [
            "conv1.weight",
            "mid_conv1.weight",
            "small_res_2b.bn1.bias",
            "self_attn.gamma",
            "energy_map.bias",
        ] {
            let (part, local) = local_name(published);
            assert_eq!(published_name(part, local).unwrap(), published);
            assert_eq!(published_of(&format!("{part}.{local}")), published);
        }
        assert_eq!(local_name("mid_res_1a.conv1.weight"), ("mid", "res_1a.conv1.weight"));
        assert_eq!(published_of("res_1a.conv1.weight"), "res_1a.conv1.weight");
        assert_eq!(published_name("", "conv1.bias").unwrap(), "conv1.bias");
        assert!(published_name("other", "conv1.bias").is_none());
    }
}
