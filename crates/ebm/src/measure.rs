//! What models are measured by: samples against data, chains, detection, likelihood, temperature, feature networks.

pub(crate) mod annealed;
mod chains;
mod classes;
mod classifier;
mod independent;
mod likelihood;
pub(crate) mod networks;
mod ood;
mod plane;
mod rules;
mod samples;
mod stein;
mod temperature;
mod two_sample;

pub use crate::model::moves::{StepSizes, Trajectories};
pub use annealed::{AnnealOptions, AnnealedLogZ, SequentialOptions, annealed_log_z};
pub use chains::{
    ChainMeasures, ChainOptions, ChainRow, MOST_RECORDED, draws_all_along, measure_chain_file, measure_chains,
};
pub use classes::{ClassOptions, ClassReport, classify_by_energy};
pub use classifier::{ClassifierSummary, ClassifierTraining, train_classifier};
pub use independent::{exact_log_z, fields, independent_log_z};
pub use likelihood::{Likelihood, LikelihoodOptions, likelihood};
pub use networks::{ClassRow, ClassSink, classes_of, classify, open_network};
pub use ood::{Histogram, OodOptions, OodReport, OodRow, SetScores, ood};
pub use plane::{Over, PlaneComparison, PlaneOptions, PlaneSamples, compare_on_plane};
pub use rules::Rule;
pub use samples::{Figure, MeasureRow, SampleMeasureOptions, SampleMeasures, Subject, measure_samples};
pub use stein::{SteinOptions, SteinReport, stein};
pub use temperature::{MatchedTemperature, match_temperature};
pub use two_sample::{TwoSampleOptions, TwoSampleReport, two_sample};
