//! Measures of deviation, in double precision.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Error, Result, sum_of_squares};

pub(crate) type Tensors = BTreeMap<String, Tensor>;

fn top(t: &Tensor) -> Result<f64> {
    let all = t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    // `f64::max` drops NaN; here it must win.
    Ok(all.iter().fold(0.0, |m: f64, v| if v.is_nan() || m.is_nan() { f64::NAN } else { m.max(v.abs()) }))
}

/// Largest absolute difference.
pub(crate) fn max_abs(found: &Tensor, want: &Tensor) -> Result<f64> {
    top(&(found.to_dtype(DType::F64)? - want.to_dtype(DType::F64)?)?)
}

/// Largest absolute difference over the largest wanted value.
pub(crate) fn max_over_max(found: &Tensor, want: &Tensor) -> Result<f64> {
    let scale = top(want)?;
    Ok(max_abs(found, want)? / if scale > 0.0 { scale } else { 1.0 })
}

/// Relative difference of two numbers.
pub(crate) fn relative(found: f64, want: f64) -> f64 {
    (found - want).abs() / if want == 0.0 { 1.0 } else { want.abs() }
}

fn double(t: &Tensor) -> Result<Tensor> {
    Ok(t.to_dtype(DType::F64)?)
}

/// `want`, if it has the shape of `found`.
fn same<'a>(name: &str, found: &Tensor, want: &'a Tensor) -> Result<&'a Tensor> {
    if found.dims() == want.dims() {
        return Ok(want);
    }
    let expected = format!("{:?}, the parameter's", found.dims());
    Err(Error::shape(name, want.dims(), expected, "a gradient of the golden file has another shape"))
}

/// Euclidean norm of the difference over that of `want`, over all tensors of `want` together; one that
/// was not found counts as zero.
pub(crate) fn l2(found: &Tensors, want: &Tensors) -> Result<f64> {
    let (mut off, mut all) = (0.0, 0.0);
    for (name, w) in want {
        all += sum_of_squares(w)?;
        off += match found.get(name) {
            Some(f) => sum_of_squares(&(double(f)? - same(name, f, w)?)?)?,
            None => sum_of_squares(w)?,
        };
    }
    Ok((off / if all > 0.0 { all } else { 1.0 }).sqrt())
}

/// The worst tensor: largest difference over the largest wanted value of the same tensor.
pub(crate) fn worst_tensor(found: &Tensors, want: &Tensors, skip: &[String]) -> Result<f64> {
    let mut worst = 0f64;
    for (name, w) in want.iter().filter(|(name, _)| !skip.contains(name)) {
        let gap = match found.get(name) {
            Some(f) => max_over_max(f, same(name, f, w)?)?,
            None => 1.0,
        };
        worst = if gap.is_nan() { f64::NAN } else { worst.max(gap) };
    }
    Ok(worst)
}

/// Euclidean norm over all tensors.
pub(crate) fn norm(all: &Tensors) -> Result<f64> {
    let mut sum = 0.0;
    for t in all.values() {
        sum += sum_of_squares(&double(t)?)?;
    }
    Ok(sum.sqrt())
}

/// Largest entry of the named tensors.
pub(crate) fn largest(all: &Tensors, names: &[String]) -> Result<f64> {
    let mut worst = 0f64;
    for t in names.iter().filter_map(|n| all.get(n)) {
        worst = worst.max(top(t)?);
    }
    Ok(worst)
}

/// Entry by entry sum; a tensor that one side lacks is zero there.
pub(crate) fn sum(a: &Tensors, b: &Tensors, factor: f64) -> Result<Tensors> {
    let mut all: Tensors = a.iter().map(|(n, t)| Ok((n.clone(), double(t)?))).collect::<Result<_>>()?;
    for (name, t) in b {
        let t = double(t)?.affine(factor, 0.0)?;
        let t = match all.get(name) {
            Some(mine) => (mine + same(name, mine, &t)?)?,
            None => t,
        };
        all.insert(name.clone(), t);
    }
    Ok(all)
}
