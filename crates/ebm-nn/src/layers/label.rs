//! Label gain and bias: a condition vector scales and shifts each channel.

use candle_core::{DType, Tensor};
use ebm_core::{Diff, Result};

/// `(g, s) = split(W y + b)`, then `x·g + s` for each channel: `x` `(B, C, H, W)`, `label` `(B, n)`,
/// `weight` `(2C, n)`, `bias` `(2C,)`. The first half is the gain (multiplying directly, not `1 + g`).
/// Without a label the identity.
///
/// # Errors
/// If the shapes do not fit.
pub fn label_affine<V: Diff>(x: &V, label: Option<&Tensor>, weight: &Tensor, bias: &Tensor) -> Result<V> {
    let Some(label) = label else { return Ok(x.clone()) };
    let (gain, shift) = label_gain(label, weight, bias, x.value().dtype())?;
    let (b, c) = gain.dims2()?;
    x.times(&gain.reshape((b, c, 1, 1))?)?.shift(&shift.reshape((b, c, 1, 1))?)
}

/// Gain and shift of each channel, both `(B, C)`.
pub(crate) fn label_gain(
    label: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    dtype: DType,
) -> Result<(Tensor, Tensor)> {
    let both = label.to_dtype(dtype)?.matmul(&weight.t()?)?.broadcast_add(bias)?;
    let c = both.dim(1)? / 2;
    Ok((both.narrow(1, 0, c)?, both.narrow(1, c, c)?))
}
