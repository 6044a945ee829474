//! Layers as functions over [`Diff`](ebm_core::Diff): each runs on plain tensors and on dual numbers.

mod activation;
mod attention;
mod conv;
mod label;
mod linear;
mod norm;
mod pool;
mod rows;
mod sequence;
mod spectral;
mod standardise;
mod turned;

pub use activation::{activate, swish};
pub use attention::self_attention;
pub use conv::{conv2d, conv2d_in, input_gradient, weight_gradient};
pub(crate) use conv::{convolve, pulled_back};
pub use label::label_affine;
pub(crate) use label::label_gain;
pub use linear::{fourier, linear};
pub use norm::group_norm;
pub use pool::{pool2d, pool2d_by, pooling_matrix, pooling_tensor};
pub use rows::{atan2, gather_last, layer_norm, max_last, rms_norm, scatter_add_last, sort_last};
pub use sequence::{conv1d, max_pool2d};
pub use spectral::{power_iteration, spectral};
pub use standardise::standardised;
pub(crate) use turned::channels_last;

use candle_core::Tensor;
use ebm_core::plan::WeightRule;
use ebm_core::{Result, View};

/// The weight that a convolution uses, from its parameter `name`.
pub(crate) fn effective_weight(p: &View, name: &str, rule: &WeightRule) -> Result<Tensor> {
    let raw = p.get(name)?;
    match rule {
        WeightRule::Plain => Ok(raw.clone()),
        WeightRule::Standardised => Ok(standardised(raw)?),
        WeightRule::Spectral { u, v } => Ok(spectral(raw, p.get(u)?, p.get(v)?)?),
    }
}
