//! The images of a slope: in which order and type a device keeps them, and their convolutions in it.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use ebm_core::operators::{Convolution, ConvolutionOps, LastOps, Operators, Order, Pass};
use ebm_core::plan::{NetPlan, Products, WeightRule};
use ebm_core::{Result, View};

use crate::effective::Effective;
use crate::fusion::Convolved;
use crate::layers;

/// How the images of a network lie in memory while its slope is taken.
#[derive(Clone)]
pub(crate) struct Images {
    products: Products,
    last: Option<Last>,
}

/// Channels last, in one type.
#[derive(Clone)]
pub(crate) struct Last {
    pub ops: Arc<dyn LastOps>,
    convolutions: Arc<dyn ConvolutionOps>,
    stored: DType,
}

impl Images {
    /// Those of a plan on a device.
    pub fn of(plan: &NetPlan, o: &Operators) -> Images {
        let last = match (&o.last, &o.convolutions) {
            (Some(ops), Some(convolutions)) if plan.input.len() == 3 => {
                let last = |stored| Last { ops: ops.clone(), convolutions: convolutions.clone(), stored };
                ops.stored(plan.products).map(last)
            }
            _ => None,
        };
        Images { products: plan.products, last }
    }

    /// The operations where channels come last.
    pub fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }

    /// The type of weights beside these images, where it is not that of the parameters.
    pub fn stored(&self) -> Option<DType> {
        self.last.as_ref().map(|l| l.stored)
    }

    /// `(B, C, H, W)` as it is kept here; what is no image as it is.
    pub fn enter(&self, x: &Tensor) -> Result<Tensor> {
        match self.last.as_ref().filter(|_| x.rank() == 4) {
            Some(l) => Ok(l.ops.enter(x, l.stored)?),
            None => Ok(x.clone()),
        }
    }

    /// The other way.
    pub fn leave(&self, x: &Tensor) -> Result<Tensor> {
        match self.last.as_ref().filter(|_| x.rank() == 4) {
            Some(l) => Ok(l.ops.leave(x)?),
            None => Ok(x.clone()),
        }
    }

    /// Height and width.
    pub fn sides(&self, x: &Tensor) -> Result<(usize, usize)> {
        let (_, p, q, r) = x.dims4()?;
        Ok(if self.last.is_some() { (p, q) } else { (q, r) })
    }

    /// A weight as convolutions here take it.
    pub fn weight(&self, of: &Effective, p: &View, name: &str, rule: &WeightRule) -> Result<Tensor> {
        match self.stored() {
            Some(to) => of.laid(p, name, rule, to),
            None => of.weight(p, name, rule),
        }
    }

    /// A convolution without bias.
    pub fn convolve(&self, x: &Tensor, c: &Convolved) -> Result<Tensor> {
        let Some(last) = &self.last else {
            return Ok(layers::convolve(self.products, x, &c.weight, c.stride, c.padding)?);
        };
        if let Some(y) = last.run(Pass::Forward, x, c)? {
            return Ok(y);
        }
        self.enter(&layers::convolve(
            self.products,
            &self.leave(x)?,
            &first(&c.weight)?,
            c.stride,
            c.padding,
        )?)
    }

    /// The gradient of its input, whose sides are `size`.
    pub fn pulled_back(&self, g: &Tensor, c: &Convolved, size: (usize, usize)) -> Result<Tensor> {
        let Some(last) = &self.last else {
            return Ok(layers::pulled_back(self.products, g, &c.weight, size, c.stride, c.padding)?);
        };
        if let Some(x) = last.run(Pass::Input { size }, g, c)? {
            return Ok(x);
        }
        let g = self.leave(g)?;
        self.enter(&layers::pulled_back(self.products, &g, &first(&c.weight)?, size, c.stride, c.padding)?)
    }
}

/// A weight with its channels first again, in f32.
fn first(w: &Tensor) -> candle_core::Result<Tensor> {
    w.to_dtype(DType::F32)?.permute((0, 3, 1, 2))?.contiguous()
}

impl Last {
    fn run(&self, pass: Pass, a: &Tensor, c: &Convolved) -> candle_core::Result<Option<Tensor>> {
        if c.padding >= c.weight.dim(1)? || c.stride == 0 {
            return Ok(None);
        }
        let what = Convolution { pass, order: Order::ChannelsLast, stride: c.stride, padding: c.padding };
        self.convolutions.convolution(what, a, &c.weight)
    }
}
