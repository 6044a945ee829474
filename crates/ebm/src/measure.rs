//! What models are measured by: samples against data, chains, detection, likelihood, temperature, feature networks.

pub(crate) mod annealed;
mod chains;
mod classifier;
mod likelihood;
pub(crate) mod networks;
mod ood;
mod plane;
mod rules;
mod samples;
mod temperature;

pub use annealed::{AnnealOptions, AnnealedLogZ, annealed_log_z};
pub use chains::{ChainMeasures, ChainOptions, ChainRow, measure_chain_file, measure_chains};
pub use classifier::{ClassifierSummary, ClassifierTraining, train_classifier};
pub use likelihood::{Likelihood, LikelihoodOptions, likelihood};
pub use networks::{ClassRow, ClassSink, classes_of, classify, open_network};
pub use ood::{Histogram, OodOptions, OodReport, OodRow, SetScores, ood};
pub use plane::{PlaneComparison, PlaneOptions, PlaneSamples, compare_on_plane};
pub use rules::Rule;
pub use samples::{Figure, MeasureRow, SampleMeasureOptions, SampleMeasures, Subject, measure_samples};
pub use temperature::{MatchedTemperature, match_temperature};
