//! `conv-net`: strided convolutions, then dense layers on the flattened map.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};
use ebm_nn::{Conv, NetBuilder};

use crate::activation::Nonlinearity;

/// Convolutions without norm layers, then dense layers and a scalar head on the **flattened** map, so
/// that positions matter (right for centred digits; a mean over space would forget them).
#[derive(Clone, Debug, Settings)]
pub struct ConvNet {
    /// Convolutions in order.
    #[setting(default = [
        ConvLayer { filters: 32, kernel: 5, stride: 2 },
        ConvLayer { filters: 64, kernel: 3, stride: 2 },
        ConvLayer { filters: 64, kernel: 3, stride: 2 },
    ])]
    pub layers: Vec<ConvLayer>,
    /// Widths of the dense layers between map and head.
    #[setting(default = [64], at_least = 1)]
    pub hidden: Vec<usize>,
    /// Pointwise function after each layer but the head.
    #[setting(default = Nonlinearity::Swish)]
    pub activation: Nonlinearity,
    /// Label gain and bias on every convolution's map (Du et al. 2021, published program).
    #[setting(default = false)]
    pub conditional: bool,
}

/// One convolution with a square kernel, zero-padded by half the kernel.
#[derive(Clone, Copy, Debug, Settings)]
pub struct ConvLayer {
    /// Number of filters.
    #[setting(at_least = 1, at_most = 1_000_000)]
    pub filters: usize,
    /// Side of the kernel; zero-padded by half of it.
    #[setting(default = 3, at_least = 1, at_most = 1024, unit = "pixels")]
    pub kernel: usize,
    /// Stride.
    #[setting(default = 1, at_least = 1, at_most = 1024, unit = "pixels")]
    pub stride: usize,
}

#[plugin(
    "conv-net",
    summary = "strided convolutions and dense layers on the flattened map, for small centred images",
    source = "this project (measured recipe for 28×28 digits)",
    example = "layers = [{ filters = 32, kernel = 5, stride = 2 }, { filters = 64, stride = 2 }]\nhidden = [64]"
)]
impl EnergyConfig for ConvNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let (_, h, w) = cx.image_shape()?;
        for (i, layer) in self.layers.iter().enumerate() {
            // What reaches beyond the image from every place only meets zeros, and takes memory for each of them.
            let most = 2 * h.max(w) + 1;
            if layer.kernel > most {
                let message =
                    format!("is {}, must be at most {most}: twice the side of the image", layer.kernel);
                return Err(cx.refuse(&format!("layers[{i}].kernel"), message));
            }
        }
        let label = cx.label(self.conditional)?;
        if self.conditional && self.layers.is_empty() {
            let message = "is true, but there are no `layers` on whose maps a label could act";
            return Err(cx.refuse("conditional", message));
        }
        let mut net = NetBuilder::new(cx);
        for (i, layer) in self.layers.iter().enumerate() {
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
