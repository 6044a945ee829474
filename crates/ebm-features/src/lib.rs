//! Feature networks from a description and weights, and small classifiers that may serve as ones.
//!
//! Distances between sets of images are taken between the features of some network. Here a network is a TOML file of
//! operations beside a file of named weights, so that a classifier trained here, one of another program, and Inception-v3
//! are used alike:
//!
//! ```
//! use ebm_features::{ClassifierOptions, Labelled, train};
//!
//! // Two classes of 8x8 images: dark and bright.
//! let values: Vec<f32> = (0..40 * 64).map(|i| if i / 64 % 2 == 0 { 0.2 } else { 0.8 }).collect();
//! let labels: Vec<u32> = (0..40).map(|i| i % 2).collect();
//! let set = Labelled { values: &values, shape: [1, 8, 8], labels: &labels };
//! let options = ClassifierOptions { epochs: Some(3), width: 2, features: 4, ..Default::default() };
//! let network = train("shade", &set, 2, &options, &mut |_| ())?;
//! let (features, probabilities) = network.tables(&values[..128], [1, 8, 8])?;
//! assert_eq!((features.n(), features.d()), (2, 4));
//! assert_eq!(network.frechet_name(), "Frechet[shade 4]");
//! # let _ = probabilities;
//! # Ok::<(), ebm_features::FeatureError>(())
//! ```
//!
//! Arithmetic is f32, on any device of candle; training is on the processor.

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
