//! Training and continuing runs: how far they are goes to Python, Ctrl-C saves them.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use ebm::core::{Event, Report};
use ebm::run::{TrainOptions, TrainReport, Watcher};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::configuration::source;
use crate::error::{Failure, refused};
use crate::watched::{Watched, watched};

/// What a run is made of and where it goes.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Training {
    path: Option<PathBuf>,
    json: Option<String>,
    changes: Vec<String>,
    data: Option<String>,
    out: Option<PathBuf>,
    runs: Option<PathBuf>,
    bare: bool,
}

/// What a continuation is made of.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Continuation {
    directory: PathBuf,
    changes: Vec<String>,
    data: Option<String>,
    other_data: bool,
    bare: bool,
}

/// Trains; `told` hears of a step at most every `every` seconds.
#[pyfunction]
pub(crate) fn train(
    py: Python<'_>,
    training: Training,
    told: Option<Py<PyAny>>,
    every: f64,
) -> PyResult<(String, Option<Py<PyAny>>)> {
    let mut source = source(py, training.path.as_deref(), training.json.as_deref(), &[])?;
    let raised = |e| Failure::Error(e).raise(py);
    if let Some(data) = &training.data {
        source = source.with_data(data).map_err(raised)?;
    }
    // Changes may be of the data too.
    let source = source.with(&training.changes).map_err(raised)?;
    let options =
        TrainOptions { out: training.out, runs: training.runs, bare: training.bare, ..Default::default() };
    run(py, told, every, options, move |options| ebm::run::train(&source, options))
}

/// Goes on with a run.
#[pyfunction]
pub(crate) fn resume(
    py: Python<'_>,
    continuation: Continuation,
    told: Option<Py<PyAny>>,
    every: f64,
) -> PyResult<(String, Option<Py<PyAny>>)> {
    let Continuation { directory, changes, data, other_data, bare } = continuation;
    let changes = source(py, None, None, &changes)?.overrides;
    let options = TrainOptions { data, other_data, bare, ..Default::default() };
    run(py, told, every, options, move |options| ebm::run::resume(&directory, &changes, options))
}

fn run(
    py: Python<'_>,
    told: Option<Py<PyAny>>,
    every: f64,
    options: TrainOptions,
    work: impl FnOnce(&TrainOptions) -> ebm::Result<TrainReport> + Send,
) -> PyResult<(String, Option<Py<PyAny>>)> {
    let every = Duration::try_from_secs_f64(every)
        .map_err(|_| refused(format!("every: is {every}, must be a number of seconds, 0 or more")))?;
    let stop = options.stop.clone();
    let hears = told.is_some();
    let tell = |py: Python<'_>, report: Report| match &told {
        Some(told) => told.call1(py, (numbers(py, &report)?,)).map(drop),
        None => Ok(()),
    };
    let Watched { result, raised } = watched(py, &stop, tell, |sender| {
        let watcher = Some(Watcher::new(teller(sender, hears, every)));
        work(&TrainOptions { watcher, ..options })
    });
    match (result, raised) {
        (Ok(report), raised) => {
            let json = serde_json::to_string(&report).map_err(|e| refused(e.to_string()))?;
            Ok((json, raised.map(|e| e.into_value(py).into_any())))
        }
        // Stopped before there was anything to save.
        (Err(_), Some(raised)) => Err(raised),
        (Err(failure), None) => Err(failure.raise(py)),
    }
}

/// Sends the first step, the last, and those that are `every` apart.
fn teller(sender: SyncSender<Report>, hears: bool, every: Duration) -> impl Fn(&Event<'_>) + Send + Sync {
    let last: Mutex<Option<Instant>> = Mutex::new(None);
    move |event| {
        let Event::Step { report, .. } = event else { return };
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= every) || report.step == report.of;
        if hears && due {
            *last = Some(Instant::now());
            // Nobody listens any more: the run is being stopped.
            let _ = sender.send((*report).clone());
        }
    }
}

/// A report as a dictionary.
fn numbers<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    all.set_item("step", report.step)?;
    all.set_item("of", report.of)?;
    all.set_item("values", &report.values)?;
    Ok(all)
}
