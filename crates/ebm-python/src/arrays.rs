//! NumPy arrays as tensors and back: one copy each way, none for plain vectors.

use ebm::core::candle::{DType, Device, Tensor};
use numpy::{PyArray1, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::refused;

/// Numbers of either precision with the shape that they have.
pub(crate) struct Numbers {
    values: Values,
    dims: Vec<usize>,
}

enum Values {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Numbers {
    /// The numbers of an array in C order, f32 or f64; the Python half of the package makes such of all else. `what` names it
    /// in messages.
    pub fn read(array: &Bound<'_, PyAny>, what: &str) -> PyResult<Self> {
        let piece = |_| {
            refused(format!("{what}: lies in memory in another way than its rows, wanted C order, aligned"))
        };
        if let Ok(array) = array.cast::<PyArrayDyn<f32>>() {
            let dims = array.shape().to_vec();
            return Ok(Numbers { values: Values::Single(array.to_vec().map_err(piece)?), dims });
        }
        if let Ok(array) = array.cast::<PyArrayDyn<f64>>() {
            let dims = array.shape().to_vec();
            return Ok(Numbers { values: Values::Double(array.to_vec().map_err(piece)?), dims });
        }
        let found = array.get_type().to_string();
        Err(refused(format!("{what}: found {found}, wanted a NumPy array of float32 or float64")))
    }

    /// Length of each axis.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// As a tensor of this type on this device.
    pub fn tensor(self, dtype: DType, device: &Device) -> ebm::core::Result<Tensor> {
        let t = match self.values {
            Values::Single(v) => Tensor::from_vec(v, self.dims, &Device::Cpu)?,
            Values::Double(v) => Tensor::from_vec(v, self.dims, &Device::Cpu)?,
        };
        Ok(t.to_dtype(dtype)?.to_device(device)?)
    }

    /// Refuses values that are not finite as numbers of this type, by the row that holds the first.
    pub fn finite_as(&self, dtype: DType, what: &str) -> ebm::Result<()> {
        let width = self.dims.iter().skip(1).product::<usize>().max(1);
        let single = dtype != DType::F64;
        let bad = |v: f64| if single { !(v as f32).is_finite() } else { !v.is_finite() };
        let found = match &self.values {
            Values::Single(v) => v.iter().map(|v| f64::from(*v)).enumerate().find(|(_, v)| bad(*v)),
            Values::Double(v) => v.iter().copied().enumerate().find(|(_, v)| bad(*v)),
        };
        let Some((i, value)) = found else { return Ok(()) };
        let row = i / width;
        let message = match value.is_finite() {
            true => format!(
                "holds {value:?} in row {row}, which is beyond float32, expected finite numbers: scale the samples, or take an energy in f64"
            ),
            false => format!("holds {value:?} in row {row}, expected finite numbers: leave the row out"),
        };
        Err(ebm::Error::unfit(what, message))
    }

    /// Of a tensor: f64 as it is, all other types as f32.
    pub fn of(t: &Tensor) -> ebm::core::Result<Self> {
        let (t, dims) = (t.to_device(&Device::Cpu)?, t.dims().to_vec());
        let values = match t.dtype() {
            DType::F64 => Values::Double(t.flatten_all()?.to_vec1()?),
            DType::F32 => Values::Single(t.flatten_all()?.to_vec1()?),
            _ => Values::Single(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?),
        };
        Ok(Numbers { values, dims })
    }

    /// All values in f64.
    pub fn doubles(self) -> Vec<f64> {
        match self.values {
            Values::Single(v) => v.into_iter().map(f64::from).collect(),
            Values::Double(v) => v,
        }
    }

    /// A NumPy array that takes them over as they are.
    pub fn array(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        Ok(match self.values {
            Values::Single(v) => PyArray1::from_vec(py, v).reshape(self.dims)?.into_any(),
            Values::Double(v) => PyArray1::from_vec(py, v).reshape(self.dims)?.into_any(),
        })
    }
}

/// Numbers in f64 of one axis.
pub(crate) fn column(array: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<f64>> {
    let numbers = Numbers::read(array, what)?;
    match numbers.dims().len() {
        1 => Ok(numbers.doubles()),
        _ => Err(refused(format!("{what}: found shape {:?}, wanted (n,)", numbers.dims()))),
    }
}
