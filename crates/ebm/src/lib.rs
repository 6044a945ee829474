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
//! An energy and a tensor are trained, sampled and measured without a configuration; the parts are plain values:
//!
//! ```
//! use ebm::core::candle::{DType, Device, Tensor};
//! use ebm::core::{Autograd, Batch, Diff, Draws, EnergySpec, Forward, Keep, Key, ParamSet, Role, View};
//! use ebm::eval::{Traces, ess_bulk, rhat};
//! use ebm::train::Training;
//! use {ebm_objectives::Contrast, ebm_optimisers::Adam, ebm_samplers::{Chain, Mala}};
//!
//! /// E(x) = |xW|²/2: a Gaussian whose precision WWᵀ is learned.
//! struct Gaussian;
//! impl Forward for Gaussian {
//!     fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> ebm::core::Result<V> {
//!         x.matmul(p.get("w")?)?.square()?.sum_last()?.scale(0.5)
//!     }
//! }
//!
//! let w = ("w".to_string(), Tensor::eye(2, DType::F32, &Device::Cpu)?, Role::Trainable);
//! let energy = Autograd::new("gaussian", Gaussian, EnergySpec::new(&[2], &["e"]), ParamSet::new([w])?);
//! let data = Tensor::randn(0f32, 0.5, (2000, 2), &Device::Cpu)?;
//! let chain = || Chain::new(Box::new(Mala::new(0.1)), 5);
//!
//! let training = Training::of(energy, data)?.sampler(chain()).objective(Contrast::default());
//! let trained = training.optimiser(Adam::new(0.02)).steps(300).run()?;
//!
//! let start = Batch::new(Tensor::zeros((4, 2), DType::F32, &Device::Cpu)?)?;
//! let draws = Draws::of(&chain(), trained.energy.as_ref(), start, Keep::from(500).after(100), Key::root(2))?;
//! let x = draws.coordinate(0)?;
//! let chains = Traces::new(&x, 4, 500)?;
//! println!("{:.0} effective draws, R-hat {:.3}", ess_bulk(chains), rhat(chains));
//! # let variance = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
//! # assert!((variance - 0.25).abs() < 0.1, "{variance}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
