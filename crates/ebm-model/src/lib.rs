//! Trained models: what they need to know, checkpoints as they are read, samples and energies.
//!
#![doc = include_str!("../README.md")]

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
