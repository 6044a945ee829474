//! The published networks as lists of blocks, one list a network and scale.

use ebm_core::Settings;

/// Which of the three networks of a multi-scale energy: each sees the image at its own resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Scale {
    /// The image itself; the deepest network.
    #[default]
    Main,
    /// Half the resolution.
    Mid,
    /// A quarter of the resolution.
    Small,
}

impl Scale {
    /// All scales in the order of the published energy columns.
    pub const ALL: [Scale; 3] = [Scale::Small, Scale::Mid, Scale::Main];

    /// Prefix of the published parameter names.
    pub fn prefix(self) -> &'static str {
        match self {
            Scale::Main => "",
            Scale::Mid => "mid_",
            Scale::Small => "small_",
        }
    }

    /// How often the image is halved before this network sees it.
    pub fn halvings(self) -> usize {
        match self {
            Scale::Main => 0,
            Scale::Mid => 1,
            Scale::Small => 2,
        }
    }
}

/// A published network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// `ResNetModel`: CIFAR-10 and other small colour images.
    Cifar,
    /// `CelebAModel`: CelebA, LSUN, rendered objects at 128×128.
    Faces,
    /// `ImagenetModel`: like faces, always with norm layers.
    Imagenet,
    /// `MNISTModel`.
    Digits,
}

/// One step of a network between stem and head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A residual block.
    Block {
        /// Its published name without the scale's prefix.
        name: &'static str,
        /// Channels of its convolutions.
        filters: usize,
        /// Where it halves the image, the channels that it leaves.
        down: Option<usize>,
    },
    /// Self attention, if switched on.
    Attention {
        /// Channels of the map.
        filters: usize,
    },
}

/// A network at one scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Filters of the first convolution.
    pub stem: usize,
    /// Blocks in order.
    pub stages: Vec<Stage>,
}

impl Layout {
    /// Channels that the head sees.
    pub fn head(&self) -> usize {
        let last = self.stages.iter().rev().find_map(|s| match s {
            Stage::Block { filters, down, .. } => Some(down.unwrap_or(*filters)),
            Stage::Attention { .. } => None,
        });
        last.unwrap_or(self.stem)
    }
}

fn keep(name: &'static str, filters: usize) -> Stage {
    Stage::Block { name, filters, down: None }
}

fn down(name: &'static str, filters: usize, to: usize) -> Stage {
    Stage::Block { name, filters, down: Some(to) }
}

/// The layout of `network` at `scale` with `filter_dim = f`. The digits net has one scale only.
pub fn layout(network: Network, scale: Scale, f: usize) -> Layout {
    // Multiples of wider ones might not fit a number; no parameter of such a width can be made.
    let f = f.min(1 << 32);
    match network {
        Network::Cifar => cifar(scale, f),
        Network::Faces | Network::Imagenet => faces(scale, f),
        Network::Digits => Layout {
            stem: f,
            stages: vec![down("res1", f, 2 * f), down("res2", 2 * f, 4 * f), down("res3", 4 * f, 8 * f)],
        },
    }
}

fn cifar(scale: Scale, f: usize) -> Layout {
    let mut stages =
        vec![keep("res_1a", f), down("res_1b", f, f), keep("res_2a", f), down("res_2b", f, 2 * f)];
    if scale == Scale::Main {
        stages.push(Stage::Attention { filters: 2 * f });
    }
    if scale != Scale::Small {
        stages.extend([keep("res_3a", 2 * f), down("res_3b", 2 * f, 4 * f)]);
    }
    if scale == Scale::Main {
        stages.extend([keep("res_4a", 4 * f), down("res_4b", 4 * f, 8 * f)]);
    }
    Layout { stem: f, stages }
}

fn faces(scale: Scale, f: usize) -> Layout {
    // The main network begins with half the filters: its first maps are the largest.
    let stem = if scale == Scale::Main { f / 2 } else { f };
    let mut stages =
        vec![down("res_1a", stem, f), down("res_1b", f, f), down("res_2a", f, f), down("res_2b", f, 2 * f)];
    if scale != Scale::Small {
        stages.extend([keep("res_3a", 2 * f), down("res_3b", 2 * f, 4 * f)]);
    }
    if scale == Scale::Main {
        stages.push(Stage::Attention { filters: 4 * f });
        stages.extend([keep("res_4a", 4 * f), down("res_4b", 4 * f, 8 * f)]);
    }
    Layout { stem, stages }
}
