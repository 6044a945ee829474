//! Classes: accuracy, calibration, the score of how sharp and how even a classifier finds samples.

pub(crate) mod class_score;
pub(crate) mod classification;
