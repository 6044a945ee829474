//! Central differences of exact functions, in f64.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Tensor};
use ebm_core::{EnergyFn, ParamSet, Result};

/// Central difference of `f` in every entry of `x`, with step `h`: shape of `x`, f64. `f` maps `x` to a number.
///
/// # Errors
/// If `f` fails.
pub fn x_difference(x: &Tensor, h: f64, mut f: impl FnMut(&Tensor) -> Result<f64>) -> Result<Tensor> {
    let shape = x.dims().to_vec();
    let mut data = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let mut out = Vec::with_capacity(data.len());
    for i in 0..data.len() {
        let keep = data[i];
        let mut at = |v: f64| -> Result<f64> {
            data[i] = v;
            f(&Tensor::from_slice(&data, shape.as_slice(), x.device())?.to_dtype(x.dtype())?)
        };
        let slope = (at(keep + h)? - at(keep - h)?) / (2.0 * h);
        data[i] = keep;
        out.push(slope);
    }
    Ok(Tensor::from_vec(out, shape, x.device())?)
}

/// Central difference of `f` in every trainable entry of `e`'s parameters, which are restored after.
///
/// # Errors
/// If `f` fails.
pub fn theta_difference(
    e: &dyn EnergyFn,
    h: f64,
    f: impl FnMut() -> Result<f64>,
) -> Result<BTreeMap<String, Tensor>> {
    params_difference(e.params(), h, f)
}

/// The same of any set of parameters.
pub(crate) fn params_difference(
    params: &ParamSet,
    h: f64,
    mut f: impl FnMut() -> Result<f64>,
) -> Result<BTreeMap<String, Tensor>> {
    let before = params.snapshot()?;
    let mut out = BTreeMap::new();
    for name in params.trainable() {
        let value = &before[name];
        let g = x_difference(value, h, |t| {
            params.set(name, t)?;
            f()
        })?;
        params.set(name, value)?;
        out.insert(name.to_string(), g);
    }
    Ok(out)
}

/// Largest absolute difference of two tensors over the largest entry of both (0 if both vanish).
///
/// # Errors
/// If shapes differ.
pub fn relative_gap(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.elem_count() == 0 {
        return Ok(0.0);
    }
    let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
    let gap = largest(&(&a - &b)?)?;
    let scale = largest(&a)?.max(largest(&b)?);
    // An infinite gap over an infinite scale is no small one.
    let relative = if scale > 0.0 { gap / scale } else { 0.0 };
    Ok(if relative.is_nan() { f64::INFINITY } else { relative })
}

/// The largest absolute entry, in f64; infinite if one is NaN, which candle's `max` passes over unless it comes first.
pub(crate) fn largest(t: &Tensor) -> Result<f64> {
    let all = t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(all.iter().fold(0.0, |top: f64, v| if v.is_nan() { f64::INFINITY } else { top.max(v.abs()) }))
}

/// The same over all gradients by name; a missing one counts as zero.
pub(crate) fn relative_gap_all(
    a: &BTreeMap<String, Tensor>,
    b: &BTreeMap<String, Tensor>,
) -> Result<(f64, String)> {
    let mut scale = 0f64;
    let mut worst = (0f64, String::new());
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (x, y) = (a.get(name), b.get(name));
        let gap = match (x, y) {
            (Some(x), Some(y)) => largest(&(x.to_dtype(DType::F64)? - y.to_dtype(DType::F64)?)?)?,
            (Some(t), None) | (None, Some(t)) => largest(t)?,
            (None, None) => 0.0,
        };
        for t in [x, y].into_iter().flatten() {
            scale = scale.max(largest(t)?);
        }
        if gap > worst.0 {
            worst = (gap, name.clone());
        }
    }
    let relative = if scale > 0.0 { worst.0 / scale } else { 0.0 };
    Ok((if relative.is_nan() { f64::INFINITY } else { relative }, worst.1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;

    use super::*;

    /// Wherever it stands: a library's largest entry passes over a NaN that is not the first.
    #[test]
    fn a_gap_with_a_number_that_is_none_is_infinite() {
        let whole = Tensor::new(&[1.0f64, 2.0, 3.0], &Device::Cpu).unwrap();
        for at in 0..3 {
            let mut broken = [1.0, 2.0, 3.0];
            broken[at] = f64::NAN;
            let broken = Tensor::new(&broken, &Device::Cpu).unwrap();
            assert_eq!(relative_gap(&whole, &broken).unwrap(), f64::INFINITY);
            assert_eq!(relative_gap(&broken, &broken).unwrap(), f64::INFINITY);
            let one = |t: &Tensor| BTreeMap::from([("w".to_string(), t.clone())]);
            assert_eq!(relative_gap_all(&one(&whole), &one(&broken)).unwrap().0, f64::INFINITY);
        }
        assert_eq!(relative_gap(&whole, &whole).unwrap(), 0.0);
    }
}
