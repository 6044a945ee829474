//! How far samples stand from data: distances between two sets of rows, and tests that two sets are one.

#[cfg(feature = "linear-algebra")]
pub(crate) mod classifier_test;
#[cfg(feature = "linear-algebra")]
pub(crate) mod frechet;
#[cfg(feature = "linear-algebra")]
pub(crate) mod image_quality;
#[cfg(feature = "linear-algebra")]
pub(crate) mod kernel_distance;
#[cfg(feature = "linear-algebra")]
pub(crate) mod mmd;
#[cfg(feature = "linear-algebra")]
pub(crate) mod nearest;
#[cfg(feature = "linear-algebra")]
pub(crate) mod nearness;
pub(crate) mod perfect;
#[cfg(feature = "linear-algebra")]
pub(crate) mod precision_recall;
pub(crate) mod stein;
#[cfg(feature = "linear-algebra")]
pub(crate) mod two_sample;
pub(crate) mod wasserstein;
