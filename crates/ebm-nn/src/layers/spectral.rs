//! Spectral normalisation (Miyato et al. 2018) with the power iteration apart from the forward pass.

use candle_core::{Result, Tensor};
use ebm_core::bounds::at_least;

/// Floor of the norms in the power iteration (PyTorch's `eps`).
const FLOOR: f64 = 1e-12;

/// `W/σ` with `σ = uᵀWv`, `W` the weight `(O, ...)` as a matrix `(O, n)`, and `u` `(O,)`, `v` `(n,)`
/// constants: gradients flow through `W` only.
///
/// # Errors
/// If the shapes do not fit.
pub fn spectral(w: &Tensor, u: &Tensor, v: &Tensor) -> Result<Tensor> {
    let matrix = w.flatten_from(1)?;
    let u = u.detach().reshape((1, ()))?;
    let v = v.detach().reshape(((), 1))?;
    let sigma = u.matmul(&matrix)?.matmul(&v)?;
    let shape = vec![1; w.rank()];
    w.broadcast_div(&sigma.reshape(shape)?)
}

/// One power iteration `v = Wᵀu/‖Wᵀu‖`, `u = Wv/‖Wv‖`; returns the new `(u, v)`. Norms are floored
/// at 1e−12.
///
/// # Errors
/// If the shapes do not fit.
pub fn power_iteration(w: &Tensor, u: &Tensor) -> Result<(Tensor, Tensor)> {
    let matrix = w.detach().flatten_from(1)?;
    let v = unit(&u.detach().reshape((1, ()))?.matmul(&matrix)?.flatten_all()?)?;
    let u = unit(&matrix.matmul(&v.reshape(((), 1))?)?.flatten_all()?)?;
    Ok((u, v))
}

fn unit(t: &Tensor) -> Result<Tensor> {
    let norm = at_least(&t.sqr()?.sum_all()?.sqrt()?, FLOOR)?;
    t.broadcast_div(&norm)
}
