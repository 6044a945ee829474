//! The framework in one crate: configuration, runs, models, measures.
//!
#![doc = include_str!("../README.md")]

pub mod config;
mod error;
pub mod inputs;
pub mod interop;
pub mod measure;
mod median;
pub mod model;
pub mod report;
pub mod run;
pub mod study;
mod tensors;
mod text_file;
pub mod whole_file;

pub use config::Source;
pub use ebm_core as core;
pub use ebm_data as data;
pub use ebm_draw as draw;
pub use ebm_eval as eval;
pub use ebm_exchange as exchange;
pub use ebm_features as features;
pub use ebm_nn as nn;
pub use ebm_ranks as ranks;
pub use ebm_train as train;
pub use error::{Blocked, Error, Result};
pub use model::Model;
