//! The one error type of this crate.

use std::path::PathBuf;

/// Result of everything fallible here.
pub type Result<T, E = FeatureError> = std::result::Result<T, E>;

/// Why a network could not be read, run or trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
    /// The description is not one.
    #[error("{place}: {message}")]
    Description {
        /// The file, or the name of the network, and the operation in it.
        place: String,
        /// What was found and what was wanted.
        message: String,
    },
    /// A weight is missing, or has another shape than its operation needs.
    #[error("network {network}: weight `{key}`: {message}")]
    Weight {
        /// Name of the network.
        network: String,
        /// Name of the tensor.
        key: String,
        /// What was found and what was wanted.
        message: String,
    },
    /// Samples do not fit the network or the classifier.
    #[error("{what}: found {found}, wanted {wanted}")]
    Input {
        /// What was handed in.
        what: String,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// A file could not be written or read as a whole.
    #[error(transparent)]
    Data(#[from] ebm_data::DataError),
    /// Features could not be made a table.
    #[error(transparent)]
    Eval(#[from] ebm_eval::EvalError),
    /// An operation on tensors failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl FeatureError {
    pub(crate) fn input(what: &str, found: impl ToString, wanted: impl ToString) -> Self {
        Self::Input { what: what.into(), found: found.to_string(), wanted: wanted.to_string() }
    }

    pub(crate) fn description(place: impl ToString, message: impl ToString) -> Self {
        Self::Description { place: place.to_string(), message: message.to_string() }
    }

    /// Names the operation in which it happened, unless one is named already.
    pub(crate) fn at(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Self::Tensor(e) => {
                // The first line says what is wrong; the rest is a trace of tensor code.
                let text = e.to_string();
                Self::description(place(), text.lines().next().unwrap_or_default())
            }
            other => other,
        }
    }
}
