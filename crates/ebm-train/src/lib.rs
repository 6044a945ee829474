//! The training step, its state, checkpoints and the loop.
mod capabilities;
pub mod checkpoint;
pub mod config;
mod describe;
pub mod digest;
mod disk;
mod engine_watch;
mod fulfil;
pub mod generate;
mod guard;
mod numbers;
mod plan;
pub mod run;
pub mod sections;
mod starts;
mod state;
mod step;
pub mod trained;
mod view;

use ebm_core::Demand;

pub use config::{RunConfig, Weights};
pub use describe::{Description, Memory};
pub use fulfil::{Fulfilled, fulfil};
pub use generate::Generator;
pub use plan::Plan;
pub use run::{Options, Outcome, Summary};
pub use sections::RUN_SECTIONS;
pub use starts::Starts;
pub use state::TrainState;
pub use step::{step, step_reporting};
pub use trained::Trained;
pub use view::View;
