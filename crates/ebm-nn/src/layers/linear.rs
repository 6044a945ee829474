//! Linear layers and fixed Fourier features on `(B, D)`.

use candle_core::{Result, Tensor};
use ebm_core::tie::{Back, tie2};
use ebm_core::{Diff, Result as CoreResult};

/// PyTorch's linear layer `x Wᵀ + b`: `x` `(B, in)`, `w` `(out, in)`, `b` `(out,)`.
///
/// With a frozen weight the backward pass computes the input's gradient only.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear<V: Diff>(x: &V, w: &Tensor, b: Option<&Tensor>) -> CoreResult<V> {
    let y = x.linear(|t| product(t, w))?;
    match b {
        Some(b) => y.shift(b),
        None => Ok(y),
    }
}

fn product(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (xd, wd) = (x.detach(), w.detach());
    let y = xd.matmul(&wd.t()?)?;
    tie2(
        "linear",
        x,
        w,
        y,
        || {
            let w = wd.clone();
            Box::new(move |g: &Tensor| g.matmul(&w)) as Back
        },
        || {
            let x = xd.clone();
            Box::new(move |g: &Tensor| g.t()?.contiguous()?.matmul(&x)) as Back
        },
    )
}

/// `[cos(Bx), sin(Bx)]`: `x` `(B, D)`, `frequencies` `(m, D)` in radians per unit; result `(B, 2m)`
/// (Tancik et al. 2020).
///
/// # Errors
/// If the shapes do not fit.
pub fn fourier<V: Diff>(x: &V, frequencies: &Tensor) -> CoreResult<V> {
    let phase = linear(x, frequencies, None)?;
    V::join(&[phase.cos()?, phase.sin()?], |parts| Tensor::cat(parts, 1))
}
