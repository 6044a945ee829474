//! Runs: trained, continued, checked before they start, timed.
//!
//! ```no_run
//! use ebm::config::Source;
//! use ebm::run::{TrainOptions, train};
//! # use ebm_plugins as _;
//! let trained = train(&Source::quick_start(), &TrainOptions::default())?;
//! println!("{} after {} steps", trained.directory.display(), trained.summary.step);
//! # Ok::<(), ebm::Error>(())
//! ```

mod bench;
mod check;
pub(crate) mod device;
pub(crate) mod measures;
pub(crate) mod open;
pub(crate) mod run_directory;
mod training;
mod watcher;
mod work;

pub use bench::{BenchReport, bench};
pub use check::{CheckReport, Cost, check};
pub use device::open_device;
pub use ebm_train::{Outcome, Summary};
pub use measures::{Measures, measure};
pub use run_directory::RunDirectory;
pub use training::{TrainOptions, TrainReport, resume, train};
pub use watcher::Watcher;
