//! Group and instance normalisation without running statistics.

use candle_core::Tensor;
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
    let centred = grouped.minus(&grouped.mean_last()?)?;
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
