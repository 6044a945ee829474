//! Network energies: `mlp`, a multilayer perceptron, `conv-net`, a small convolutional net, `series-net`, convolutions along time,
//! and `set-net`, a net of the points of a set.
//!
//! ```
//! use ebm_core::candle::{DType, Device, Tensor};
//! use ebm_core::{Batch, BuildCx, EnergyConfig, Key};
//! use ebm_energies_net::Mlp;
//!
//! let config = Mlp { hidden: vec![16, 16], ..Mlp::default() };
//! let energy = config.build(&mut BuildCx::new(&[2], DType::F32, &Device::Cpu, Key::root(0)))?;
//! let at = Batch::new(Tensor::zeros((3, 2), DType::F32, &Device::Cpu)?)?;
//! assert_eq!(energy.energy(&at)?.dims(), [3]);
//! # Ok::<(), ebm_core::Error>(())
//! ```

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
