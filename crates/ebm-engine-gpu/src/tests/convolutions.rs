//! Convolutions where channels come last, for the processor that stands in for a device: by candle's, in f32 on operands as they are.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::{Convolution, ConvolutionOps, Order, Pass};
use ebm_nn::layers;

/// All that the tests need of the vendor's library.
pub struct Stand;

/// Channels first, in f32.
fn first(t: &Tensor) -> Result<Tensor> {
    t.to_dtype(DType::F32)?.permute((0, 3, 1, 2))?.contiguous()
}

impl ConvolutionOps for Stand {
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        if what.order == Order::ChannelsFirst {
            // Those of candle are asked next.
            return Ok(None);
        }
        let (s, p, dtype) = (what.stride, what.padding, a.dtype());
        let (a, b) = (first(a)?, first(b)?);
        let y = match what.pass {
            Pass::Forward => layers::conv2d(&a, &b, None, s, p).map_err(candle_core::Error::wrap)?,
            Pass::Input { size } => layers::input_gradient(&a, &b, size, s, p)?,
            Pass::Weight { kernel } => layers::weight_gradient(&a, &b, kernel, s, p)?,
        };
        y.permute((0, 2, 3, 1))?.contiguous()?.to_dtype(dtype).map(Some)
    }
}
