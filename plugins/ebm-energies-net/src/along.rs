//! Convolutions along an axis, a pooling of what they give, and dense layers: what nets of series and of sets share.

use std::sync::Arc;

use ebm_core::plan::Activation;
use ebm_core::{BuildCx, EnergyFn, Result, Settings};
use ebm_nn::{Conv, NetBuilder};

/// How the values of all places become those of the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Pooling {
    /// Side by side: places matter.
    Flatten,
    /// Their mean: only what occurs matters, not where.
    Mean,
}

/// A convolution along the axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub filters: usize,
    pub kernel: usize,
    pub stride: usize,
}

/// What the net is made of.
pub(crate) struct Along {
    /// Whether the sample is `(..., points, coordinates)` and not `(..., channels, places)`.
    pub points: bool,
    /// Convolutions in order, zero-padded by half the kernel.
    pub steps: Vec<Step>,
    pub pooling: Pooling,
    /// Widths of the dense layers between pooling and head.
    pub hidden: Vec<usize>,
    pub activation: Activation,
    /// Length of the condition, which stands beside the values that each dense layer takes; 0 for none.
    pub condition: usize,
}

/// No net is deeper: a graph is walked layer by layer on the stack.
const MOST_LAYERS: usize = 256;

impl Along {
    /// Channels and places of a sample: all axes but the last are one.
    pub fn size(&self, shape: &[usize]) -> (usize, usize) {
        let last = shape.last().copied().unwrap_or(1);
        let rest = shape.iter().rev().skip(1).product();
        if self.points { (last, rest) } else { (rest, last) }
    }

    /// The energy.
    pub fn build(self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let layers = self.steps.len() + self.hidden.len();
        if layers > MOST_LAYERS {
            let key = match (self.steps.len() > MOST_LAYERS, self.points) {
                (false, _) => "hidden",
                (true, true) => "point",
                (true, false) => "layers",
            };
            return Err(
                cx.refuse(key, format!("makes {layers} layers with the others, at most {MOST_LAYERS}"))
            );
        }
        let mut net = NetBuilder::new(cx);
        net.places(self.points)?;
        for (i, step) in self.steps.iter().enumerate() {
            let conv = Conv::new(step.filters, step.kernel).stride(step.stride);
            net.series(&format!("conv{}", i + 1), conv)?.activate(self.activation)?;
        }
        match self.pooling {
            Pooling::Flatten => net.flatten()?,
            Pooling::Mean => net.spatial_mean()?,
        };
        let condition = match self.condition {
            0 => None,
            length => {
                let here = net.here();
                let condition = net.condition("condition", length)?.require_condition().here();
                net.at(here);
                Some(condition)
            }
        };
        for (i, &width) in self.hidden.iter().enumerate() {
            if let Some(condition) = condition {
                net.concat(&[condition])?;
            }
            net.linear(&format!("dense{}", i + 1), width)?.activate(self.activation)?;
        }
        net.linear("head", 1)?.term("energy");
        net.finish()
    }
}
