//! The training step, its state, checkpoints and the loop.
//!
#![doc = include_str!("../README.md")]

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
