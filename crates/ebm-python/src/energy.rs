//! An energy of arrays: values, slopes and Hessian-vector products.

use std::sync::Arc;

use ebm::core::candle::{DType, Device, Tensor};
use ebm::core::{Batch, Condition, EnergyFn, Given, Stop};
use pyo3::prelude::*;

use crate::arrays::Numbers;
use crate::callable::Callable;
use crate::error::{detached, refused};
use crate::watched::interruptible;

/// An energy with the number type and the device of its tensors.
#[pyclass(frozen, module = "ebm_candle._native")]
pub(crate) struct Energy {
    pub inner: Arc<dyn EnergyFn>,
    pub dtype: DType,
    pub device: Device,
    /// Rows that go through it together.
    pub rows: usize,
    /// Names of the classes that it may be given.
    pub class_names: Vec<String>,
    /// The function of Python that it is, if it is one.
    pub function: Option<Arc<Callable>>,
}

/// What arrays a batch of an energy is made of.
struct Asked {
    x: Numbers,
    condition: Option<Numbers>,
    direction: Option<Numbers>,
}

impl Asked {
    fn read(
        x: &Bound<'_, PyAny>,
        condition: Option<&Bound<'_, PyAny>>,
        direction: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Ok(Asked {
            x: Numbers::read(x, "x")?,
            condition: condition.map(|c| Numbers::read(c, "condition")).transpose()?,
            direction: direction.map(|v| Numbers::read(v, "v")).transpose()?,
        })
    }
}

impl Energy {
    /// `call` on the batch, in pieces if it has many rows; its tensors `(B, ...)` as arrays.
    fn ask<'py>(
        &self,
        py: Python<'py>,
        asked: Asked,
        call: impl Fn(&Batch, Option<&Tensor>) -> ebm::core::Result<Vec<Tensor>> + Send + Sync,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let rows = asked.x.dims().first().copied().unwrap_or(0);
        if let Some(v) = asked.direction.as_ref().filter(|v| v.dims() != asked.x.dims()) {
            return Err(refused(format!(
                "v: found shape {:?}, wanted that of x, {:?}",
                v.dims(),
                asked.x.dims()
            )));
        }
        let stop = Stop::default();
        let work = || -> ebm::Result<Vec<Numbers>> {
            let tensor = |n: Numbers| n.tensor(self.dtype, &self.device);
            let at = Batch::new(tensor(asked.x)?)?.with_cond(asked.condition.map(tensor).transpose()?);
            // Before it is cut into pieces, so that a message has the whole shape.
            self.inner.spec().check("energy", &at)?;
            let v = asked.direction.map(tensor).transpose()?;
            let found = if rows <= self.rows {
                call(&at, v.as_ref())?
            } else {
                let mut pieces: Vec<Vec<Tensor>> = Vec::new();
                for first in (0..rows).step_by(self.rows.max(1)) {
                    stop.check()?;
                    let n = self.rows.max(1).min(rows - first);
                    let v = v.as_ref().map(|v| v.narrow(0, first, n)).transpose();
                    pieces.push(call(&at.narrow(first, n)?, v.map_err(ebm::core::Error::from)?.as_ref())?);
                }
                together(&pieces)?
            };
            Ok(found.iter().map(Numbers::of).collect::<ebm::core::Result<_>>()?)
        };
        let found = match rows <= self.rows {
            true => detached(py, work),
            false => interruptible(py, &stop, work),
        }?;
        found.into_iter().map(|numbers| numbers.array(py)).collect()
    }

    /// The same of a call with one result.
    fn ask_one<'py>(
        &self,
        py: Python<'py>,
        asked: Asked,
        call: impl Fn(&Batch, Option<&Tensor>) -> ebm::core::Result<Tensor> + Send + Sync,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = self.ask(py, asked, |at, v| Ok(vec![call(at, v)?]))?;
        found.into_iter().next().ok_or_else(|| refused("energy: returned nothing"))
    }
}

/// The results of several pieces, row after row.
fn together(pieces: &[Vec<Tensor>]) -> ebm::core::Result<Vec<Tensor>> {
    let results = pieces.first().map_or(0, Vec::len);
    let one = |i: usize| -> ebm::core::Result<Tensor> {
        let parts: Vec<&Tensor> = pieces.iter().filter_map(|p| p.get(i)).collect();
        Ok(Tensor::cat(&parts, 0)?)
    };
    (0..results).map(one).collect()
}

#[pymethods]
impl Energy {
    /// A Python function of a batch that returns energies and gradients.
    #[staticmethod]
    fn of_function(function: Py<PyAny>, shape: Vec<usize>, double: bool) -> Self {
        let inner = Arc::new(Callable::new(function, &shape));
        let dtype = if double { DType::F64 } else { DType::F32 };
        let (class_names, function) = (Vec::new(), Some(inner.clone()));
        Energy { inner, dtype, device: Device::Cpu, rows: usize::MAX, class_names, function }
    }

    #[getter]
    fn sample_shape(&self) -> Vec<usize> {
        self.inner.spec().sample_shape.clone()
    }

    #[getter]
    fn terms_names(&self) -> Vec<String> {
        self.inner.spec().terms.clone()
    }

    /// Length of the condition that it takes, and whether it must have one; none without.
    #[getter]
    fn condition(&self) -> Option<(usize, bool)> {
        let condition = self.inner.spec().condition;
        Some((condition.length()?, matches!(condition, Condition::Required(_))))
    }

    #[getter]
    fn class_names(&self) -> Vec<String> {
        self.class_names.clone()
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        if self.dtype == DType::F64 { "float64" } else { "float32" }
    }

    /// How the calls are computed, in a line.
    #[getter]
    fn engine(&self) -> String {
        self.inner.engine()
    }

    /// Number of trained values.
    #[getter]
    fn parameters(&self) -> usize {
        let params = self.inner.params();
        params.names().filter_map(|name| params.get(name)).map(Tensor::elem_count).sum()
    }

    /// The condition of a class by its number or its name, `(c,)`.
    fn vector<'py>(&self, py: Python<'py>, given: &str) -> PyResult<Bound<'py, PyAny>> {
        let Some(length) = self.inner.spec().condition.length() else {
            return Err(refused(format!("condition: is {given}, but the energy takes none")));
        };
        let vector = Given::from(given).vector(length, &self.class_names);
        let vector = vector.map_err(|why| refused(format!("condition: is {given}, but {why}")))?;
        detached(py, || {
            Ok(Numbers::of(&Tensor::new(vector, &Device::Cpu).map_err(ebm::core::Error::from)?)?)
        })?
        .array(py)
    }

    /// Energies `(B,)`.
    #[pyo3(signature = (x, condition=None))]
    fn energy<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        condition: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask_one(py, Asked::read(x, condition, None)?, |at, _| self.inner.energy(at))
    }

    /// Terms `(B, T)`.
    #[pyo3(signature = (x, condition=None))]
    fn terms<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        condition: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask_one(py, Asked::read(x, condition, None)?, |at, _| self.inner.terms(at))
    }

    /// Energies `(B,)` and gradients of the shape of `x`.
    #[pyo3(signature = (x, condition=None))]
    fn slope<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        condition: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.ask(py, Asked::read(x, condition, None)?, |at, _| {
            let slope = self.inner.slope(at)?;
            Ok(vec![slope.energy, slope.grad])
        })
    }

    /// Hessian-vector products of the shape of `x`.
    #[pyo3(signature = (x, v, condition=None))]
    fn hvp<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        v: &Bound<'py, PyAny>,
        condition: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask_one(py, Asked::read(x, condition, Some(v))?, |at, v| match v {
            Some(v) => self.inner.hvp(at, v),
            None => Err(ebm::core::Error::config("v", "is missing")),
        })
    }
}
