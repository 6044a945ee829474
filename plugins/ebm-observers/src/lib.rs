//! Observers: `progress`, `jsonl`, `csv`, `sheet`, `histogram` and `tensorboard`.
//!
//! An observer sees every step and writes in the run directory, under names that no other has; it cannot change the run, and
//! one that fails is detached, not fatal. What it told of is on the medium before the checkpoint that follows, so that a run
//! that was killed and goes on has every step once; an observer that finds less says so.
//!
//! ```
//! use ebm_core::{Event, ObserverConfig, RunPaths};
//! use ebm_observers as _; // links the crate, so that its kinds are known
//!
//! let directory = std::env::temp_dir().join(format!("ebm-observers-doc-{}", std::process::id()));
//! std::fs::create_dir_all(&directory)?;
//! let config: Box<dyn ObserverConfig> = toml::from_str("kind = 'jsonl'")?;
//! let mut jsonl = config.build(&RunPaths::new(directory.clone()))?;
//! jsonl.on(&Event::Start { step: 0, of: 10, name: "doc", directory: &directory })?;
//! assert!(directory.join("metrics.jsonl").is_file());
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod course;
mod csv;
mod events;
mod histogram;
mod jsonl;
mod lines;
mod probe;
mod progress;
mod protobuf;
mod sheet;
mod spread;
mod tensorboard;
mod tfrecord;

pub use csv::CsvConfig;
pub use histogram::HistogramConfig;
pub use jsonl::JsonlConfig;
pub use probe::Of;
pub use progress::ProgressConfig;
pub use sheet::{SheetConfig, What};
pub use tensorboard::TensorboardConfig;

#[cfg(test)]
mod fake_tests;
