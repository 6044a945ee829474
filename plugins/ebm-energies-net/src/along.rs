//! Convolutions along an axis, a pooling of what they give, and dense layers: what nets of series and of sets share.

use std::sync::Arc;

use ebm_core::candle::{D, Tensor};
use ebm_core::plan::Activation;
use ebm_core::{
    Autograd, BuildCx, Condition, Diff, EnergyFn, EnergySpec, Forward, Init, Result, Settings, View,
};
use ebm_nn::layers;

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

    /// The energy; there is no plan of it, so fused engines leave it to the graph.
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
        let (mut channels, mut places) = self.size(cx.sample_shape());
        let mut declare = |name: String, shape: &[usize], fan: usize| -> Result<()> {
            cx.param(&format!("{name}.weight"), shape, Init::FanIn(fan))?;
            cx.param(&format!("{name}.bias"), shape[0], Init::FanIn(fan))
        };
        for (i, step) in self.steps.iter().enumerate() {
            let fan = channels * step.kernel;
            declare(format!("conv{}", i + 1), &[step.filters, channels, step.kernel], fan)?;
            channels = step.filters;
            places = (places + 2 * (step.kernel / 2) - step.kernel) / step.stride + 1;
        }
        let mut width = if self.pooling == Pooling::Flatten { channels * places } else { channels };
        for (i, &next) in self.hidden.iter().enumerate() {
            let taken = width + self.condition;
            declare(format!("dense{}", i + 1), &[next, taken], taken)?;
            width = next;
        }
        declare("head".into(), &[1, width], width)?;
        let mut spec = EnergySpec::new(cx.sample_shape(), &["energy"]).on(cx.domain());
        if self.condition > 0 {
            spec.condition = Condition::Required(self.condition);
        }
        let params = cx.take_params()?;
        Ok(Arc::new(Autograd::new(cx.path().to_string(), self, spec, params)))
    }
}

impl Forward for Along {
    fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
        let get = |name: String| {
            Ok::<_, ebm_core::Error>((p.get(&format!("{name}.weight"))?, p.get(&format!("{name}.bias"))?))
        };
        let (channels, places) = self.size(&x.value().dims()[1..]);
        let mut h = match self.points {
            true => x.linear(|t| t.reshape(((), places, channels))?.transpose(1, 2)?.contiguous())?,
            false => x.linear(|t| t.reshape(((), channels, places)))?,
        };
        for (i, step) in self.steps.iter().enumerate() {
            let (weight, bias) = get(format!("conv{}", i + 1))?;
            h = layers::conv1d(&h, weight, Some(bias), step.stride, step.kernel / 2)?;
            h = layers::activate(&h, self.activation)?;
        }
        h = match self.pooling {
            Pooling::Flatten => h.flatten()?,
            Pooling::Mean => h.linear(|t| t.mean(D::Minus1))?,
        };
        // A constant: nothing of x but the number of rows.
        let condition = cond.filter(|_| self.condition > 0).map(|c| {
            let zeros = h.linear(|t| Tensor::zeros((t.dim(0)?, self.condition), t.dtype(), t.device()))?;
            zeros.shift(&c.to_dtype(h.value().dtype())?)
        });
        let condition = condition.transpose()?;
        for i in 0..self.hidden.len() {
            let (weight, bias) = get(format!("dense{}", i + 1))?;
            if let Some(condition) = &condition {
                h = V::join(&[h, condition.clone()], |t| Tensor::cat(t, 1))?;
            }
            h = layers::activate(&layers::linear(&h, weight, Some(bias))?, self.activation)?;
        }
        let (weight, bias) = get("head".into())?;
        layers::linear(&h, weight, Some(bias))
    }

    fn python(&self) -> Option<String> {
        let pair = |name: &str| format!("self.{name}_weight, self.{name}_bias");
        let activated = |h: String| match self.activation {
            Activation::Swish => format!("F.silu({h})"),
            Activation::Tanh => format!("torch.tanh({h})"),
            Activation::Softplus => format!("F.softplus({h})"),
            Activation::Relu => format!("F.relu({h})"),
            Activation::LeakyRelu(slope) => format!("F.leaky_relu({h}, {slope:?})"),
            Activation::Sigmoid => format!("torch.sigmoid({h})"),
            Activation::Square => format!("{h}.square()"),
        };
        let mut lines = vec![match self.points {
            true => "h = x.reshape(len(x), -1, x.shape[-1]).transpose(1, 2)".to_string(),
            false => "h = x.reshape(len(x), -1, x.shape[-1])".to_string(),
        }];
        for (i, step) in self.steps.iter().enumerate() {
            let (layer, stride, padding) = (pair(&format!("conv{}", i + 1)), step.stride, step.kernel / 2);
            let h = format!("F.conv1d(h, {layer}, stride={stride}, padding={padding})");
            lines.push(format!("h = {}", activated(h)));
        }
        lines.push(match self.pooling {
            Pooling::Flatten => "h = h.flatten(1)".into(),
            Pooling::Mean => "h = h.mean(2)".into(),
        });
        for i in 0..self.hidden.len() {
            if self.condition > 0 {
                lines.push("h = torch.cat([h, condition.to(h.dtype)], 1)".into());
            }
            lines.push(format!(
                "h = {}",
                activated(format!("F.linear(h, {})", pair(&format!("dense{}", i + 1))))
            ));
        }
        lines.push(format!("return F.linear(h, {}).squeeze(1)", pair("head")));
        Some(lines.join("\n"))
    }
}
