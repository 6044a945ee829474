//! Group and instance normalisation without running statistics.

use candle_core::{D, DType, Result as TensorResult, Tensor};
use ebm_core::{Diff, Result};

/// Group norm of `x` `(B, C, H, W)` over `C/groups` channels and space: biased variance, `epsilon`
/// inside the root (Wu and He 2018); `groups = C` is instance norm. Then `x·weight + bias` for
/// each channel, both `(C,)`.
///
/// # Errors
/// If `groups` does not divide `C` or the shapes do not fit.
pub fn group_norm<V: Diff>(
    x: &V,
    groups: usize,
    epsilon: f64,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<V> {
    let (b, c, h, w) = x.value().dims4()?;
    let grouped = x.linear(|t| t.reshape((b, groups, c * h * w / groups.max(1))))?;
    let centred = grouped.linear(centred)?;
    let scale = centred.square()?.mean_last()?.pointwise(
        |t| t.affine(1.0, epsilon)?.sqrt()?.recip(),
        |t| {
            let deviation = t.affine(1.0, epsilon)?.sqrt()?;
            (&deviation * deviation.sqr()?)?.recip()?.affine(-0.5, 0.0)
        },
    )?;
    let y = centred.mul(&scale)?.linear(|t| t.reshape((b, c, h, w)))?;
    affine(&y, weight, bias)
}

/// Rows of `t` less their means.
///
/// The sum of many numbers at a level far above what they differ by rounds by more than that, so the first is taken from all of them
/// before; which one does not matter, and no gradient flows through it. f64 has the digits, and keeps its bytes.
pub(crate) fn centred(t: &Tensor) -> TensorResult<Tensor> {
    let near = match t.dtype() {
        DType::F64 => t.clone(),
        _ => t.broadcast_sub(&t.narrow(D::Minus1, 0, 1)?.detach())?,
    };
    near.broadcast_sub(&near.mean_keepdim(D::Minus1)?)
}

/// `x·gain + shift` for each channel of `x` `(B, C, H, W)`; both `(C,)`, either may be absent.
pub(crate) fn affine<V: Diff>(x: &V, gain: Option<&Tensor>, shift: Option<&Tensor>) -> Result<V> {
    let x = match gain {
        Some(g) => x.times(&g.reshape((1, (), 1, 1))?)?,
        None => x.clone(),
    };
    match shift {
        Some(s) => x.shift(&s.reshape((1, (), 1, 1))?),
        None => Ok(x),
    }
}
