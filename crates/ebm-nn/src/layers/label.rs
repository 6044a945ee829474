//! Label gain and bias: a condition vector scales and shifts each channel.

use candle_core::Tensor;
use ebm_core::{Diff, Result};

/// `(g, s) = split(W y + b)`, then `x·g + s` for each channel: `x` `(B, C, H, W)`, `label` `(B, n)`,
/// `weight` `(2C, n)`, `bias` `(2C,)`. The first half is the gain (multiplying directly, not `1 + g`).
/// Without a label the identity.
///
/// # Errors
/// If the shapes do not fit.
pub fn label_affine<V: Diff>(x: &V, label: Option<&Tensor>, weight: &Tensor, bias: &Tensor) -> Result<V> {
    let Some(label) = label else { return Ok(x.clone()) };
    let (b, c, _, _) = x.value().dims4()?;
    let label = label.to_dtype(x.value().dtype())?;
    let both = label.matmul(&weight.t()?)?.broadcast_add(bias)?;
    let gain = both.narrow(1, 0, c)?.reshape((b, c, 1, 1))?;
    let shift = both.narrow(1, c, c)?.reshape((b, c, 1, 1))?;
    x.times(&gain)?.shift(&shift)
}
