//! The training step, its state, checkpoints and the loop.
//!
//! A [`RunConfig`] is text; a [`Plan`] is its live parts, checked against each other; a
//! [`TrainState`] is everything the next step depends on besides. The crate names no plugin: link
//! the ones a configuration uses.
//!
//! ```
//! use std::path::Path;
//! use ebm_core::candle::Device;
//! use ebm_train::{Options, Outcome, Plan, RunConfig, TrainState, run};
//! use {ebm_energies_net as _, ebm_objectives as _, ebm_optimisers as _, ebm_samplers as _, ebm_sources as _};
//!
//! let config = RunConfig::from_toml(r#"
//!     format = 1
//!     run = { steps = 3, batch = 8 }
//!     chains = { from = "data" }
//!     data = { kind = "digits" }
//!     energy = { kind = "mlp", hidden = [16] }
//!     sampler = { kind = "chain", steps = 2, transition = { kind = "langevin", step_size = 1.0, noise = 0.03 } }
//!     objective = { kind = "contrastive", energy_l2 = 1.0 }
//!     optimiser = { kind = "adam", rate = 1e-3 }
//! "#)?;
//! let plan = Plan::build(&config, Path::new("."), &Device::Cpu, None)?;
//! let mut state = TrainState::new(&plan)?;
//! let summary = run::run(&plan, &mut state, Options::default())?;
//! assert_eq!((summary.outcome, state.step), (Outcome::Done, 3));
//! # Ok::<(), ebm_core::Error>(())
//! ```
//!
//! Two laws hold and are tested. A step that fails leaves the state as it was. And 2n steps equal n
//! steps, a checkpoint, a fresh plan that loads it, and n steps, bit for bit.

mod ahead;
mod buffered;
mod build;
mod capabilities;
mod care;
mod chains;
pub mod checkpoint;
pub mod config;
mod content;
mod describe;
mod disk;
mod fill;
mod fingerprint;
mod fulfil;
mod given;
mod guard;
mod healthy;
mod labels;
pub mod ledger;
mod misfits;
mod numbers;
mod observed;
mod pass;
mod plan;
mod points;
pub mod run;
mod scheduled;
mod shares;
mod stages;
mod state;
mod step;
mod tally;
mod together;
mod training;
mod tuned;
mod view;
mod watched;

pub use buffered::buffered;
pub use build::{facts, reference};
pub use care::Return;
pub use chains::Replay;
pub use config::{Course, Precision, RUN_SECTIONS, RunConfig, ScheduledSetting, Weights};
pub use describe::{Description, Memory};
pub use ebm_health::{Facts as Watched, Health, Watch};
pub use ebm_model::digest;
pub use ebm_model::{Generator, Starts};
pub use fingerprint::fingerprint;
pub use fulfil::{Fulfilled, fulfil};
pub use plan::{Plan, Purpose};
pub use run::{Options, Outcome, Summary};
pub use state::TrainState;
pub use step::{step, step_reporting};
pub use training::{TrainedEnergy, Training};
pub use view::View;
