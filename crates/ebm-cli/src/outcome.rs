//! How a command ended, and the exit code that says so.

use std::fmt;

use crate::say;

/// Exit code of a run that was interrupted and saved.
pub(crate) const INTERRUPTED: u8 = 130;

/// How a command ended short of an error.
pub(crate) enum End {
    /// All done.
    Done,
    /// Interrupted after saving.
    Interrupted,
    /// With this exit code; what is wrong has been said.
    With(u8),
}

/// Why a command ended early.
pub(crate) enum Failure {
    /// Something went wrong.
    Error(ebm::Error),
    /// The command line asks for something that does not exist or does not go together.
    Usage(String),
    /// The program itself is at fault: what to tell of it.
    Fault(String),
    /// Nobody reads standard output any more: no error, and nothing to say it to.
    Closed,
}

impl<E: Into<ebm::Error>> From<E> for Failure {
    fn from(e: E) -> Self {
        Failure::Error(e.into())
    }
}

impl Failure {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Error(e) => say::exit_code(e),
            Failure::Usage(_) => say::USAGE,
            Failure::Fault(_) => 1,
            Failure::Closed => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(e) => f.write_str(&say::message(e)),
            Failure::Usage(message) | Failure::Fault(message) => f.write_str(message),
            Failure::Closed => f.write_str("standard output is closed"),
        }
    }
}

/// The error of reading or writing at `path`.
pub(crate) fn io(path: impl Into<std::path::PathBuf>) -> impl FnOnce(std::io::Error) -> ebm::Error {
    let path = path.into();
    |source| ebm::core::Error::Io { path, source }.into()
}

/// How a command ended.
pub(crate) type Outcome = Result<End, Failure>;
