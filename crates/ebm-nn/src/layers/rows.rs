//! Along the last axis: norms, the largest entry, gathering, scattering, sorting, the angle of two values.
//!
//! candle's fused layer norm, RMS norm and softmax have no backward pass: the slope that they give is 0. These have all
//! derivatives that the five calls take. (Softmax and log-sum-exp stand in [`Diff`] itself.)

use candle_core::{D, DType, Tensor};
use ebm_core::host;
use ebm_core::{Diff, Error, Result};

/// `(x − mean)/√(variance + ε)·gain + shift` over the last axis: biased variance (Ba, Kiros, Hinton 2016); `gain` and `shift`
/// are `(n,)`, either may be absent.
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm<V: Diff>(x: &V, epsilon: f64, gain: Option<&Tensor>, shift: Option<&Tensor>) -> Result<V> {
    let centred = x.minus(&x.mean_last()?)?;
    scaled(&centred.mul(&inverse_root(&centred, epsilon)?)?, gain, shift)
}

/// `x/√(mean x² + ε)·gain` over the last axis (Zhang, Sennrich 2019); `gain` is `(n,)` or absent.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm<V: Diff>(x: &V, epsilon: f64, gain: Option<&Tensor>) -> Result<V> {
    scaled(&x.mul(&inverse_root(x, epsilon)?)?, gain, None)
}

/// `1/√(mean x² + ε)` over the last axis.
fn inverse_root<V: Diff>(x: &V, epsilon: f64) -> Result<V> {
    x.square()?.mean_last()?.pointwise(
        |t| t.affine(1.0, epsilon)?.sqrt()?.recip(),
        |t| {
            let root = t.affine(1.0, epsilon)?.sqrt()?;
            (&root * root.sqr()?)?.recip()?.affine(-0.5, 0.0)
        },
    )
}

fn scaled<V: Diff>(x: &V, gain: Option<&Tensor>, shift: Option<&Tensor>) -> Result<V> {
    let x = match gain {
        Some(gain) => x.times(gain)?,
        None => x.clone(),
    };
    match shift {
        Some(shift) => x.shift(shift),
        None => Ok(x),
    }
}

/// The entries of the last axis at `index` (u32; the shape of `x` but for the last axis): `y_bi = x_{b, index_bi}`.
///
/// # Errors
/// If the shapes do not fit, or an index is out of range.
pub fn gather_last<V: Diff>(x: &V, index: &Tensor) -> Result<V> {
    let index = whole("gather_last", index)?;
    x.linear(|t| t.contiguous()?.gather(&index, D::Minus1))
}

/// Adds the entries of the last axis up at `index` (u32, the shape of `x`) among `length` zeros: the adjoint of
/// [`gather_last`].
///
/// # Errors
/// If the shapes do not fit, or an index is out of range.
pub fn scatter_add_last<V: Diff>(x: &V, index: &Tensor, length: usize) -> Result<V> {
    let index = whole("scatter_add_last", index)?;
    if index.dims() != x.value().dims() {
        let wanted = format!("{:?}, the shape of the indices", index.dims());
        return Err(Error::shape(
            "scatter_add_last",
            x.value().dims(),
            wanted,
            "give an index for each entry",
        ));
    }
    let mut dims = index.dims().to_vec();
    let Some(last) = dims.last_mut() else { return Ok(x.clone()) };
    let own = std::mem::replace(last, length);
    let rows = index.elem_count() / own.max(1);
    // Places in all rows laid end to end: candle's `scatter_add` has a backward pass for some shapes only.
    let starts: Vec<u32> = (0..rows).map(|row| (row * length) as u32).collect();
    let starts = Tensor::from_vec(starts, (rows, 1), index.device())?;
    let starts = starts.to_dtype(index.dtype())?;
    let places = index.reshape((rows, own))?.broadcast_add(&starts)?.flatten_all()?;
    x.linear(|t| {
        let zeros = Tensor::zeros(rows * length, t.dtype(), t.device())?;
        zeros.index_add(&places, &t.flatten_all()?, 0)?.reshape(dims.as_slice())
    })
}

/// Indices in one piece. Bytes are refused: candle takes the index 255 of them for none.
fn whole(name: &str, index: &Tensor) -> Result<Tensor> {
    match index.dtype() {
        DType::U32 | DType::I64 => Ok(index.contiguous()?),
        other => Err(Error::config(name, format!("has indices of type {other:?}, wanted u32 or i64"))),
    }
}

/// The largest entry of the last axis, which stays with length 1; its derivative is that of the first such entry. NaN where
/// one is, which candle's `max` leaves out.
///
/// # Errors
/// If a tensor operation fails.
pub fn max_last<V: Diff>(x: &V) -> Result<V> {
    let value = x.value().detach().contiguous()?;
    let largest = gather_last(x, &value.argmax_keepdim(D::Minus1)?)?;
    // A sum is NaN if an entry is (or if two infinities meet, which the comparison of entries with themselves tells apart).
    let numbers = value.eq(&value)?.to_dtype(value.dtype())?.min_keepdim(D::Minus1)?;
    let nan = (numbers.zeros_like()? / numbers.zeros_like()?)?;
    largest.shift(&numbers.gt(0.5)?.where_cond(&numbers.zeros_like()?, &nan)?)
}

/// The last axis in rising order.
///
/// # Errors
/// If a tensor operation fails, or an entry is NaN, which has no place in an order.
pub fn sort_last<V: Diff>(x: &V) -> Result<V> {
    let value = x.value().detach().contiguous()?;
    if value.ne(&value)?.to_dtype(DType::F32)?.max_all()?.to_scalar::<f32>()? > 0.0 {
        return Err(Error::numeric("sort_last", 0, "an entry is NaN, which has no place in an order"));
    }
    gather_last(x, &value.arg_sort_last_dim(true)?)
}

/// The angle of the point `(x, y)` in (−π, π], of two values of one shape; NaN at the origin, where it has no derivative.
///
/// Exact in its values and in the first and second derivatives, which is what the five calls take: near the point itself the
/// angle is that of the point, a constant, and the tangent of the small angle beside it.
///
/// # Errors
/// If the shapes differ.
pub fn atan2<V: Diff>(y: &V, x: &V) -> Result<V> {
    let (y0, x0) = (y.value().detach(), x.value().detach());
    let angles: Vec<f64> = {
        let of = |t: &Tensor| host::wide(t)?.flatten_all()?.to_vec1::<f64>();
        of(&y0)?.into_iter().zip(of(&x0)?).map(|(y, x)| y.atan2(x)).collect()
    };
    let angle = Tensor::from_vec(angles, x0.shape(), &candle_core::Device::Cpu)?;
    let angle = angle.to_dtype(x0.dtype())?.to_device(x0.device())?;
    let across = y.times(&x0)?.minus(&x.times(&y0)?)?;
    let along = x.times(&x0)?.plus(&y.times(&y0)?)?;
    across.mul(&along.recip()?)?.shift(&angle)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;
    use ebm_core::{Autograd, Batch, Chains, EnergySpec, Forward, Key, ParamSet, Role, View};
    use ebm_testkit::check_energy;

    use super::*;

    /// `Σ c·layer(xW)` with weights c that differ, of one of the layers.
    struct Net(&'static str);

    fn layer<V: Diff>(name: &str, p: &View, x: &V) -> Result<V> {
        let (gain, shift) = (p.get("gain")?, p.get("shift")?);
        let index = Tensor::new(&[[3u32, 0, 0, 2]], &Device::Cpu)?.broadcast_as(x.value().shape())?;
        match name {
            "layer-norm" => layer_norm(x, 1e-3, Some(gain), Some(shift)),
            "rms-norm" => rms_norm(x, 1e-3, Some(gain)),
            "max" => max_last(x),
            "sort" => sort_last(x),
            "gather" => gather_last(&x.square()?, &index),
            "scatter" => scatter_add_last(&x.square()?, &index, 5)?.square(),
            "softmax" => x.softmax_last(),
            _ => {
                let half = |from| x.linear(move |t| t.narrow(1, from, 2)?.contiguous());
                atan2(&half(0)?, &half(2)?)
            }
        }
    }

    impl Forward for Net {
        fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
            let y = layer(self.0, p, &x.matmul(p.get("w")?)?)?;
            let n = y.value().dims()[1];
            let c = Key::root(9).normal(&Chains::range(0, 1), &[n], DType::F64, &Device::Cpu)?;
            y.square()?.plus(&y)?.times(&c)?.sum_last()
        }
    }

    fn random(seed: u64, dims: &[usize]) -> Tensor {
        Key::root(seed).normal(&Chains::range(0, dims[0]), &dims[1..], DType::F64, &Device::Cpu).unwrap()
    }

    /// Slopes, mixed and second derivatives against central differences.
    #[test]
    fn all_five_calls_are_right() {
        for name in ["layer-norm", "rms-norm", "max", "sort", "gather", "scatter", "softmax", "atan2"] {
            let one = |n: &str, t: Tensor| (n.to_string(), t, Role::Trainable);
            let params = ParamSet::new([
                one("w", random(1, &[3, 4])),
                one("gain", random(2, &[1, 4]).squeeze(0).unwrap()),
                one("shift", random(3, &[1, 4]).squeeze(0).unwrap()),
            ])
            .unwrap();
            let e = Autograd::new(name, Net(name), EnergySpec::new(&[3], &["e"]), params);
            let found = check_energy(&e, &Batch::new(random(4, &[5, 3])).unwrap());
            found.unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }

    fn row(v: &[f64]) -> Tensor {
        Tensor::new(v, &Device::Cpu).unwrap().unsqueeze(0).unwrap()
    }

    fn numbers(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn values_are_those_of_the_formulas() {
        let x = row(&[3.0, -1.0, 2.0]);
        assert_eq!(numbers(&sort_last(&x).unwrap()), [-1.0, 2.0, 3.0]);
        assert_eq!(numbers(&max_last(&x).unwrap()), [3.0]);
        assert!(numbers(&max_last(&row(&[1.0, f64::NAN, 2.0])).unwrap())[0].is_nan());
        let infinite = max_last(&row(&[f64::INFINITY, f64::NEG_INFINITY])).unwrap();
        assert_eq!(numbers(&infinite), [f64::INFINITY]);
        assert!(sort_last(&row(&[1.0, f64::NAN])).is_err());
        let (y, x) = (row(&[1.0, -1.0, 0.0, -2.0]), row(&[1.0, 0.0, -3.0, -2.0]));
        let angles: Vec<f64> =
            [(1f64, 1f64), (-1.0, 0.0), (0.0, -3.0), (-2.0, -2.0)].map(|(y, x)| y.atan2(x)).to_vec();
        assert_eq!(numbers(&atan2(&y, &x).unwrap()), angles);
        let bytes = Tensor::new(&[[0u8]], &Device::Cpu).unwrap();
        assert!(gather_last(&x, &bytes).unwrap_err().to_string().contains("u32"));
    }
}
