//! Measures of samples and energies: Fréchet distance, nearest neighbours, MMD, AUROC.
//!
//! Everything works on plain slices and closures, so that samples of any program can be measured:
//!
//! ```
//! use ebm_eval::detection;
//!
//! // −E of data, and of something else: how well does a threshold part them?
//! let found = detection(&[-0.1, -0.4, -0.2, -0.3], &[-0.9, -0.35, -1.2])?;
//! assert!((found.auroc - 11.0 / 12.0).abs() < 1e-12);
//! # Ok::<(), ebm_eval::EvalError>(())
//! ```
//!
//! Measures that go over all pairs of samples (Fréchet and kernel distance, neighbours, precision and recall, the classifier test, scores on
//! the plane) stand behind the feature `linear-algebra`, which brings `faer`; the others need nothing but serde.
//!
//! Arithmetic is f64; nothing here draws random numbers except from a seed that the caller gives.

mod ais;
mod auroc_interval;
mod autocorrelation;
mod bootstrap;
mod calibrated;
mod chain_advice;
mod chains;
mod class_score;
mod classification;
#[cfg(feature = "linear-algebra")]
mod classifier_test;
#[cfg(feature = "linear-algebra")]
mod dense;
mod detection;
mod detection_intervals;
mod energy_overlap;
mod error;
mod ess;
mod extended;
mod features;
mod fiducial;
mod fisher;
#[cfg(feature = "linear-algebra")]
mod frechet;
#[cfg(test)]
mod goldens;
#[cfg(feature = "linear-algebra")]
mod image_quality;
#[cfg(feature = "linear-algebra")]
mod kernel_distance;
mod log_mean;
mod logistic;
#[cfg(feature = "linear-algebra")]
mod mmd;
#[cfg(feature = "linear-algebra")]
mod nearest;
#[cfg(feature = "linear-algebra")]
mod nearness;
mod normal_quantile;
mod perfect;
mod plane_cells;
mod plane_distance;
mod plane_fit;
mod plane_grid;
mod plane_integral;
mod plane_peaks;
#[cfg(feature = "linear-algebra")]
mod plane_score;
#[cfg(feature = "linear-algebra")]
mod precision_recall;
mod quantile;
mod rhat;
mod samples;
#[cfg(test)]
mod simulated;
mod splitmix;
mod stein;
mod student;
mod temperature;
mod trend;
#[cfg(feature = "linear-algebra")]
mod two_sample;
mod typical;
mod wasserstein;

pub use ais::{FEW_CHAINS, LOG_Z_LEVEL, LogZ, LogZBracket, ais_log_z, log_z_bracket};
pub use auroc_interval::{FEWEST_SCORES, auroc_interval};
pub use autocorrelation::autocorrelation;
pub use bootstrap::{Interval, bootstrap};
pub use calibrated::{Calibrated, calibrated};
pub use chain_advice::{ChainAdvice, ChainFacts, LEAST_ESS, WORST_RHAT, chain_advice};
pub use chains::{Chains, FEWEST_DRAWS};
pub use class_score::class_score;
pub use classification::{CALIBRATION_BINS, Classification, classification, wilson};
#[cfg(feature = "linear-algebra")]
pub use classifier_test::{ClassifierTest, TestClassifier, classifier_test};
pub use detection::{Detection, aupr, auroc, detection, fpr_at_tpr};
pub use detection_intervals::{DetectionIntervals, FEW_SCORES, detection_intervals};
pub use energy_overlap::{EnergyGroup, energy_overlap};
pub use error::{EvalError, Result};
pub use ess::{ChainSummary, TAILS, ess_bulk, ess_mean, ess_quantile, ess_tail, mcse_mean, summarise};
pub use extended::{Extended, serialize_extended, serialize_extended_option, serialize_extended_pair};
pub use features::{SIGNS, cell_means, pixels, signs};
pub use fisher::fisher_exact;
#[cfg(feature = "linear-algebra")]
pub use frechet::{RIDGE, frechet};
#[cfg(feature = "linear-algebra")]
pub use image_quality::{ImageQuality, ReferenceRows, image_quality, reference_rows};
#[cfg(feature = "linear-algebra")]
pub use kernel_distance::{kernel_distance, kernel_distance_subsets};
pub use log_mean::{LogMean, bits_per_dim, log_mean_exp, log_sum_exp};
pub use logistic::Logistic;
#[cfg(feature = "linear-algebra")]
pub use mmd::{median_distance, mmd2, mmd2_estimate};
#[cfg(feature = "linear-algebra")]
pub use nearest::{Nearest, effective_classes, nearest};
#[cfg(feature = "linear-algebra")]
pub use nearness::{NEAR_QUANTILE, Nearness};
pub use normal_quantile::normal_quantile;
pub use perfect::{Fall, perfect};
pub use plane_distance::{PlaneDistance, plane_distance};
pub use plane_fit::plane_fit;
pub use plane_grid::PlaneGrid;
pub use plane_integral::{PlaneIntegral, PlaneNode, PlaneRefusal, integrate_plane};
#[cfg(feature = "linear-algebra")]
pub use plane_score::{FINE, PlaneScore, PlaneSettings, plane_score};
#[cfg(feature = "linear-algebra")]
pub use precision_recall::{PrecisionRecall, precision_recall};
pub use rhat::{rhat, rhat_rank};
pub use samples::{Features, Samples};
pub use splitmix::{SplitMix, splitmix64};
pub use stein::{SteinDiscrepancy, SteinKernel, WildBootstrap, stein_discrepancy};
pub use temperature::{EnergyMatching, best_temperature};
pub use trend::{RangeShares, Trend, growth, is_constant, range_shares, trend};
#[cfg(feature = "linear-algebra")]
pub use two_sample::Estimate;
pub use typical::{TypicalInterval, typical_interval};
pub use wasserstein::{sliced_wasserstein, wasserstein};
