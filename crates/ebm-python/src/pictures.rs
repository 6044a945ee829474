//! Samples as the bytes of a picture.

use ebm::core::candle::{DType, Device};
use ebm::draw::picture::{encode, encode_rows};
use pyo3::prelude::*;

use crate::arrays::Numbers;
use crate::error::detached;

/// Images `(N, 1 or 3, H, W)` as a sheet, `columns` in a row, or points `(N, 2)` as a scatter over those of `background`: png.
#[pyfunction]
pub(crate) fn png(
    py: Python<'_>,
    samples: &Bound<'_, PyAny>,
    columns: Option<usize>,
    background: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<u8>> {
    let samples = Numbers::read(samples, "samples")?;
    let background = background.map(|b| Numbers::read(b, "background")).transpose()?;
    detached(py, || {
        let tensor = |n: Numbers| n.tensor(DType::F32, &Device::Cpu);
        let (samples, background) = (tensor(samples)?, background.map(tensor).transpose()?);
        Ok(match columns {
            Some(columns) => encode_rows(&samples, columns)?,
            None => encode(&samples, background.as_ref())?,
        })
    })
}
