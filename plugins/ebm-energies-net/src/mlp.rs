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
    /// For samples that are angles in radians: cosines and sines of 1 to this many times each, so that a whole turn changes no
    /// energy; 0 for none.
    #[setting(default = 0, at_least = 0, at_most = 1024)]
    pub periodic: usize,
    /// The condition stands beside the values that each hidden layer takes.
    #[setting(default = false)]
    pub conditional: bool,
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
        let label = cx.label(self.conditional)?;
        if self.conditional && self.hidden.is_empty() {
            let message = "is true, but there are no `hidden` layers that could take the condition";
            return Err(cx.refuse("conditional", message));
        }
        if self.periodic > 0 && self.fourier.is_some() {
            return Err(
                cx.refuse("periodic", "has features of its own, and there is `fourier`: leave one out")
            );
        }
        let mut net = NetBuilder::new(cx);
        net.flatten()?;
        if self.periodic > 0 {
            net.periodic("periodic", self.periodic)?;
        }
        if let Some(f) = &self.fourier {
            net.fourier("fourier", f.features, f.scale)?;
        }
        let mut values = net.here();
        let condition = match self.conditional {
            true => Some(net.condition("condition", label)?.require_condition().here()),
            false => None,
        };
        for (i, &width) in self.hidden.iter().enumerate() {
            net.at(values);
            if let Some(condition) = condition {
                net.concat(&[condition])?;
            }
            let factor = if i == 0 { self.first_scale } else { 1.0 };
            net.linear_scaled(&format!("layer{}", i + 1), width, factor)?.activate(self.activation.into())?;
            values = net.here();
        }
        net.at(values).linear("head", 1)?.term("energy");
        net.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device, Tensor};
    use ebm_core::{Batch, Chains, Key};

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
    fn a_conditional_net_takes_its_condition_in_every_layer_and_keeps_the_laws() {
        let mlp = Mlp { hidden: vec![6, 5], conditional: true, ..Mlp::default() };
        let mut cx = cx(&[2]).with_condition(3);
        let e = mlp.build(&mut cx).unwrap();
        let dims = |name: &str| e.params().get(name).unwrap().dims().to_vec();
        assert_eq!([dims("layer1.weight"), dims("layer2.weight")], [[6, 5], [5, 9]]);
        let normal = |seed, n: usize| {
            Key::root(seed).normal(&Chains::range(0, 4), &[n], DType::F64, &Device::Cpu).unwrap()
        };
        let x = Batch::new(normal(1, 2)).unwrap();
        assert!(e.energy(&x).is_err());
        let at = x.with_cond(Some(normal(2, 3)));
        ebm_testkit::check_energy(e.as_ref(), &at).unwrap();
        let other = at.clone().with_cond(Some(normal(3, 3)));
        let energies = |at: &Batch| e.energy(at).unwrap().to_vec1::<f64>().unwrap();
        assert!(energies(&at).iter().zip(energies(&other)).all(|(a, b)| (a - b).abs() > 1e-9));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let text = |m: Mlp| m.build(&mut cx(&[2])).err().unwrap().to_string();
        assert!(text(Mlp { first_scale: 0.0, ..Mlp::default() }).contains("first_scale"));
        assert!(text(Mlp { hidden: vec![0], ..Mlp::default() }).contains("hidden"));
        assert!(text(Mlp { conditional: true, ..Mlp::default() }).contains("labels"));
        let mlp = Mlp { conditional: true, hidden: vec![], ..Mlp::default() };
        assert!(mlp.build(&mut cx(&[2]).with_condition(3)).err().unwrap().to_string().contains("hidden"));
    }
}
