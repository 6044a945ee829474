//! The framework in one crate: configuration, runs, models, measures.
//!
//! ```no_run
//! use ebm::Source;
//! use ebm::run::{TrainOptions, train};
//! # use ebm_plugins as _; // links the standard set of plugins
//!
//! // The built-in quick start, shortened; everything else as `ebm train` does it.
//! let source = Source::quick_start().with(["run.steps=200"])?;
//! let trained = train(&source, &TrainOptions::default())?;
//! println!("{} after {} steps", trained.directory.display(), trained.summary.step);
//! # Ok::<(), ebm::Error>(())
//! ```
//!
//! The command line, for binaries with plugins of their own too, is the crate `ebm-cli`.
//!
//! The crates below are here under their own words: [`core`] (the traits), [`train`] (the step and the loop), [`eval`]
//! (measures on plain slices), [`data`] (readers), [`draw`] (pictures and charts), [`features`] (feature networks), [`nn`] (layers), [`ranks`].

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
