//! Each operation of a description against torch's, in one small network of blocks as of mobile networks.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::known::uniforms;
use candle_core::{Device, Tensor};
use ebm_features::{Description, Network};

/// Weights of `nets/mobile.toml`; variances are shifted to be positive.
fn weights() -> BTreeMap<String, Tensor> {
    let mut shapes: Vec<(String, Vec<usize>)> = [
        ("stem.weight", &[8, 3, 3, 3][..]),
        ("depthwise.weight", &[8, 1, 5, 5]),
        ("project.weight", &[8, 8, 1, 1]),
        ("project.bias", &[8]),
        ("wide.weight", &[6, 4, 3, 5]),
        ("wide.bias", &[6]),
        ("head.weight", &[5, 460]),
        ("head.bias", &[5]),
    ]
    .map(|(name, dims)| (name.to_string(), dims.to_vec()))
    .into();
    for at in ["stem_bn", "depthwise_bn"] {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            shapes.push((format!("{at}.{part}"), vec![8]));
        }
    }
    let tensor = |(name, dims): (String, Vec<usize>)| {
        let shift = if name.ends_with("running_var") { 1.25 } else { 0.0 };
        let values = uniforms(&name, dims.iter().product());
        let values: Vec<f32> = values.into_iter().map(|u| (u + shift) as f32).collect();
        (name, Tensor::from_vec(values, dims, &Device::Cpu).unwrap())
    };
    shapes.into_iter().map(tensor).collect()
}

#[test]
fn operations_are_torchs() {
    // python tests/ops_golden.py (torch 2.15.0)
    let description = Description::parse(include_str!("../nets/mobile.toml"), "mobile").unwrap();
    let network = Network::new(description, weights(), None, &Device::Cpu).unwrap();
    assert_eq!((network.width(), network.classes()), (460, Some(5)));
    let image: Vec<f32> = uniforms("image", 330).into_iter().map(|u| ((u + 1.0) / 2.0) as f32).collect();
    let seen = network.see(&image, [3, 11, 10]).unwrap();
    let f: Vec<f64> = seen.features.iter().map(|v| f64::from(*v)).collect();
    // Sums of at most a hundred f32 of size 10 in another order; a border on the wrong side changes the second digit.
    let close = |found: f64, wanted: f64| {
        assert!((found - wanted).abs() <= 2e-5 * wanted.abs().max(1.0), "{found} {wanted}")
    };
    for (i, wanted) in FEATURES.into_iter().enumerate() {
        close(f[46 * i], wanted);
    }
    close(f.iter().enumerate().map(|(i, v)| v * (i + 1) as f64).sum(), 157583.80271770433);
    close(f.iter().map(|v| v * v).sum(), 3490.3597352757624);
    let p = seen.probabilities.unwrap();
    for (i, wanted) in [(0, 0.11642217334155934), (1, 0.00915109246179003), (4, 0.8744267341959908)] {
        // Logits are sums of 460 products of size 10.
        assert!((f64::from(p[i]) - wanted).abs() < 1e-4, "{i}: {} {wanted}", p[i]);
    }
}

const FEATURES: [f64; 10] = [
    8.381430625915527,
    1.8234288692474365,
    4.22269344329834,
    3.493536949157715,
    1.2935612201690674,
    1.6245731115341187,
    0.20904962718486786,
    0.864098072052002,
    0.0,
    6.396347999572754,
];
