//! `series-net`: convolutions along time, then dense layers.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::activation::Nonlinearity;
use crate::along::{Along, Pooling, Step};

/// Convolutions along the last axis of a sample, `(channels, T)` or `(T,)`, then dense layers and a scalar head.
///
/// Layers have PyTorch's default initial values. Convolutions are products with windows laid out, as candle's own along one
/// axis has a wrong gradient for some strides.
#[derive(Clone, Debug, Settings)]
pub struct SeriesNet {
    /// Convolutions in order.
    #[setting(default = [
        SeriesLayer { filters: 32, kernel: 5, stride: 1 },
        SeriesLayer { filters: 64, kernel: 5, stride: 2 },
    ])]
    pub layers: Vec<SeriesLayer>,
    /// What becomes of the places of the series behind them.
    #[setting(default = Pooling::Flatten)]
    pub pooling: Pooling,
    /// Widths of the dense layers between pooling and head.
    #[setting(default = [64], at_least = 1)]
    pub hidden: Vec<usize>,
    /// Pointwise function after each layer but the head.
    #[setting(default = Nonlinearity::Swish)]
    pub activation: Nonlinearity,
    /// The condition stands beside the values that each dense layer takes.
    #[setting(default = false)]
    pub conditional: bool,
}

/// One convolution along time, zero-padded by half the kernel.
#[derive(Clone, Copy, Debug, Settings)]
pub struct SeriesLayer {
    /// Number of filters.
    #[setting(at_least = 1, at_most = 1_000_000)]
    pub filters: usize,
    /// Length of the kernel.
    #[setting(default = 5, at_least = 1, at_most = 65_536, unit = "places")]
    pub kernel: usize,
    /// Stride.
    #[setting(default = 1, at_least = 1, at_most = 65_536, unit = "places")]
    pub stride: usize,
}

#[plugin(
    "series-net",
    summary = "convolutions along the last axis and dense layers, for time series and other sequences of numbers",
    source = "time-delay networks: Waibel, Hanazawa, Hinton, Shikano, Lang 1989",
    example = "layers = [{ filters = 16, kernel = 5 }, { filters = 16, kernel = 5, stride = 2 }]\nhidden = [32]"
)]
impl EnergyConfig for SeriesNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let condition = conditional(cx, self.conditional, &self.hidden)?;
        let step = |l: &SeriesLayer| Step { filters: l.filters, kernel: l.kernel, stride: l.stride };
        let net = Along {
            points: false,
            steps: self.layers.iter().map(step).collect(),
            pooling: self.pooling,
            hidden: self.hidden.clone(),
            activation: self.activation.into(),
            condition,
        };
        let (_, mut places) = net.size(cx.sample_shape());
        for (i, layer) in self.layers.iter().enumerate() {
            // What reaches beyond the series from every place only meets zeros, and takes memory for each of them.
            let most = 2 * places + 1;
            if layer.kernel > most {
                let message = format!(
                    "is {}, must be at most {most}: twice the length of the series there",
                    layer.kernel
                );
                return Err(cx.refuse(&format!("layers[{i}].kernel"), message));
            }
            places = (places + 2 * (layer.kernel / 2) - layer.kernel) / layer.stride + 1;
        }
        net.build(cx)
    }
}

/// Length of the condition if the net takes one, by dense layers that there must be.
pub(crate) fn conditional(cx: &BuildCx, conditional: bool, hidden: &[usize]) -> Result<usize> {
    if conditional && hidden.is_empty() {
        let message = "is true, but there are no `hidden` layers that could take the condition";
        return Err(cx.refuse("conditional", message));
    }
    cx.label(conditional)
}
