//! Everything a call of this crate can end with.

use std::fmt;
use std::path::PathBuf;

use crate::config::problem::Problems;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call did not do what it was asked.
///
/// Settings are named as the fields of options and the arguments are; a program with other words for them (flags, fields
/// of a form) puts its own in their place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong; all that is wrong with it.
    #[error("{0}")]
    Config(Problems),
    /// A setting of a call is not what it must be.
    #[error("{setting}{}: wanted {wanted}", after_a_space(found))]
    Invalid {
        /// The field or argument.
        setting: &'static str,
        /// Its value; empty where it says nothing.
        found: String,
        /// What it must be, and what stands against it.
        wanted: String,
    },
    /// A setting of a call is missing that this call cannot do without.
    #[error("{}: is missing; {why}", settings.join(" or "))]
    Missing {
        /// The fields or arguments; one of them suffices.
        settings: Vec<&'static str>,
        /// Why it is wanted.
        why: String,
    },
    /// A file or folder cannot be written where a setting says.
    #[error("{setting} {}: {why}", path.display())]
    Output {
        /// The field or argument.
        setting: &'static str,
        /// Where it leads.
        path: PathBuf,
        /// What stands against it.
        why: Blocked,
    },
    /// What was named is not what it was taken for, such as a folder that is no run.
    #[error("{what}: {message}")]
    Unfit {
        /// The thing as it was named.
        what: String,
        /// What was found, what wanted.
        message: String,
    },
    /// A file that a call begins with cannot be read.
    #[error("{}: cannot read the {what}: {source}", path.display())]
    Unread {
        /// What it was taken for: configuration, study, threshold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
    /// A change of a configuration, such as `sampler.steps=60`, is none or does not fit it.
    #[error("{0}")]
    Change(String),
    /// Samples have another shape than the model's.
    #[error("{place}: found shape {found:?}, expected {expected:?}{}", if *images { "; images can be resized" } else { "" })]
    Shape {
        /// Where the samples come from.
        place: String,
        /// Their shape.
        found: Vec<usize>,
        /// The model's.
        expected: Vec<usize>,
        /// Whether they are images, which can be resized.
        images: bool,
    },
    /// A run has no threshold that holds for its weights.
    #[error("{message}; fit one")]
    NoThreshold {
        /// The run.
        run: PathBuf,
        /// Which it has, if any.
        message: String,
    },
    /// The device is not there.
    #[error("device {device}: {message}")]
    Device {
        /// The device asked for.
        device: String,
        /// Why.
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
    /// The run did its steps, and its model is of no use.
    #[error("the run is ill: {0}")]
    Ill(String),
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

/// What stands against writing a file or folder.
#[derive(Debug)]
#[non_exhaustive]
pub enum Blocked {
    /// A file is there, which the call replaces only if it is told to.
    File,
    /// Something is there, and the call never replaces it.
    There,
    /// A folder that is not empty is there.
    NotEmpty,
    /// A run is there.
    Run,
    /// A folder is there, wanted a file.
    Folder,
    /// The folder around it is not there.
    NoFolder,
    /// The folder around it cannot be written.
    Unwritable(std::io::Error),
    /// Another setting names the same file.
    Same(&'static str),
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocked::File => f.write_str("already exists; choose another name, or let it be replaced"),
            Blocked::There => f.write_str("already exists; choose another place"),
            Blocked::NotEmpty => {
                f.write_str("already exists and is not an empty folder; choose another place")
            }
            Blocked::Run => f.write_str("already holds a run; continue it or choose another place"),
            Blocked::Folder => f.write_str("is a folder, wanted a file"),
            Blocked::NoFolder => f.write_str("its folder is not there"),
            Blocked::Unwritable(e) => write!(f, "its folder cannot be written: {e}"),
            Blocked::Same(other) => write!(f, "{other} names the same file; wanted two"),
        }
    }
}

impl Error {
    /// A setting with the value `found` that must be `wanted`.
    pub fn invalid(setting: &'static str, found: impl fmt::Display, wanted: impl Into<String>) -> Self {
        Error::Invalid { setting, found: found.to_string(), wanted: wanted.into() }
    }

    /// A thing that is not what it was taken for.
    pub fn unfit(what: impl fmt::Display, message: impl Into<String>) -> Self {
        Error::Unfit { what: what.to_string(), message: message.into() }
    }

    /// One of `settings` is missing.
    pub(crate) fn missing(settings: &[&'static str], why: impl Into<String>) -> Self {
        Error::Missing { settings: settings.to_vec(), why: why.into() }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Error::Io { path: path.into(), source }
    }
}

fn after_a_space(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" {value}") }
}
