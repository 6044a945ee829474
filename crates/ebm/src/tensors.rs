//! Tensors as plain numbers on the host.

use candle_core::{DType, Device, Tensor};
use ebm_core::host;

use crate::error::Result;

/// All numbers of a tensor in f64, in order.
pub(crate) fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    let flat = host::wide(t).and_then(|t| t.flatten_all()?.to_vec1());
    Ok(flat.map_err(ebm_core::Error::from)?)
}

/// All numbers of a tensor in f32, in order.
pub(crate) fn floats(t: &Tensor) -> Result<Vec<f32>> {
    let flat = t.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_device(&Device::Cpu)?.to_vec1());
    Ok(flat.map_err(ebm_core::Error::from)?)
}

/// At most `most` of the places `0..of`, at equal distances, from the first on.
pub(crate) fn equally_spaced(of: usize, most: usize) -> impl Iterator<Item = usize> {
    let n = of.min(most);
    (0..n).map(move |i| i * of / n)
}
