//! Numbers that the measures share: quantiles, distributions, sums of exponentials, bootstrap, matrices.

pub(crate) mod bootstrap;
#[cfg(feature = "linear-algebra")]
pub(crate) mod dense;
pub(crate) mod extended;
pub(crate) mod fisher;
pub(crate) mod log_mean;
pub(crate) mod logistic;
pub(crate) mod normal_quantile;
pub(crate) mod quantile;
pub(crate) mod splitmix;
pub(crate) mod student;
pub(crate) mod trend;
