//! Trained models: what they need to know, checkpoints as they are read, samples and energies.
//!
//! A [`Model`] is an energy with its weights, the program that samples it, the starts of its chains, and the [`Facts`] of the
//! samples it was trained on. All of it is in a checkpoint: training data, objective, optimiser and replay buffer of the run
//! are neither built nor read.
//!
//! ```no_run
//! use std::path::Path;
//! use ebm_core::candle::Device;
//! use ebm_model::{Model, Opening};
//!
//! let model = Model::open(Path::new("runs/digits-0-1"), Opening::on(&Device::Cpu))?;
//! let samples = model.generator().draw(16, model.conditions()?, model.key().at("generate"))?;
//! println!("{:?}: {:?} nats", samples.dims(), model.energies()?.at(&samples)?);
//! # Ok::<(), ebm_core::Error>(())
//! ```

mod absent;
pub mod checkpoint;
pub mod config;
pub mod digest;
mod energies;
mod engine_watch;
mod facts;
mod generate;
mod model;
mod parts;
mod starts;
mod stored;

pub use config::{ModelConfig, Precision, Sections, Weights};
pub use energies::Energies;
pub use facts::Facts;
pub use generate::{Generator, one_condition};
pub use model::{Model, Opening};
pub use parts::{Parts, Setup};
pub use starts::Starts;
