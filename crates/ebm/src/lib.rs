//! The framework in one crate: configuration, runs, and the whole command line.
//!
//! ```no_run
//! use ebm::{Source, TrainOptions};
//! # use ebm_plugins as _; // links the standard set of plugins
//!
//! // The built-in quick start, shortened; everything else as `ebm train` does it.
//! let source = Source::quick_start().with(["run.steps=200"])?;
//! let trained = ebm::train(&source, &TrainOptions::default())?;
//! println!("{} after {} steps", trained.directory.display(), trained.summary.step);
//! # Ok::<(), ebm::Error>(())
//! ```
//!
//! A program with plugins of its own is three lines:
//!
//! ```no_run
//! use ebm_plugins as _; // the standard set
//! # mod my_plugins {}
//! use my_plugins as _; // yours
//! fn main() -> std::process::ExitCode {
//!     ebm::cli::main()
//! }
//! ```

mod annealed;
mod bench;
mod chain_measures;
mod charts;
mod checking;
pub mod cli;
mod comparing;
mod composing;
pub mod config;
mod converting;
mod data;
mod device;
mod energies;
mod engine;
mod error;
pub mod inputs;
mod likelihood;
mod measures;
mod median;
mod networks;
mod ood;
mod plane;
mod report;
mod restoring;
mod rules;
mod run_directory;
mod sample_measures;
mod sampling;
mod scores;
mod scoring;
mod series;
mod showing;
pub mod study;
mod temperature;
mod tensors;
mod threshold;
mod training;
mod whole_file;

pub use annealed::{AnnealOptions, AnnealedLogZ, annealed_log_z};
pub use bench::{Benched, bench};
pub use chain_measures::{ChainMeasures, ChainOptions, ChainRow, measure_chain_file, measure_chains};
pub use checking::{Checked, Cost, check};
pub use comparing::compare;
pub use composing::compose;
pub use config::{RunConfig, Source};
pub use converting::{Given, Taken, give, take};
pub use data::{data_setting, open_data};
pub use device::open_device;
pub use ebm_core as core;
pub use ebm_core::{Component, Family, catalogue};
pub use ebm_data as files;
pub use ebm_eval as eval;
pub use ebm_features as features;
pub use ebm_ranks as ranks;
pub use ebm_train as trainer;
pub use ebm_train::{Outcome, Summary};
pub use engine::engine;
pub use error::{Error, Result};
pub use likelihood::{Likelihood, LikelihoodOptions, likelihood};
pub use measures::{Measures, measure};
pub use networks::{
    ClassRow, ClassSink, ClassifierSummary, ClassifierTraining, classify, open_network, train_classifier,
};
pub use ood::{Histogram, OodOptions, OodReport, OodRow, SetScores, ood};
pub use plane::{PlaneComparison, PlaneOptions, PlaneSamples, compare_on_plane};
pub use report::{Health, Level, Report, ReportOptions};
pub use restoring::{RestoreOptions, Restored, restore};
pub use rules::Rule;
pub use run_directory::RunDirectory;
pub use sample_measures::{
    Figure, MeasureRow, Measured, SampleMeasureOptions, SampleMeasures, measure_samples,
};
pub use sampling::{Model, SampleOptions, sample};
pub use scores::ScoreKind;
pub use scoring::{RowSink, ScoreOptions, ScoreRow, score, score_lines};
pub use series::Series;
pub use showing::Copying;
pub use study::{Studied, Study, StudyOptions};
pub use temperature::{MatchedTemperature, match_temperature};
pub use threshold::{Threshold, ThresholdOptions, fit_threshold};
pub use training::{TrainOptions, Trained, resume, train};
