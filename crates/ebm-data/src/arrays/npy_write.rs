//! Arrays as `.npy` files, in C order.

use std::path::Path;

use super::npy_values::NpyValues;
use crate::{DataError, Result};

/// An `.npy` file (version 1.0, `<f4`, C order) with shape `dims` as bytes.
///
/// # Errors
/// If the product of `dims` is not the number of values, or there are so many sizes that the header
/// outgrows version 1.0 (65,535 bytes).
pub fn encode(values: &[f32], dims: &[usize]) -> Result<Vec<u8>> {
    let mut out = head("<f4", values.len(), dims)?;
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    Ok(out)
}

/// The same of values in any type, in which they are stored.
///
/// # Errors
/// As [`encode`].
pub fn encode_values(values: &NpyValues, dims: &[usize]) -> Result<Vec<u8>> {
    let order =
        if matches!(values, NpyValues::Bool(_) | NpyValues::U8(_) | NpyValues::I8(_)) { '|' } else { '<' };
    let mut out = head(&format!("{order}{}", values.kind()), values.len(), dims)?;
    values.put(&mut out);
    Ok(out)
}

/// What stands before the `count` values of such a file; `descr` is NumPy's name of their type.
fn head(descr: &str, count: usize, dims: &[usize]) -> Result<Vec<u8>> {
    let product = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
    if product != Some(count) {
        return Err(DataError::mismatch(
            "values of an npy array",
            count.to_string(),
            format!("the product of its shape {dims:?}"),
        ));
    }
    let shape: String = dims.iter().map(|d| format!("{d}, ")).collect();
    let shape = match dims.len() {
        1 => shape.trim_end(),
        _ => shape.trim_end_matches(", "),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // NumPy aligns the values to 64 bytes: 10 bytes stand before the header, a line feed ends it.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let len = u16::try_from(header.len())
        .map_err(|_| DataError::mismatch("rank of an npy array", dims.len().to_string(), "a few sizes"))?;
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend(len.to_le_bytes());
    out.extend(header.as_bytes());
    Ok(out)
}

/// Writes [`encode`]'s bytes to `path`; the file appears whole or not at all.
///
/// # Errors
/// As [`encode`], and if the folder does not exist or cannot be written.
pub fn write(path: impl AsRef<Path>, values: &[f32], dims: &[usize]) -> Result<()> {
    crate::atomic::write(path.as_ref(), &encode(values, dims)?)
}
