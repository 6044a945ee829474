//! Observers: `progress`, `jsonl`, `csv`, `sheet`, `histogram` and `tensorboard`.
//!
#![doc = include_str!("../README.md")]

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
