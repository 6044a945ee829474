//! Network energies: `mlp`, a multilayer perceptron, `conv-net`, a small convolutional net, `series-net`, convolutions along time,
//! and `set-net`, a net of the points of a set.
//!
#![doc = include_str!("../README.md")]

mod activation;
mod along;
mod conv_net;
mod mlp;
mod series_net;
mod set_net;

pub use activation::Nonlinearity;
pub use along::Pooling;
pub use conv_net::{ConvLayer, ConvNet};
pub use mlp::{FourierFeatures, Mlp};
pub use series_net::{SeriesLayer, SeriesNet};
pub use set_net::SetNet;
