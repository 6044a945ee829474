//! Convolutions that nobody computes.

use ebm_core::candle::{Result, Tensor};
use ebm_core::operators::{Convolution, Order, Pass};

/// Zeros in place of a convolution's result.
pub fn result(what: Convolution, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let sizes = |t: &Tensor| -> Result<[usize; 4]> {
        let (n, p, q, r) = t.dims4()?;
        Ok(if what.order == Order::ChannelsLast { [n, r, p, q] } else { [n, p, q, r] })
    };
    let (x, w) = (sizes(a)?, sizes(b)?);
    let out = |n: usize, k: usize| (n + 2 * what.padding - k) / what.stride + 1;
    let (n, c, h, wide) = match what.pass {
        Pass::Forward => (x[0], w[0], out(x[2], w[2]), out(x[3], w[3])),
        Pass::Input { size } => (x[0], w[1], size.0, size.1),
        Pass::Weight { kernel } => (w[1], x[1], kernel, kernel),
    };
    let shape = if what.order == Order::ChannelsLast { [n, h, wide, c] } else { [n, c, h, wide] };
    Tensor::zeros(&shape, a.dtype(), a.device())
}
