//! The published residual block, and a whole network out of blocks.

use std::sync::Arc;

use ebm_core::plan::{Activation, Pool};
use ebm_core::{BuildCx, EnergyFn, Error, Result};
use ebm_nn::{Conv, NetBuilder, Weight};

use crate::layout::{Layout, Stage};

/// Switches of a published network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switches {
    pub attention: bool,
    pub norm: bool,
    pub spectral: bool,
    pub alias: bool,
    pub square: bool,
    pub sigmoid: bool,
    /// Length of the label; 0 for none.
    pub classes: usize,
}

impl Default for Switches {
    fn default() -> Self {
        Switches {
            attention: false,
            norm: true,
            spectral: false,
            alias: false,
            square: false,
            sigmoid: false,
            classes: 0,
        }
    }
}

/// Groups of the norm over `filters` channels: instance norm up to 128, 32 groups beyond.
fn groups(filters: usize) -> usize {
    if filters <= 128 { filters } else { 32 }
}

/// Appends the block `name` (spec 8.2): twice conv, norm, label gain and bias, swish; sum with the
/// block's input; with `down`, a plain convolution to that many channels, pooling and swish.
pub(crate) fn block(
    net: &mut NetBuilder<'_>,
    name: &str,
    filters: usize,
    down: Option<usize>,
    s: &Switches,
) -> Result<()> {
    let skip = net.here();
    let weight = if s.spectral { Weight::Spectral } else { Weight::Standardised };
    for (conv, norm, label) in [("conv1", "bn1", "latent_map"), ("conv2", "bn2", "latent_map_2")] {
        net.conv(&format!("{name}.{conv}"), Conv::new(filters, 3).weight(weight))?;
        if s.norm {
            net.norm(&format!("{name}.{norm}"), groups(filters))?;
        }
        if s.classes > 0 {
            net.label(&format!("{name}.{label}"), s.classes)?;
        }
        net.activate(Activation::Swish)?;
    }
    net.add(skip)?;
    if let Some(to) = down {
        net.conv(&format!("{name}.conv_downsample"), Conv::new(to, 3))?;
        net.pool(if s.alias { Pool::Blur } else { Pool::Average3 })?.activate(Activation::Swish)?;
    }
    Ok(())
}

/// The energy of `layout`: stem, blocks, swish, mean over space, scalar head, then square, then sigmoid.
pub(crate) fn network(cx: &mut BuildCx, layout: &Layout, s: &Switches) -> Result<Arc<dyn EnergyFn>> {
    cx.image_shape()?;
    let path = cx.path().to_string();
    if layout.stem == 0 {
        return Err(Error::config(format!("{path}.filters"), "is too small: the first layer has no filters"));
    }
    let mut net = NetBuilder::new(cx);
    net.conv("conv1", Conv::new(layout.stem, 3))?.activate(Activation::Swish)?;
    for stage in &layout.stages {
        match *stage {
            Stage::Block { name, filters, down } => block(&mut net, name, filters, down, s)?,
            Stage::Attention { .. } if s.attention => {
                net.attention("self_attn")?;
            }
            Stage::Attention { .. } => {}
        }
    }
    net.activate(Activation::Swish)?.spatial_mean()?.linear("energy_map", 1)?;
    if s.square {
        net.activate(Activation::Square)?;
    }
    if s.sigmoid {
        net.activate(Activation::Sigmoid)?;
    }
    net.term("energy");
    net.finish()
}
