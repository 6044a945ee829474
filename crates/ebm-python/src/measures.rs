//! Measures of arrays: distances between sets, detection, log Z, integrals over the plane.

use ebm::core::candle::{Device, Tensor};
use ebm::core::{Batch, Stop, host};
use ebm::eval::{self, Features};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{Numbers, column};
use crate::energy::Energy;
use crate::error::{detached, refused};
use crate::watched::interruptible;

/// Numbers by name as a dictionary.
fn named<'py>(py: Python<'py>, all: &[(&str, f64)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    all.iter().try_for_each(|(name, value)| dict.set_item(name, value))?;
    Ok(dict)
}

/// A table `(n, d)`.
fn table(array: &Bound<'_, PyAny>, what: &str) -> PyResult<(Vec<f64>, usize, usize)> {
    let numbers = Numbers::read(array, what)?;
    match *numbers.dims() {
        [n, d] => Ok((numbers.doubles(), n, d)),
        ref other => Err(refused(format!("{what}: found shape {other:?}, wanted (n, d)"))),
    }
}

/// Two tables, and what `f` says of them.
fn of_two<T: Send>(
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    f: impl FnOnce(&Features, &Features) -> eval::Result<T> + Send,
) -> PyResult<T> {
    let (py, a, b) = (a.py(), table(a, "a")?, table(b, "b")?);
    // Measures do not hear a wish to stop; Ctrl-C is answered at their end.
    detached(py, || Ok(f(&Features::new(a.0, a.1, a.2)?, &Features::new(b.0, b.1, b.2)?)?))
}

/// Fréchet distance of two tables.
#[pyfunction]
pub(crate) fn frechet(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>, ridge: f64) -> PyResult<f64> {
    of_two(a, b, |a, b| eval::frechet(a, b, ridge))
}

/// MMD² of two tables with its standard error and the bandwidth.
#[pyfunction]
pub(crate) fn mmd<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    bandwidth: Option<f64>,
) -> PyResult<Bound<'py, PyDict>> {
    let (found, bandwidth) = of_two(a, b, |a, b| {
        let bandwidth = bandwidth.map_or_else(|| eval::median_distance(a), Ok)?;
        Ok((eval::mmd2_estimate(a, b, bandwidth)?, bandwidth))
    })?;
    named(py, &[("mmd2", found.value), ("se", found.se), ("bandwidth", bandwidth)])
}

/// Figures of a detector.
#[pyfunction]
pub(crate) fn detection<'py>(
    py: Python<'py>,
    inside: &Bound<'py, PyAny>,
    outside: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let (inside, outside) = (column(inside, "inside")?, column(outside, "outside")?);
    let d = detached(py, || Ok(eval::detection(&inside, &outside)?))?;
    named(py, &[("auroc", d.auroc), ("aupr_in", d.aupr_in), ("aupr_out", d.aupr_out), ("fpr95", d.fpr95)])
}

/// log Z of annealed chains, and its bracket with those of the way back.
#[pyfunction]
pub(crate) fn log_z<'py>(
    py: Python<'py>,
    log_weights: &Bound<'py, PyAny>,
    start: f64,
    reverse: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let forward = column(log_weights, "log_weights")?;
    let reverse = reverse.map(|r| column(r, "reverse")).transpose()?;
    let (found, bracket) = detached(py, || {
        let found = eval::ais_log_z(&forward, start)?;
        let Some(reverse) = reverse else { return Ok((found, None)) };
        // The way back weighs the start against the energy: its estimate is of minus what is wanted.
        let negative = eval::ais_log_z(&reverse, -start)?;
        let (low, high) = negative.interval;
        let back = eval::LogZ { log_z: -negative.log_z, interval: (-high, -low), ..negative };
        Ok((found, Some(eval::log_z_bracket(&found, &back))))
    })?;
    let all = named(py, &[("log_z", found.log_z), ("se", found.se), ("ess", found.ess)])?;
    all.set_item("interval", found.interval)?;
    if let Some(bracket) = bracket {
        all.set_item("bounds", bracket.bounds)?;
        all.set_item("contradictory", bracket.contradictory)?;
        all.set_item("few", bracket.few)?;
    }
    Ok(all)
}

/// The plane that an integral begins with.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Plane {
    centre: [f64; 2],
    spread: [f64; 2],
    tolerance: f64,
    temperature: f64,
}

/// log ∫ exp(−E(x)/T) dx over the plane, with its nodes.
#[pyfunction]
#[pyo3(signature = (energy, plane, places, condition=None))]
pub(crate) fn quadrature<'py>(
    py: Python<'py>,
    energy: &Energy,
    plane: Plane,
    places: &Bound<'py, PyAny>,
    condition: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let places = column(places, "places")?;
    let condition = condition.map(|c| Numbers::read(c, "condition")).transpose()?;
    let stop = Stop::default();
    // An error of the energy keeps its kind, which the measure would turn into words.
    let mut own = None;
    let found = interruptible(py, &stop, || {
        let condition = condition.map(|c| c.tensor(energy.dtype, &energy.device)).transpose()?;
        let at = |points: &[f64]| -> ebm::core::Result<Vec<f64>> {
            stop.check()?;
            let n = points.len() / 2;
            let x = Tensor::from_slice(points, (n, 2), &Device::Cpu)?;
            let x = x.to_dtype(energy.dtype)?.to_device(&energy.device)?;
            let condition = match &condition {
                Some(c) => Some(c.broadcast_as((n, c.elem_count()))?.contiguous()?),
                None => None,
            };
            let energies = host::numbers(&energy.inner.energy(&Batch::new(x)?.with_cond(condition))?)?;
            Ok(energies.into_iter().map(|e| -e / plane.temperature).collect())
        };
        let log_density = |points: &[f64]| {
            at(points).map_err(|e| {
                let words = e.to_string();
                own = Some(e);
                words
            })
        };
        let found =
            eval::integrate_plane_at(log_density, plane.centre, plane.spread, &places, plane.tolerance);
        match own.take() {
            Some(own) => Err(own.into()),
            None => Ok(found?),
        }
    })?;
    let all = named(py, &[("log_z", found.log_z), ("error", found.error), ("outside", found.outside)])?;
    all.set_item("centre", <(f64, f64)>::from(found.centre))?;
    all.set_item("half", <(f64, f64)>::from(found.half))?;
    all.set_item("cells", found.cells)?;
    all.set_item("points", found.points)?;
    Ok(all)
}
