//! Layers as functions over [`Diff`](ebm_core::Diff): each runs on plain tensors and on dual numbers.

mod activation;
mod attention;
mod conv;
mod label;
mod linear;
mod norm;
mod pool;
mod spectral;
mod standardise;
mod tie;

pub use activation::{activate, swish};
pub use attention::self_attention;
pub use conv::{conv2d, input_gradient, weight_gradient};
pub use label::label_affine;
pub use linear::{fourier, linear};
pub use norm::group_norm;
pub use pool::{pool2d, pooled_length, pooling_matrix, pooling_tensor};
pub use spectral::{power_iteration, spectral};
pub use standardise::standardised;
