//! Everything a run can end with, and the exit code that says it.

use std::path::PathBuf;

use crate::config::problem::Problems;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong; all that is wrong with it.
    #[error("{0}")]
    Config(Problems),
    /// The command line asks for something that does not exist or does not fit.
    #[error("{0}")]
    Usage(String),
    /// The device is not there.
    #[error("device {device}: {message}")]
    Device {
        /// The device asked for.
        device: String,
        /// Why, and what to do.
        message: String,
    },
    /// A component failed.
    #[error(transparent)]
    Core(#[from] ebm_core::Error),
    /// Data could not be read, or a picture not be written.
    #[error(transparent)]
    Data(#[from] ebm_data::DataError),
    /// A feature network could not be read, run or trained.
    #[error(transparent)]
    Features(#[from] ebm_features::FeatureError),
    /// A measure could not be taken.
    #[error(transparent)]
    Eval(#[from] ebm_eval::EvalError),
    /// The run left its bounds.
    #[error("diverged: {0}")]
    Diverged(String),
    /// A file or folder could not be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The exit code: 2 usage or configuration, 3 data, 4 diverged, 5 device or memory, 1 other.
    pub fn exit_code(&self) -> u8 {
        use ebm_core::Error as Core;
        use ebm_features::FeatureError as Features;
        match self {
            Error::Config(_) | Error::Usage(_) => 2,
            Error::Device { .. } => 5,
            Error::Data(_) => 3,
            Error::Features(
                Features::Description { .. }
                | Features::Weight { .. }
                | Features::Data(_)
                | Features::Io { .. },
            ) => 3,
            Error::Features(Features::Input { .. }) => 2,
            Error::Features(_) => 1,
            Error::Diverged(_) => 4,
            Error::Core(Core::Config { .. } | Core::Shape { .. } | Core::Capability { .. }) => 2,
            Error::Core(Core::Data { .. } | Core::DataFile(_)) => 3,
            Error::Core(Core::Numeric { .. }) => 4,
            Error::Core(Core::Device { .. }) => 5,
            // The drivers have no other word for it than their message.
            Error::Core(Core::Tensor { source, .. }) if source.to_string().contains("out of memory") => 5,
            Error::Core(_) | Error::Eval(_) | Error::Io { .. } => 1,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Error::Io { path: path.into(), source }
    }
}
