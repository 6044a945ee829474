//! Feature networks by a path, and the classes they give to samples.

use std::path::{Path, PathBuf};

use candle_core::Device;
use ebm_features::{Description, FeatureError, Network, most_probable};

use crate::error::{Error, Result};
use crate::inputs::fit::Fit;
use crate::inputs::lines::lines;
use crate::inputs::set::{Inputs, Piece};

/// What stands before the path of Inception-v3's weights.
const INCEPTION: &str = "inception-v3:";
/// Samples that are classified together.
const TOGETHER: usize = 256;

/// Opens the feature network that `what` names: a folder with `network.toml`, a description file, or
/// `inception-v3:WEIGHTS`, the built-in Inception-v3 with the weights of a file. Weights are safetensors or PyTorch's.
///
/// # Errors
/// If a file is not there or is damaged, or weights do not fit.
pub fn open_network(what: &str, device: &Device) -> Result<Network> {
    let (description, weights): (Description, PathBuf) = match what.strip_prefix(INCEPTION) {
        Some(path) => (ebm_features::inception()?, path.into()),
        None => {
            let path = Path::new(what);
            if path.is_dir() && !path.join("network.toml").is_file() {
                return Err(Error::unfit(
                    what,
                    "found no network.toml in it, wanted a feature network, such as a trained classifier",
                ));
            }
            Network::files(path)?
        }
    };
    let bytes = ebm_core::regular::read(&weights)
        .map_err(|source| FeatureError::Io { path: weights.clone(), source })?;
    let digest = ebm_features::sha256(&bytes);
    drop(bytes);
    let tensors = ebm_exchange::read_tensors(&weights, None)?;
    Ok(Network::new(description, tensors, Some(digest), device)?)
}

/// The class of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// The file, or the name of the sample in a stream.
    pub file: PathBuf,
    /// Number of the sample in its file, from 0.
    pub index: u64,
    /// The most probable class.
    pub class: usize,
    /// Its name.
    pub name: String,
    /// Its probability.
    pub probability: f32,
}

/// Number of classes of a network that must have some.
///
/// # Errors
/// If it has none.
pub fn classes_of(network: &Network) -> Result<usize> {
    let none = "its description names no logits, wanted a network with classes";
    network.classes().ok_or_else(|| Error::unfit(network.name(), none))
}

/// Takes the rows of a piece.
pub type ClassSink<'a> = dyn FnMut(&[ClassRow]) -> Result<()> + 'a;

/// Gives the class of every sample of `set` (`None`: of the lines of standard input) to `sink`, in order, a few at a time.
///
/// # Errors
/// If the network has no classes, a file cannot be read, samples do not fit, or `sink` fails.
pub fn classify(network: &Network, set: Option<&Inputs>, fit: bool, sink: &mut ClassSink<'_>) -> Result<()> {
    let classes = classes_of(network)?;
    let shape = network.description().input;
    let fit = Fit { resize: fit, ..Fit::of_shape(&shape) };
    let mut take = |piece: Piece| {
        let seen = network.see(&piece.floats(), shape)?;
        let probabilities = seen.probabilities.unwrap_or_default();
        let rows: Vec<ClassRow> = piece
            .places
            .into_iter()
            .zip(probabilities.chunks_exact(classes))
            .map(|((file, index), p)| {
                let class = most_probable(p);
                ClassRow { file, index, class, name: network.class(class), probability: p[class] }
            })
            .collect();
        sink(&rows)
    };
    match set {
        Some(set) => set.each(TOGETHER, None, &fit, &mut take),
        None => lines(std::io::stdin().lock(), TOGETHER, &fit, &mut take),
    }
}
