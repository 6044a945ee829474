//! The networks of "Improved Contrastive Divergence Training of Energy-Based Models" (Du, Li,
//! Tenenbaum, Mordatch, ICML 2021) as energies, exactly as the published program computes them.
//!
//! ```
//! use ebm_core::candle::{DType, Device};
//! use ebm_core::{BuildCx, EnergyConfig, Key};
//! use ebm_energies_paper::CifarResnet;
//!
//! let config = CifarResnet { filters: 16, ..CifarResnet::default() };
//! let energy = config.build(&mut BuildCx::new(&[3, 32, 32], DType::F32, &Device::Cpu, Key::root(0)))?;
//! assert_eq!(energy.params().count(), 305_498); // the published count of parameters in use
//! # Ok::<(), ebm_core::Error>(())
//! ```
//!
//! Each network has one resolution; three of them (`scale = "small"`, `"mid"`, `"main"`) under the
//! `multi-scale` energy make the paper's multi-scale energy. [`names`] maps parameter names to the
//! published ones; the crate `ebm-exchange-paper` reads and writes the program's checkpoints and compares with it.

pub mod block;
mod cifar_resnet;
mod digits_net;
mod faces_net;
mod imagenet_net;
pub mod layout;
pub mod names;

pub use block::Form;
pub use cifar_resnet::CifarResnet;
pub use digits_net::DigitsNet;
pub use faces_net::FacesNet;
pub use imagenet_net::ImagenetNet;
pub use layout::{Network, Scale};
