//! `conv-net`: strided convolutions, then dense layers on the flattened map.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Error, Param, Result, register};
use ebm_nn::{Conv, NetBuilder};
use serde::{Deserialize, Serialize};

use crate::activation::{Nonlinearity, WORDS};

/// Convolutions without norm layers, then dense layers and a scalar head on the **flattened** map, so
/// that positions matter (right for centred digits; a mean over space would forget them).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvNet {
    /// Convolutions in order.
    #[serde(default = "default_layers")]
    pub layers: Vec<ConvLayer>,
    /// Widths of the dense layers between map and head.
    #[serde(default = "default_hidden")]
    pub hidden: Vec<usize>,
    /// After each layer but the head.
    #[serde(default)]
    pub activation: Nonlinearity,
    /// Label gain and bias on every convolution's map, from the condition of the data.
    #[serde(default)]
    pub conditional: bool,
}

/// One convolution with a square kernel, zero-padded by half the kernel.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvLayer {
    /// Number of filters.
    pub filters: usize,
    /// Side of the kernel.
    #[serde(default = "three")]
    pub kernel: usize,
    /// Stride.
    #[serde(default = "one")]
    pub stride: usize,
}

fn three() -> usize {
    3
}

fn one() -> usize {
    1
}

fn default_layers() -> Vec<ConvLayer> {
    let layer = |filters, kernel| ConvLayer { filters, kernel, stride: 2 };
    vec![layer(32, 5), layer(64, 3), layer(64, 3)]
}

fn default_hidden() -> Vec<usize> {
    vec![64]
}

impl Default for ConvNet {
    fn default() -> Self {
        ConvNet {
            layers: default_layers(),
            hidden: default_hidden(),
            activation: Nonlinearity::default(),
            conditional: false,
        }
    }
}

#[typetag::serde(name = "conv-net")]
impl EnergyConfig for ConvNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        cx.image_shape()?;
        let path = cx.path().to_string();
        let label = cx.label(self.conditional)?;
        if self.conditional && self.layers.is_empty() {
            let message = "is true, but there are no `layers` on whose maps a label could act";
            return Err(Error::config(format!("{path}.conditional"), message));
        }
        let mut net = NetBuilder::new(cx);
        for (i, layer) in self.layers.iter().enumerate() {
            if layer.kernel == 0 || layer.stride == 0 {
                return Err(Error::config(
                    format!("{path}.layers[{i}]"),
                    format!(
                        "kernel is {}, stride is {}; both must be at least 1",
                        layer.kernel, layer.stride
                    ),
                ));
            }
            net.conv(&format!("conv{}", i + 1), Conv::new(layer.filters, layer.kernel).stride(layer.stride))?;
            if self.conditional {
                net.label(&format!("label{}", i + 1), label)?;
            }
            net.activate(self.activation.into())?;
        }
        net.flatten()?;
        for (i, &width) in self.hidden.iter().enumerate() {
            net.linear(&format!("dense{}", i + 1), width)?.activate(self.activation.into())?;
        }
        net.linear("head", 1)?.term("energy");
        if self.conditional {
            net.require_condition();
        }
        net.finish()
    }
}

register! {
    EnergyConfig, "conv-net" => ConvNet,
    summary: "strided convolutions and dense layers on the flattened map, for small centred images",
    source: "this project (measured recipe for 28×28 digits)",
    example: "layers = [{ filters = 32, kernel = 5, stride = 2 }, { filters = 64, stride = 2 }]\nhidden = [64]",
    params: [
        Param::tables(
            "layers",
            const {
                &[
                    Param::int("filters", "number of filters").at_least(1.0),
                    Param::int("kernel", "side of the kernel; zero-padded by half of it").default("3").at_least(1.0),
                    Param::int("stride", "stride").default("1").at_least(1.0),
                ]
            },
            "convolutions in order",
        )
        .default(
            "[{ filters = 32, kernel = 5, stride = 2 }, { filters = 64, kernel = 3, stride = 2 }, { filters = 64, kernel = 3, stride = 2 }]",
        ),
        Param::ints("hidden", "widths of the dense layers between map and head").default("[64]").at_least(1.0),
        Param::choice("activation", WORDS, "pointwise function after each layer but the head").default("\"swish\""),
        Param::bool("conditional", "label gain and bias on every convolution's map (Du et al. 2021, published program)")
            .default("false"),
    ],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Key;
    use ebm_core::candle::{DType, Device};

    use super::*;

    fn build(config: &ConvNet, shape: &[usize]) -> Result<Arc<dyn EnergyFn>> {
        config.build(&mut BuildCx::new(shape, DType::F32, &Device::Cpu, Key::root(0)))
    }

    #[test]
    fn the_mnist_recipe_flattens_to_1024() {
        let e = build(&ConvNet::default(), &[1, 28, 28]).unwrap();
        assert_eq!(e.params().get("dense1.weight").unwrap().dims(), [64, 1024]);
        let convs = (32 * 25 + 32) + (64 * 32 * 9 + 64) + (64 * 64 * 9 + 64);
        assert_eq!(e.params().count(), convs + (64 * 1024 + 64) + (64 + 1));
    }

    #[test]
    fn a_conditional_energy_differs_between_labels_and_wants_one() {
        use ebm_core::candle::Tensor;
        let config = ConvNet { conditional: true, ..ConvNet::default() };
        let text = build(&config, &[1, 8, 8]).err().unwrap().to_string();
        assert!(text.contains("labels"), "{text}");
        let mut cx = BuildCx::new(&[1, 8, 8], DType::F64, &Device::Cpu, Key::root(0)).with_condition(2);
        let e = config.build(&mut cx).unwrap();
        let x = Tensor::rand(0f64, 1.0, (1, 1, 8, 8), &Device::Cpu).unwrap();
        let at = |c: [f64; 2]| {
            let cond = Tensor::new(&[c], &Device::Cpu).unwrap();
            let batch = ebm_core::Batch::new(x.clone()).unwrap().with_cond(Some(cond));
            e.energy(&batch).unwrap().to_vec1::<f64>().unwrap()[0]
        };
        assert_ne!(at([1.0, 0.0]), at([0.0, 1.0]));
        assert!(e.energy(&ebm_core::Batch::new(x.clone()).unwrap()).is_err());
    }

    #[test]
    fn points_and_zero_strides_are_refused() {
        let text = build(&ConvNet::default(), &[2]).err().unwrap().to_string();
        assert!(text.contains("(C, H, W)"), "{text}");
        let config =
            ConvNet { layers: vec![ConvLayer { filters: 1, kernel: 3, stride: 0 }], ..ConvNet::default() };
        let text = build(&config, &[1, 8, 8]).err().unwrap().to_string();
        assert!(text.contains("layers[0]"), "{text}");
    }
}
