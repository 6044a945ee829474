//! `mlp`: a multilayer perceptron on the flattened sample.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};
use ebm_nn::NetBuilder;

use crate::activation::Nonlinearity;

/// `E(x) = w·h + b` with `h` the last of the hidden layers of the flattened sample.
///
/// Layers have PyTorch's default initial values. On low-dimensional data the default makes the first
/// layer too smooth: `first_scale` (4 to 6 on the plane) multiplies its initial weights and biases.
#[derive(Clone, Debug, Settings)]
pub struct Mlp {
    /// Widths of the hidden layers.
    #[setting(default = [128, 128], at_least = 1)]
    pub hidden: Vec<usize>,
    /// Pointwise function between layers.
    #[setting(default = Nonlinearity::Swish)]
    pub activation: Nonlinearity,
    /// Factor of the first layer's initial weights and biases; 4 to 6 on the plane.
    #[setting(default = 1.0, above = 0.0)]
    pub first_scale: f64,
    /// Fixed random features cos(Bx), sin(Bx) before the first layer.
    pub fourier: Option<FourierFeatures>,
}

/// `[cos(Bx), sin(Bx)]` with a fixed random matrix `B` (Tancik et al. 2020).
#[derive(Clone, Debug, Settings)]
pub struct FourierFeatures {
    /// Number of frequencies; twice as many features.
    #[setting(at_least = 1, at_most = 1_000_000)]
    pub features: usize,
    /// Standard deviation of a frequency in cycles per unit of the sample.
    #[setting(default = 1.0, above = 0.0, unit = "cycles a unit")]
    pub scale: f64,
}

#[plugin(
    "mlp",
    summary = "a multilayer perceptron on the flattened sample, for points and tiny images",
    source = "textbook; Fourier features: Tancik et al. 2020",
    example = "hidden = [256, 256]\nactivation = \"swish\""
)]
impl EnergyConfig for Mlp {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let mut net = NetBuilder::new(cx);
        net.flatten()?;
        if let Some(f) = &self.fourier {
            net.fourier("fourier", f.features, f.scale)?;
        }
        for (i, &width) in self.hidden.iter().enumerate() {
            let factor = if i == 0 { self.first_scale } else { 1.0 };
            net.linear_scaled(&format!("layer{}", i + 1), width, factor)?.activate(self.activation.into())?;
        }
        net.linear("head", 1)?.term("energy");
        net.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device, Tensor};
    use ebm_core::{Batch, Key};

    use super::*;

    fn cx(shape: &[usize]) -> BuildCx {
        BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(3))
    }

    #[test]
    fn the_quick_starts_net_has_its_known_size() {
        let mlp = Mlp { hidden: vec![256, 256], ..Mlp::default() };
        assert_eq!(mlp.build(&mut cx(&[1, 8, 8])).unwrap().params().count(), 82_689);
    }

    #[test]
    fn first_scale_multiplies_the_first_layer_only() {
        let one = Mlp::default().build(&mut cx(&[2])).unwrap();
        let six = Mlp { first_scale: 6.0, ..Mlp::default() }.build(&mut cx(&[2])).unwrap();
        for (name, factor) in
            [("layer1.weight", 6.0), ("layer1.bias", 6.0), ("layer2.weight", 1.0), ("head.bias", 1.0)]
        {
            let (a, b) = (one.params().get(name).unwrap(), six.params().get(name).unwrap());
            let off = ((a * factor).unwrap() - b).unwrap().abs().unwrap().max_all().unwrap();
            // Initial values are made in f32: one rounding of numbers below 6/√2.
            assert!(off.to_scalar::<f64>().unwrap() < 1e-6, "{name}");
        }
    }

    #[test]
    fn a_net_without_hidden_layers_is_a_plane() {
        let e = Mlp { hidden: vec![], ..Mlp::default() }.build(&mut cx(&[3])).unwrap();
        let at = Batch::new(Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let g = e.slope(&at).unwrap().grad.to_vec2::<f64>().unwrap();
        let w = e.params().get("head.weight").unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(g, [w[0].clone(), w[0].clone()]);
    }

    #[test]
    fn fourier_frequencies_are_a_buffer() {
        let mlp = Mlp { fourier: Some(FourierFeatures { features: 5, scale: 1.0 }), ..Mlp::default() };
        let e = mlp.build(&mut cx(&[2])).unwrap();
        assert!(!e.params().trainable().any(|n| n == "fourier.frequencies"));
        assert_eq!(e.params().get("layer1.weight").unwrap().dims(), [128, 10]);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let text = |m: Mlp| m.build(&mut cx(&[2])).err().unwrap().to_string();
        assert!(text(Mlp { first_scale: 0.0, ..Mlp::default() }).contains("first_scale"));
        assert!(text(Mlp { hidden: vec![0], ..Mlp::default() }).contains("hidden"));
    }
}
