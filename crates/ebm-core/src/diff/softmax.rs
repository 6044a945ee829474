//! Softmax and its derivatives where rows have nearly all their mass at one place.
//!
//! Both the adjoint and the derivative along `t` are `y ⊙ (t − Σ y ⊙ t)`. The mean of a row is then the value at the place of its mass
//! to the last digits, and what is left there is rounding. A row may be moved as a whole, so it is first taken from its value at that
//! place: one rounding where there is something to lose, instead of all digits.

use candle_core::{D, Result, Tensor};

use crate::operators::operators;
use crate::tie::{Back, tie1, tie2};

/// Softmax over the last axis of `x`, in one kernel each way where the device has it.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    let plain = x.detach();
    let kernel = operators(plain.device()).and_then(|o| o.softmax.clone());
    if let Some(o) = kernel
        && let Some(y) = o.softmax(&plain)?
    {
        let back = move |g: &Tensor| {
            // Computed again: tying a result takes its storage.
            let once = || candle_core::Error::Msg("softmax: covered once only".into());
            o.back(&o.softmax(&plain)?.ok_or_else(once)?, g)
        };
        return tie1("softmax", x, y, || Box::new(back) as Back);
    }
    let y = shares(&plain)?.0;
    if !x.track_op() {
        return Ok(y);
    }
    let kept = y.copy()?;
    tie1("softmax", x, y, || Box::new(move |g: &Tensor| along(&kept, &from_top(&kept, g)?)) as Back)
}

/// Softmax of rows, and the logarithms of their sums of exponentials, without gradients.
fn shares(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let top = x.max_keepdim(D::Minus1)?;
    // 1 at the top, where the difference of two infinities is no number.
    let e = x.broadcast_eq(&top)?.where_cond(&x.ones_like()?, &x.broadcast_sub(&top)?.exp()?)?;
    let sum = e.sum_keepdim(D::Minus1)?;
    Ok((e.broadcast_mul(&sum.recip()?)?, (sum.log()? + top)?))
}

/// `log Σ exp` of rows, which stay with length 1: its gradient is the softmax.
pub(super) fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let (y, log) = shares(&x.detach())?;
    tie1("log_sum_exp", x, log, || Box::new(move |g: &Tensor| y.broadcast_mul(g)) as Back)
}

/// The derivative of `log Σ exp x` where `x` moves along `t`: the mean of `t` under the softmax, whose own gradient in `x` is the
/// derivative of the softmax.
pub(super) fn log_sum_exp_tangent(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    let (y, _) = shares(&x.detach())?;
    let moved = t.detach();
    let value = (&y * &moved)?.sum_keepdim(D::Minus1)?;
    let of_t = y.clone();
    let of_x = move |g: &Tensor| along(&y, &from_top(&y, &moved)?)?.broadcast_mul(g);
    let back_t = || Box::new(move |g: &Tensor| of_t.broadcast_mul(g)) as Back;
    tie2("log_sum_exp_tangent", x, t, value, || Box::new(of_x) as Back, back_t)
}

/// `t` taken from its value where `y` is largest in the row.
pub(crate) fn from_top(y: &Tensor, t: &Tensor) -> Result<Tensor> {
    let top = y.argmax_keepdim(D::Minus1)?;
    t.broadcast_sub(&t.contiguous()?.gather(&top, D::Minus1)?)
}

/// `y ⊙ (t − Σ y ⊙ t)`.
fn along(y: &Tensor, t: &Tensor) -> Result<Tensor> {
    y * t.broadcast_sub(&(y * t)?.sum_keepdim(D::Minus1)?)?
}

/// The derivative of the softmax `y` where its argument moves along `t`. Its gradient in `y` is that up to a number a row, which the
/// softmax's own gradient takes out again.
pub(super) fn softmax_tangent(y: &Tensor, t: &Tensor) -> Result<Tensor> {
    let plain = y.detach();
    let moved = from_top(&plain, &t.detach())?;
    let value = along(&plain, &moved)?;
    let shares = plain.clone();
    let of_t = move |g: &Tensor| along(&shares, &from_top(&shares, g)?);
    // f = y ⊙ (t − m), m = Σ y ⊙ t: g ⊙ (t − m) − (Σ y ⊙ g) t.
    let of_y = move |g: &Tensor| {
        let g = from_top(&plain, g)?;
        let mean = (&plain * &moved)?.sum_keepdim(D::Minus1)?;
        let own = (&g * moved.broadcast_sub(&mean)?)?;
        own - moved.broadcast_mul(&(&plain * &g)?.sum_keepdim(D::Minus1)?)?
    };
    tie2("softmax_tangent", y, t, value, || Box::new(of_y) as Back, || Box::new(of_t) as Back)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device, Var};

    use crate::{Diff, Dual};

    use super::*;

    fn wave(k: f64, scale: f64) -> Tensor {
        let v: Vec<f64> = (0..35).map(|i| f64::from((scale * (k * f64::from(i)).sin()) as f32)).collect();
        Tensor::from_vec(v, (5, 7), &Device::Cpu).unwrap()
    }

    /// Adjoint, derivative along a direction, and both gradients of ⟨c, derivative⟩, of rows of scores up to `scale`.
    fn all(scale: f64, dtype: DType) -> Vec<Vec<f64>> {
        let to = |t: Tensor| t.to_dtype(dtype).unwrap();
        // A level in what is averaged, which cancels.
        let level = |t: Tensor| (t + 300.0).unwrap();
        let (x, v) = (
            Var::from_tensor(&to(wave(1.7, scale))).unwrap(),
            Var::from_tensor(&to(level(wave(0.3, 1.0)))).unwrap(),
        );
        let c = to(level(wave(2.9, 1.0)));
        let y = Dual::new(x.as_tensor().clone(), v.as_tensor().clone()).softmax_last().unwrap();
        let mut first = (y.value() * &c).unwrap().sum_all().unwrap().backward().unwrap();
        let mut second = (y.tangent() * &c).unwrap().sum_all().unwrap().backward().unwrap();
        let low = Dual::new(x.as_tensor().clone(), v.as_tensor().clone()).log_sum_exp_last().unwrap();
        let mut bend = low.tangent().sum_all().unwrap().backward().unwrap();
        let out = [
            first.remove(&x).unwrap(),
            y.tangent().clone(),
            second.remove(&x).unwrap(),
            second.remove(&v).unwrap(),
            low.value().clone(),
            low.tangent().clone(),
            bend.remove(&x).unwrap(),
            bend.remove(&v).unwrap(),
        ];
        out.iter()
            .map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap())
            .collect()
    }

    #[test]
    fn nearly_one_hot_rows_keep_their_digits() {
        for scale in [1.0, 8.0, 20.0, 60.0] {
            let (single, double) = (all(scale, DType::F32), all(scale, DType::F64));
            for (k, (a, b)) in single.iter().zip(&double).enumerate() {
                let off: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
                let size: f64 = b.iter().map(|b| b * b).sum();
                // Scores of 60 round by 60·2⁻²⁴ = 4e-6, and so do their exponentials, relatively; what is averaged has a level of
                // 300, whose rounding of 2e-5 is that of a difference of order one.
                assert!((off / size).sqrt() < 3e-4, "{scale}, {k}: {:.1e}", (off / size).sqrt());
            }
        }
    }
}
