//! Points that a call is given as an `.npy` file: where chains start, directions of products.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ebm_core::Domain;
use ebm_data::npy::{Npy, NpyValues};
use ebm_data::passes;
use ebm_model::Facts;

use super::units::{Tally, Units};
use crate::error::{Error, Result};

/// The numbers `(n, ...)` of an `.npy` file, `shape` the shape of one row. If they are samples of a model that knows `facts` of its
/// training data, they are in the units of these, as where samples are scored: of a table in its own, and bytes of images stand
/// for grey levels.
///
/// # Errors
/// If it cannot be read, has another shape or no rows, holds a value that is not finite, or bytes as numbers.
pub(crate) fn rows(
    path: &Path,
    shape: &[usize],
    facts: Option<&Facts>,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let npy = Npy::read(path)?;
    let dims = npy.dims().to_vec();
    if dims.first().is_none_or(|n| *n == 0) || dims[1..] != *shape {
        let wanted = format!("(n{})", shape.iter().map(|d| format!(", {d}")).collect::<String>());
        let (numbers, of_one) = (dims.iter().product::<usize>(), shape.iter().product::<usize>().max(1));
        let hint = match numbers > 0 && numbers.is_multiple_of(of_one) {
            true => {
                let to = [&[numbers / of_one][..], shape].concat();
                format!("; its numbers are those of {} samples: reshape it to {to:?}", numbers / of_one)
            }
            false => format!("; a sample has {of_one} numbers"),
        };
        return Err(unfit(
            path,
            format!("has shape {dims:?}, expected {wanted}, a row for each sample{hint}"),
        ));
    }
    let units = facts.and_then(Units::of);
    let (mut values, levels) = match npy.values() {
        NpyValues::U8(bytes) if units.is_some_and(Units::of_images) => {
            let levels = Units::levels_of(bytes.iter().max().copied().unwrap_or(0), units);
            (passes::middles(bytes, levels), Some(levels))
        }
        numbers => (numbers.clone().into_f64(), None),
    };
    let width = shape.iter().product::<usize>().max(1);
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        return Err(unfit(
            path,
            format!("holds {} in row {}, expected finite numbers", values[i], i / width),
        ));
    }
    if let Some(facts) = facts {
        facts.columns.from_own(&mut values);
        Tally::new(units).see(&values, levels, path)?;
    }
    let t = Tensor::from_vec(values, dims, &Device::Cpu);
    Ok(t.and_then(|t| t.to_dtype(dtype)?.to_device(device)).map_err(ebm_core::Error::from)?)
}

/// Checks that points are of a domain: states of discrete samples.
///
/// # Errors
/// If one is not.
pub(crate) fn of_domain(path: &Path, rows: &Tensor, domain: Domain) -> Result<()> {
    let width = rows.elem_count() / rows.dims()[0].max(1);
    let outside = domain.outside(&crate::tensors::floats(rows)?, width);
    match domain.is_discrete() && outside > 0 {
        true => Err(unfit(
            path,
            format!("has {outside} values that are not of this energy's samples, expected {domain}"),
        )),
        false => Ok(()),
    }
}

fn unfit(path: &Path, message: String) -> Error {
    ebm_core::Error::data(path, message).into()
}
