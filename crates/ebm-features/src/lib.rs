//! Feature networks from a description and weights, and small classifiers that may serve as ones.
//!
#![doc = include_str!("../README.md")]

mod classifier;
mod description;
mod error;
mod input;
mod network;
mod ops;
mod patches;

pub use classifier::{ClassifierOptions, Examined, Labelled, Progress, examine, most_probable, train};
pub use description::{Description, FORMAT, Join, Normalise, Op, Padding, Resize};
pub use error::{FeatureError, Result};
pub use network::{Network, STANDARD_INCEPTION, Seen, sha256};

/// The network of the Fréchet inception distance: Inception-v3 as TensorFlow's graph of 2015-12-05 has it, with the names
/// of `pytorch-fid`'s weights. Features are the 2048 means of the last block.
///
/// # Errors
/// Never for the committed file; a test reads it.
pub fn inception() -> Result<Description> {
    Description::parse(include_str!("inception-v3-fid.toml"), "inception-v3-fid.toml")
}
