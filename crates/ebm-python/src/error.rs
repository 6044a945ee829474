//! How what goes wrong reaches Python: the framework's words as `EbmError`, a Python error as itself, a panic as a fault of ours.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

create_exception!(
    ebm_candle,
    EbmError,
    PyValueError,
    "What the framework refuses or could not do: what was found, what was wanted, where, and what to do."
);

/// Why a computation has no result.
pub(crate) enum Failure {
    /// An error with words for its reader.
    Error(ebm::Error),
    /// A panic, which no input may cause.
    Fault(String),
}

/// The result of `work`, whatever happens in it.
pub(crate) fn caught<T>(work: impl FnOnce() -> ebm::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Failure::Error),
        Err(panic) => Err(Failure::Fault(text(panic.as_ref()))),
    }
}

/// Runs `work` without the interpreter's lock.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> ebm::Result<T> + Send) -> PyResult<T> {
    py.detach(|| caught(work)).map_err(|failure| failure.raise(py))
}

impl Failure {
    /// The exception that says so.
    pub fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Failure::Error(e) => python_cause(py, &e).unwrap_or_else(|| EbmError::new_err(e.to_string())),
            Failure::Fault(why) => EbmError::new_err(format!(
                "a fault of this library, not of your input: {why}; please report it with what led to it"
            )),
        }
    }
}

/// The exception of a function of the user's that failed inside of a computation.
fn python_cause(py: Python<'_>, e: &ebm::Error) -> Option<PyErr> {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(e) = at {
        if let Some(raised) = e.downcast_ref::<PyErr>() {
            return Some(raised.clone_ref(py));
        }
        at = e.source();
    }
    None
}

/// What a panic says.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}

/// An error in the words of `message`.
pub(crate) fn refused(message: impl Into<String>) -> PyErr {
    EbmError::new_err(message.into())
}

/// Warnings go to standard error, as `EBM_LOG` says. A program that has a log of its own keeps it.
pub(crate) fn log() {
    let filter = std::env::var("EBM_LOG").ok().and_then(|wanted| wanted.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(std::io::stderr);
    // A closed standard error must not become a panic.
    let log = log.with_ansi(false).with_target(false).without_time().log_internal_errors(false);
    let _ = log.finish().with(filter).try_init();
}
