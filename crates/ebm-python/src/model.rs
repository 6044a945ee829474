//! A trained model, or one of a configuration: its energy, its samples, its scores.

use std::path::PathBuf;

use ebm::core::candle::Tensor;
use ebm::core::{Blind, Stop, Stoppable};
use ebm::inputs::Units;
use ebm::model::{Sampling, ScoreOptions, ScoreRow, Threshold, score_terms, score_values};
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::Numbers;
use crate::configuration::source;
use crate::energy::Energy;
use crate::error::{Failure, detached};
use crate::watched::interruptible;

/// A model with all that sampling it needs.
#[pyclass(frozen, module = "ebm_candle._native")]
pub(crate) struct Model {
    inner: ebm::Model,
}

#[pymethods]
impl Model {
    /// A run directory, a configuration file or a composition of runs.
    #[staticmethod]
    fn open(py: Python<'_>, target: PathBuf, changes: Vec<String>, data: Option<String>) -> PyResult<Self> {
        let changes = source(py, None, None, &changes)?.overrides;
        let inner = detached(py, || ebm::Model::open_on(&target, &changes, data.as_deref()))?;
        Ok(Model { inner })
    }

    /// A configuration as JSON.
    #[staticmethod]
    fn of_configuration(py: Python<'_>, json: &str, changes: Vec<String>) -> PyResult<Self> {
        let source = source(py, None, Some(json), &changes)?;
        Ok(Model { inner: detached(py, || ebm::Model::of(source, None))? })
    }

    /// Its energy, with the weights that samples are drawn from.
    #[getter]
    fn energy(&self) -> Energy {
        Energy {
            inner: self.inner.energy().clone(),
            dtype: self.inner.dtype(),
            device: self.inner.device().clone(),
            rows: self.inner.batch(),
            class_names: self.inner.facts().class_names.clone(),
            function: None,
        }
    }

    #[getter]
    fn step(&self) -> Option<u64> {
        self.inner.step()
    }

    #[getter]
    fn checkpoint(&self) -> Option<PathBuf> {
        self.inner.path().map(Into::into)
    }

    #[getter]
    fn sampler(&self) -> String {
        self.inner.sampler().name()
    }

    /// Samples `(n, ...)` from fresh starts, under the conditions `(m, c)` in turn.
    #[pyo3(signature = (n, steps=None, seed=None, warm_up=None, conditions=None))]
    fn sample<'py>(
        &self,
        py: Python<'py>,
        n: usize,
        steps: Option<usize>,
        seed: Option<u64>,
        warm_up: Option<usize>,
        conditions: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let conditions = conditions.map(|c| Numbers::read(c, "condition")).transpose()?;
        let stop = Stop::default();
        let drawn = interruptible(py, &stop, || {
            let to = |n: Numbers| n.tensor(self.inner.dtype(), self.inner.device());
            let conditions: Option<Tensor> = conditions.map(to).transpose()?;
            let energy = Stoppable::new(self.inner.energy().as_ref(), &stop);
            let sampling = Sampling {
                steps,
                warm_up,
                seed,
                energy: Some(&energy),
                conditions: conditions.as_ref(),
                ..Sampling::default()
            };
            Ok(Numbers::of(&self.inner.sample_watched(n, sampling, &mut Blind)?)?)
        })?;
        drawn.array(py)
    }

    /// Names of the columns of the table that it was trained on; none of other data.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.inner.facts().columns.list().iter().map(|c| c.name.clone()).collect()
    }

    /// Grey levels of bytes up to `most` as images, as where `ebm score` reads them; none if it was not trained on images.
    fn levels_of(&self, most: u8) -> Option<u32> {
        let units = Units::of(self.inner.facts()).filter(|units| units.of_images())?;
        Some(Units::levels_of(most, Some(units)))
    }

    /// Samples in the units of the table that it was trained on, made of such as it takes, or the way back if `own`; f64.
    fn in_units<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        own: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let x = self.samples(py, x)?;
        let dims = x.dims().to_vec();
        let mut values = x.doubles();
        let columns = &self.inner.facts().columns;
        if own {
            columns.from_own(&mut values);
        } else {
            columns.to_own(&mut values);
        }
        Ok(PyArray1::from_vec(py, values).reshape(dims)?.into_any())
    }

    /// Energies and terms of samples without a condition, and what the threshold `which` of the run `run` says of them.
    #[pyo3(signature = (x, run=None, which=None))]
    fn score<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        run: Option<PathBuf>,
        which: Option<String>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let x = self.samples(py, x)?;
        let (names, rows) = interruptible(py, &Stop::default(), || {
            x.finite_as(self.inner.dtype(), "x")?;
            let open = |run: PathBuf| Threshold::open(&self.inner, &run, which.as_deref());
            let options = ScoreOptions { threshold: run.map(open).transpose()?, ..ScoreOptions::default() };
            Ok((score_terms(&self.inner)?, score_values(&self.inner, &x.doubles(), &options)?))
        })?;
        told(py, &names, &rows)
    }
}

impl Model {
    /// Samples of the model's shape.
    fn samples(&self, py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Numbers> {
        let x = Numbers::read(x, "x")?;
        let found = x.dims().get(1..).unwrap_or(&[]);
        if found != self.inner.sample_shape() {
            let expected = self.inner.sample_shape().to_vec();
            let e = ebm::Error::Shape { place: "x".into(), found: found.to_vec(), expected, images: false };
            return Err(Failure::Error(e).raise(py));
        }
        Ok(x)
    }
}

/// Rows of scores as columns by name.
fn told<'py>(py: Python<'py>, names: &[String], rows: &[ScoreRow]) -> PyResult<Bound<'py, PyDict>> {
    let column = |f: &dyn Fn(&ScoreRow) -> f64| PyArray1::from_iter(py, rows.iter().map(f));
    let all = PyDict::new(py);
    all.set_item("energy", column(&|row| row.energy))?;
    let terms = PyDict::new(py);
    for (i, name) in names.iter().enumerate() {
        terms.set_item(name, column(&|row| row.terms.get(i).copied().unwrap_or(f64::NAN)))?;
    }
    all.set_item("terms", terms)?;
    if rows.iter().any(|row| row.verdict.is_some()) {
        all.set_item("score", column(&|row| row.verdict.map_or(f64::NAN, |v| v.0)))?;
        let inside = rows.iter().map(|row| row.verdict.is_some_and(|v| v.1));
        all.set_item("inside", PyArray1::from_iter(py, inside))?;
    }
    Ok(all)
}
