//! The one error type of the contract, grouped by what its reader can do about it.

use std::path::PathBuf;

/// Shorthand for results of this crate and of plugins.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in a plugin or in the contract itself.
///
/// Messages follow one pattern: what failed, what was found, what was wanted, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration asks for something that does not exist or is out of range.
    #[error("{path}: {message}")]
    Config {
        /// Dotted path of the setting, such as `sampler.transition.step_size`.
        path: String,
        /// What was found and what was wanted.
        message: String,
    },
    /// A tensor has another shape than its reader needs.
    #[error("{component}: found shape {found:?}, expected {expected}; {hint}")]
    Shape {
        /// Who complains, by its name in the configuration.
        component: String,
        /// The shape that came.
        found: Vec<usize>,
        /// The shape that was wanted, in words such as `(B, 1, 28, 28)`.
        expected: String,
        /// What to do about it.
        hint: String,
    },
    /// One part needs what another cannot give; found before the run starts.
    #[error("{who} needs {what}, which {from} cannot give; {hint}")]
    Capability {
        /// The part that asks.
        who: String,
        /// What it asks for.
        what: String,
        /// The part that was asked.
        from: String,
        /// What to do about it.
        hint: String,
    },
    /// A data file is missing, truncated or not what it claims to be.
    #[error("{}: {message}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Found and expected, with the byte offset where it matters.
        message: String,
    },
    /// A reader of data failed; its message names the file and the place.
    #[error("{0}")]
    DataFile(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Data are at none of the places where they may be.
    #[error("{message}; looked for as {}", tried.join(", "))]
    Absent {
        /// What the reader said of the first.
        message: String,
        /// The places.
        tried: Vec<String>,
    },
    /// A run is to go on with other data than it was trained on.
    #[error("{place}: was trained on {difference}")]
    OtherData {
        /// The checkpoint.
        place: String,
        /// What it was trained on, and what there is now.
        difference: String,
    },
    /// A number that must be finite is not, or left its bounds.
    #[error("{what} at step {step}: {message}")]
    Numeric {
        /// The quantity, such as `energy of the samples`.
        what: String,
        /// The training step, or 0 outside of training.
        step: u64,
        /// The value and the bound.
        message: String,
    },
    /// The device is not there or out of memory.
    #[error("device {device}: {message}")]
    Device {
        /// The device asked for.
        device: String,
        /// What the driver said and what to do.
        message: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
    /// A tensor operation failed inside the named component.
    #[error("{component}: {source}")]
    Tensor {
        /// The component, by its name in the configuration; `tensor operation` if unknown.
        component: String,
        /// candle's own error.
        #[source]
        source: Box<candle_core::Error>,
    },
    /// Another rank of the run failed; that rank says so, this one ends with it.
    #[error("rank {rank} failed: {message}")]
    Rank {
        /// The rank.
        rank: usize,
        /// Its error.
        message: String,
    },
    /// Somebody wished to stop, and the work was left in the middle: see [`Stop`](crate::Stop).
    #[error("stopped before its end")]
    Stopped,
    /// A plugin's own error.
    #[error("{component}: {source}")]
    Plugin {
        /// The plugin's kind.
        component: String,
        /// Its error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<candle_core::Error> for Error {
    fn from(source: candle_core::Error) -> Self {
        Error::Tensor { component: "tensor operation".into(), source: Box::new(source) }
    }
}

impl Error {
    /// A configuration error at `path`.
    pub fn config(path: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Config { path: path.into(), message: message.into() }
    }

    /// A shape error: `component` found `found` and wanted `expected`; `hint` says what to do.
    pub fn shape(
        component: impl Into<String>,
        found: &[usize],
        expected: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Error::Shape {
            component: component.into(),
            found: found.to_vec(),
            expected: expected.into(),
            hint: hint.into(),
        }
    }

    /// A capability error: `who` needs `what` from `from`.
    pub fn capability(
        who: impl Into<String>,
        what: impl Into<String>,
        from: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Error::Capability { who: who.into(), what: what.into(), from: from.into(), hint: hint.into() }
    }

    /// A data error about a file.
    pub fn data(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Error::Data { path: path.into(), message: message.into() }
    }

    /// A data error from a reader that names the file and the place itself.
    pub fn data_source(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::DataFile(source.into())
    }

    /// A numeric error.
    pub fn numeric(what: impl Into<String>, step: u64, message: impl Into<String>) -> Self {
        Error::Numeric { what: what.into(), step, message: message.into() }
    }

    /// An input or output error at `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }

    /// A plugin's own error, kept as the source.
    pub fn plugin(
        component: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::Plugin { component: component.into(), source: source.into() }
    }

    /// The failure of another rank, with its message as UTF-8.
    pub fn elsewhere(rank: usize, message: &[u8]) -> Self {
        Error::Rank { rank, message: String::from_utf8_lossy(message).into_owned() }
    }

    /// The same error with the component's name in the configuration put before it.
    #[must_use]
    pub fn within(self, component: &str) -> Self {
        match self {
            Error::Tensor { component: inner, source } if inner == "tensor operation" => {
                Error::Tensor { component: component.into(), source }
            }
            Error::Config { path, message } if path.is_empty() => {
                Error::Config { path: component.into(), message }
            }
            Error::Config { path, message } => Error::Config { path: format!("{component}.{path}"), message },
            other => other,
        }
    }
}
