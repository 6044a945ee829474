//! Network energies: `mlp`, a multilayer perceptron, and `conv-net`, a small convolutional net.
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
mod conv_net;
mod mlp;

pub use activation::Nonlinearity;
pub use conv_net::{ConvLayer, ConvNet};
pub use mlp::{FourierFeatures, Mlp};
