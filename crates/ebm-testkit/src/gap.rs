//! How far gradients are from central differences, measured where differences are to be trusted.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Chains, EnergyFn, Key, ParamSet, Result};

use crate::difference::largest;

/// A derivative by differences, and what it may be off by.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// The derivative.
    pub value: f64,
    /// What extrapolation changed in the difference: more than what it left undone.
    pub truncation: f64,
    /// What rounding of `f` leaves, if it is computed in f64 from numbers not much larger than itself or one.
    pub rounding: f64,
}

/// Smaller steps than `h` that are tried, each a quarter of the one before.
const STEPS: i32 = 7;

/// The derivative of `f` at 0, by differences at two steps, extrapolated (Richardson 1911). A decision of `f` beside 0, which only
/// the larger steps reach across, shows as truncation: of the steps from `h` down that with the least error counts.
///
/// # Errors
/// If `f` fails.
pub fn derivative(h: f64, mut f: impl FnMut(f64) -> Result<f64>) -> Result<Estimate> {
    let mut best = Estimate { value: f64::NAN, truncation: f64::INFINITY, rounding: 0.0 };
    for k in 0..STEPS {
        let h = h * 0.25f64.powi(k);
        let (a, b, c, d) = (f(h)?, f(-h)?, f(2.0 * h)?, f(-2.0 * h)?);
        let (near, far) = ((a - b) / (2.0 * h), (c - d) / (4.0 * h));
        let value = near + (near - far) / 3.0;
        let top = [a, b, c, d].iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let found =
            Estimate { value, truncation: (value - near).abs(), rounding: 8.0 * f64::EPSILON * top / h };
        if found.truncation + found.rounding < best.truncation + best.rounding {
            best = found;
        }
        // Below this smaller steps only round more.
        if found.truncation <= found.rounding {
            break;
        }
    }
    Ok(best)
}

/// How far a gradient is from differences.
#[derive(Clone, Debug, Default)]
pub struct Gap {
    /// Largest deviation of an entry, less what the difference itself may be off by.
    pub off: f64,
    /// Largest entry of the gradient or of the differences.
    pub size: f64,
    /// Where the deviation is.
    pub at: String,
}

impl Gap {
    /// The deviation as a share of the size; infinite if it is no number.
    pub fn relative(&self) -> f64 {
        let share = if self.off == 0.0 { 0.0 } else { self.off / self.size };
        if share.is_nan() { f64::INFINITY } else { share }
    }
}

/// The gap between `got` and the derivatives of `f` in the entries of `x`, by central differences of step `h`. Where they deviate
/// by more than `tolerance` of the largest entry the difference may be what is wrong, and [`derivative`] has the word.
///
/// # Errors
/// If `f` fails, or shapes differ.
pub fn x_gap(
    got: &Tensor,
    x: &Tensor,
    h: f64,
    tolerance: f64,
    f: impl FnMut(&Tensor) -> Result<f64>,
) -> Result<Gap> {
    x_gap_of(got, x, Care { h, tolerance, most: usize::MAX }, f)
}

/// How closely a gradient is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Care {
    /// Step of the first difference.
    pub(crate) h: f64,
    /// Relative deviation beyond which a difference is looked into.
    pub(crate) tolerance: f64,
    /// Most entries of one tensor that are looked at: the one with the largest gradient, and others at even distances. With 0 there is
    /// one look along a random direction through all parameters.
    pub(crate) most: usize,
}

/// [`x_gap`] in some entries.
pub(crate) fn x_gap_of(
    got: &Tensor,
    x: &Tensor,
    care: Care,
    f: impl FnMut(&Tensor) -> Result<f64>,
) -> Result<Gap> {
    let care = Care { most: care.most.max(2), ..care };
    let mut gap = Gap { size: largest(got)?, ..Gap::default() };
    let small = care.tolerance * gap.size;
    entries(&mut gap, "x", Some(got), x, (care, small), f)?;
    Ok(gap)
}

/// The same in the trainable parameters of `e`, which are restored after; what `got` has not is zero.
///
/// # Errors
/// If `f` fails, or shapes differ.
pub fn theta_gap(
    e: &dyn EnergyFn,
    got: &BTreeMap<String, Tensor>,
    h: f64,
    tolerance: f64,
    f: impl FnMut() -> Result<f64>,
) -> Result<Gap> {
    params_gap(e.params(), got, Care { h, tolerance, most: usize::MAX }, f)
}

/// [`theta_gap`] in some entries of any set of parameters.
pub(crate) fn params_gap(
    params: &ParamSet,
    got: &BTreeMap<String, Tensor>,
    care: Care,
    mut f: impl FnMut() -> Result<f64>,
) -> Result<Gap> {
    let mut gap = Gap::default();
    for g in got.values() {
        gap.size = gap.size.max(largest(g)?);
    }
    let scale = gap.size;
    let before = params.snapshot()?;
    for name in params.trainable() {
        let value = &before[name];
        entries(&mut gap, name, got.get(name), value, (care, care.tolerance * scale), |t| {
            params.set(name, t)?;
            f()
        })?;
        params.set(name, value)?;
    }
    if before.values().any(|t| t.elem_count() > care.most) {
        across(&mut gap, params, got, care.h, &mut f)?;
    }
    for (name, g) in got.iter().filter(|(name, _)| !params.trainable().any(|p| p == *name)) {
        gap.see(largest(g)?, || format!("{name}, which is no parameter"));
    }
    Ok(gap)
}

/// Where only some entries are looked at one by one: the derivative along a random direction through all of them.
fn across(
    gap: &mut Gap,
    params: &ParamSet,
    got: &BTreeMap<String, Tensor>,
    h: f64,
    f: &mut impl FnMut() -> Result<f64>,
) -> Result<()> {
    let before = params.snapshot()?;
    let (mut slope, mut square, mut count) = (0.0, 0.0, 0.0);
    let mut way = BTreeMap::new();
    for name in params.trainable() {
        let value = before[name].to_dtype(DType::F64)?;
        let d =
            Key::root(71).at(name).normal(&Chains::range(0, 1), value.dims(), DType::F64, value.device())?;
        let d = d.squeeze(0)?;
        count += value.elem_count() as f64;
        if let Some(g) = got.get(name) {
            let g = g.to_dtype(DType::F64)?;
            slope += (&g * &d)?.sum_all()?.to_scalar::<f64>()?;
            square += g.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
        way.insert(name, d);
    }
    // Steps as long as those of one entry, in the sum over all.
    let unit = f64::sqrt(count);
    let d = derivative(h, |t| {
        for (name, d) in &way {
            let value = &before[*name];
            let moved = (value.to_dtype(DType::F64)? + d.affine(t / unit, 0.0)?)?;
            params.set(name, &moved.to_dtype(value.dtype())?)?;
        }
        f()
    })?;
    params.restore(&before)?;
    let (slope, typical) = (slope / unit, square.sqrt() / unit);
    let excuse = d.rounding + d.truncation.min(1e-3 * (d.value.abs() + slope.abs()));
    let off = (slope - d.value).abs() - excuse;
    if off > 0.0 || off.is_nan() {
        // As a share of what such a sum comes to.
        let share = if typical > 0.0 { off / typical } else { f64::INFINITY };
        gap.size = gap.size.max(f64::MIN_POSITIVE);
        gap.see(share * gap.size, || {
            format!("a random direction through all parameters, {slope:.6e} against {:.6e}", d.value)
        });
    }
    Ok(())
}

impl Gap {
    fn see(&mut self, off: f64, at: impl FnOnce() -> String) {
        if off > self.off || off.is_nan() {
            self.off = if off.is_nan() { f64::INFINITY } else { off };
            self.at = at();
        }
    }
}

/// The entries of a gradient that are looked at, at most `most`.
fn chosen(got: &[f64], most: usize) -> Vec<usize> {
    if got.len() <= most {
        return (0..got.len()).collect();
    }
    if most == 0 {
        return Vec::new();
    }
    let top = (0..got.len()).max_by(|a, b| got[*a].abs().total_cmp(&got[*b].abs()));
    let rest = (1..most).map(|k| (k * got.len() + got.len() / 2) / most);
    let mut all: Vec<usize> = top.into_iter().chain(rest).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Each entry of `got` against the difference of `f` in that entry of `x`; `small` deviations are not looked into.
fn entries(
    gap: &mut Gap,
    name: &str,
    got: Option<&Tensor>,
    x: &Tensor,
    (care, small): (Care, f64),
    mut f: impl FnMut(&Tensor) -> Result<f64>,
) -> Result<()> {
    let h = care.h;
    let list = |t: &Tensor| -> Result<Vec<f64>> { Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?) };
    let mut data = list(x)?;
    let got = match got {
        Some(g) => list(&(x.zeros_like()?.to_dtype(DType::F64)? + g.to_dtype(DType::F64)?)?)?,
        None => vec![0.0; data.len()],
    };
    for i in chosen(&got, care.most) {
        let (keep, g) = (data[i], got[i]);
        let mut at = |d: f64| -> Result<f64> {
            data[i] = keep + d;
            f(&Tensor::from_slice(&data, x.dims(), x.device())?.to_dtype(x.dtype())?)
        };
        let plain = (at(h)? - at(-h)?) / (2.0 * h);
        let (mut value, mut off) = (plain, (g - plain).abs());
        if off.is_nan() || off > small {
            let d = derivative(h, &mut at)?;
            // A difference that does not settle excuses nothing.
            let excuse = d.rounding + d.truncation.min(1e-3 * (d.value.abs() + g.abs()));
            (value, off) = (d.value, (g - d.value).abs() - excuse);
        }
        data[i] = keep;
        gap.size = gap.size.max(value.abs());
        gap.see(off, || format!("{name}[{i}], {g:.6e} against {value:.6e}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;

    use super::*;

    fn of(got: f64, f: impl Fn(f64) -> f64) -> Gap {
        let one = |v: f64| Tensor::new(&[v], &Device::Cpu).unwrap();
        x_gap(&one(got), &one(0.0), 1e-4, 1e-6, |x| Ok(f(x.to_vec1::<f64>()?[0]))).unwrap()
    }

    #[test]
    fn a_bent_function_and_one_with_a_decision_beside_agree_with_their_derivative() {
        // At 1e-4 plain differences are off by 2e-4, by half of 5 and by 5,000.
        for (f, d) in [
            (&(|x: f64| (300.0 * x).sin()) as &dyn Fn(f64) -> f64, 300.0),
            (&|x: f64| 5.0 * x.max(-3e-6), 5.0),
            (&|x: f64| x + f64::from(x > 2e-5), 1.0),
        ] {
            assert!(of(d, f).relative() < 1e-6, "{:?}", of(d, f));
            assert!(of(1.0001 * d, f).relative() > 5e-5, "{:?}", of(1.0001 * d, f));
        }
    }

    #[test]
    fn a_gradient_that_is_none_or_not_there_is_found() {
        assert_eq!(of(f64::NAN, |x| x).relative(), f64::INFINITY);
        assert!(of(0.0, |x| 1e-3 * x).relative() > 0.99);
        // What is rounding of a constant is no derivative.
        assert_eq!(of(0.0, |x| (x + 3.0) - x).off, 0.0);
    }
}
