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
mod describe;
mod fill;
mod fingerprint;
mod given;
mod labels;
pub mod ledger;
mod misfits;
mod observed;
mod plan;
mod points;
pub mod run;
mod scheduled;
mod shares;
mod state;
mod step;
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
pub use plan::{Plan, Purpose};
pub use run::{Options, Outcome, Summary};
pub use state::TrainState;
pub use step::fulfil::{Fulfilled, fulfil};
pub use step::{step, step_reporting};
pub use training::{TrainedEnergy, Training};
pub use view::View;
