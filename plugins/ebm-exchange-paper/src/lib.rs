//! The program of "Improved Contrastive Divergence Training of Energy-Based Models" (Du, Li, Tenenbaum, Mordatch, ICML 2021): its
//! checkpoints both ways, and golden files of one of its training iterations.
//!
//! ```no_run
//! use ebm_core::candle::{DType, Device};
//! use ebm_core::{BuildCx, EnergyConfig, Key};
//! use ebm_energies_paper::CifarResnet;
//! use ebm_exchange_paper::import_checkpoint;
//!
//! let mut cx = BuildCx::new(&[3, 32, 32], DType::F32, &Device::Cpu, Key::root(0));
//! let energy = CifarResnet::default().build(&mut cx)?;
//! import_checkpoint(energy.params(), "model_best.pth", Some("ema_model_state_dict_0"))?;
//! # Ok::<(), ebm_core::Error>(())
//! ```
//!
//! Both are registered, so that the commands `ebm convert` and `ebm parity` find them.

mod checkpoint;
mod convert;
pub mod parity;

pub use checkpoint::{Imported, import_checkpoint};
