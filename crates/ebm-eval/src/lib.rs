//! Measures of samples and energies: Fréchet distance, nearest neighbours, MMD, AUROC.
//!
#![doc = include_str!("../README.md")]

mod chains;
mod classes;
mod detection;
mod distances;
mod enumerate;
mod error;
mod features;
mod numeric;
mod plane;
mod samples;
#[cfg(test)]
mod testing;

pub use chains::advice::{ChainAdvice, ChainFacts, LEAST_ESS, WORST_RHAT, chain_advice};
pub use chains::ais::{FEW_CHAINS, LOG_Z_LEVEL, LogZ, LogZBracket, ais_log_z, log_z_bracket};
pub use chains::autocorrelation::autocorrelation;
pub use chains::energy_information::{EnergyInformation, LEAST_INFORMATION};
pub use chains::ess::{
    ChainSummary, TAILS, ess_bulk, ess_mean, ess_quantile, ess_tail, mcse_mean, summarise,
};
pub use chains::rhat::{rhat, rhat_rank};
pub use chains::{FEWEST_DRAWS, Traces};
pub use classes::class_score::class_score;
pub use classes::classification::{CALIBRATION_BINS, Classification, classification, wilson};
pub use detection::auroc_interval::{FEWEST_SCORES, auroc_interval};
pub use detection::calibrated::{Calibrated, calibrated};
pub use detection::intervals::{DetectionIntervals, FEW_SCORES, detection_intervals};
pub use detection::overlap::{EnergyGroup, energy_overlap};
pub use detection::typical::{TypicalInterval, typical_interval};
pub use detection::{Detection, aupr, auroc, detection, fpr_at_tpr};
#[cfg(feature = "linear-algebra")]
pub use distances::classifier_test::{ClassifierTest, TestClassifier, classifier_test};
#[cfg(feature = "linear-algebra")]
pub use distances::frechet::{RIDGE, frechet};
#[cfg(feature = "linear-algebra")]
pub use distances::image_quality::{ImageQuality, ReferenceRows, image_quality, reference_rows};
#[cfg(feature = "linear-algebra")]
pub use distances::kernel_distance::{kernel_distance, kernel_distance_subsets};
#[cfg(feature = "linear-algebra")]
pub use distances::mmd::{median_distance, mmd2, mmd2_estimate};
#[cfg(feature = "linear-algebra")]
pub use distances::nearest::{Nearest, effective_classes, nearest};
#[cfg(feature = "linear-algebra")]
pub use distances::nearness::{NEAR_QUANTILE, Nearness};
pub use distances::perfect::{Fall, perfect};
#[cfg(feature = "linear-algebra")]
pub use distances::precision_recall::{PrecisionRecall, precision_recall};
pub use distances::stein::{SteinDiscrepancy, SteinKernel, WildBootstrap, stein_discrepancy};
#[cfg(feature = "linear-algebra")]
pub use distances::two_sample::Estimate;
pub use distances::wasserstein::{sliced_wasserstein, wasserstein};
pub use enumerate::{Enumerated, digit, enumerate, onsager_energy, transfer_log_z};
pub use error::{EvalError, Result};
pub use features::{SIGNS, cell_means, pixels, signs};
pub use numeric::bootstrap::{Interval, bootstrap};
pub use numeric::extended::{
    Extended, serialize_extended, serialize_extended_option, serialize_extended_pair,
};
pub use numeric::fisher::fisher_exact;
pub use numeric::log_mean::{LogMean, bits_per_dim, log_mean_exp, log_sum_exp};
pub use numeric::logistic::Logistic;
pub use numeric::normal_quantile::normal_quantile;
pub use numeric::splitmix::{SplitMix, splitmix64};
pub use numeric::trend::{RangeShares, Trend, growth, is_constant, range_shares, trend};
pub use plane::between::{PlanePair, plane_between};
pub use plane::distance::{PlaneDistance, plane_distance};
#[cfg(feature = "linear-algebra")]
pub use plane::fit::plane_fit;
pub use plane::grid::PlaneGrid;
pub use plane::integral::{PlaneIntegral, PlaneNode};
pub use plane::quadrature::{integrate_plane, integrate_plane_at};
pub use plane::refusal::PlaneRefusal;
#[cfg(feature = "linear-algebra")]
pub use plane::score::{FINE, PlaneScore, PlaneSettings, plane_score};
pub use plane::temperature::{EnergyMatching, best_temperature};
pub use samples::{Features, Samples};
