//! The published residual block, and a whole network out of blocks.

use std::sync::Arc;

use ebm_core::plan::{Activation, Pool};
use ebm_core::{BuildCx, EnergyFn, Result, Settings};
use ebm_nn::{Conv, NetBuilder, Weight};

use crate::layout::{Network, Scale, Stage, layout};

/// The settings that the published networks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub struct Form {
    /// Which of the three networks: image, half or quarter resolution.
    #[setting(default = Scale::Main)]
    pub scale: Scale,
    /// Self attention (main scale only); needs 4 or more filters.
    #[setting(default = true)]
    pub attention: bool,
    /// Anti-aliased pooling (Zhang 2019).
    #[setting(default = false)]
    pub alias: bool,
    /// Square the energy.
    #[setting(default = false)]
    pub square: bool,
    /// Logistic function of the energy, after the square.
    #[setting(default = false)]
    pub sigmoid: bool,
    /// Label gain and bias in every block; the label length is that of the data.
    #[setting(default = false)]
    pub conditional: bool,
}

/// The layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Norms after the convolutions.
    pub norm: bool,
    /// Spectral norm of the convolutions' weights in place of standardised ones.
    pub spectral: bool,
    /// Blur before halving in place of 3×3 averages.
    pub alias: bool,
    /// Length of the label; 0 for none.
    pub classes: usize,
}

impl Default for Layers {
    fn default() -> Self {
        Layers { norm: true, spectral: false, alias: false, classes: 0 }
    }
}

/// Groups of the norm over `filters` channels: instance norm up to 128, 32 groups beyond.
fn groups(filters: usize) -> usize {
    if filters <= 128 { filters } else { 32 }
}

/// Appends the block `name`: twice conv, norm, label gain and bias, swish; sum with the
/// block's input; with `down`, a plain convolution to that many channels, pooling and swish.
///
/// # Errors
/// If the sample is no image.
pub fn block(
    net: &mut NetBuilder<'_>,
    name: &str,
    filters: usize,
    down: Option<usize>,
    l: &Layers,
) -> Result<()> {
    let skip = net.here();
    let weight = if l.spectral { Weight::Spectral } else { Weight::Standardised };
    for (conv, norm, label) in [("conv1", "bn1", "latent_map"), ("conv2", "bn2", "latent_map_2")] {
        net.conv(&format!("{name}.{conv}"), Conv::new(filters, 3).weight(weight))?;
        if l.norm {
            net.norm(&format!("{name}.{norm}"), groups(filters))?;
        }
        if l.classes > 0 {
            net.label(&format!("{name}.{label}"), l.classes)?;
        }
        net.activate(Activation::Swish)?;
    }
    net.add(skip)?;
    if let Some(to) = down {
        net.conv(&format!("{name}.conv_downsample"), Conv::new(to, 3))?;
        net.pool(if l.alias { Pool::Blur } else { Pool::Average3 })?.activate(Activation::Swish)?;
    }
    Ok(())
}

/// The energy of a published network: stem, blocks, swish, mean over space, scalar head, then square, then sigmoid.
/// Of `layers`, `norm` and `spectral` are looked at; the rest is in `form`.
pub(crate) fn network(
    cx: &mut BuildCx,
    network: Network,
    filters: usize,
    form: &Form,
    layers: Layers,
) -> Result<Arc<dyn EnergyFn>> {
    let layers = Layers { alias: form.alias, classes: cx.label(form.conditional)?, ..layers };
    let layout = layout(network, form.scale, filters);
    cx.image_shape()?;
    if layout.stem == 0 {
        return Err(cx.refuse("filters", "is too small: the first layer has no filters"));
    }
    let mut net = NetBuilder::new(cx);
    net.conv("conv1", Conv::new(layout.stem, 3))?.activate(Activation::Swish)?;
    for stage in &layout.stages {
        match *stage {
            Stage::Block { name, filters, down } => block(&mut net, name, filters, down, &layers)?,
            Stage::Attention { .. } if form.attention => {
                net.attention("self_attn")?;
            }
            Stage::Attention { .. } => {}
        }
    }
    net.activate(Activation::Swish)?.spatial_mean()?.linear("energy_map", 1)?;
    if form.square {
        net.activate(Activation::Square)?;
    }
    if form.sigmoid {
        net.activate(Activation::Sigmoid)?;
    }
    net.term("energy");
    net.finish()
}
