//! The built-in Inception-v3 against pytorch-fid's own, with weights that both sides compute.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::known::uniforms;
use candle_core::{Device, Tensor};
use ebm_features::{Network, Op, inception};

fn tensor(name: &str, dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    let map: Box<dyn Fn(f64) -> f64> = match dims {
        _ if name.ends_with("running_var") => Box::new(|u| 1.0 + 0.5 * u),
        [_] if name.ends_with("weight") => Box::new(|u| 1.0 + 0.1 * u),
        [_] => Box::new(|u| 0.1 * u),
        [first, ..] => {
            let scale = (6.0 / (n / first) as f64).sqrt();
            Box::new(move |u| scale * u)
        }
        [] => Box::new(|u| u),
    };
    let values: Vec<f32> = uniforms(name, n).into_iter().map(|u| map(u) as f32).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// Gives every convolution its weights; the channels that go in and those that come out.
fn fill(ops: &[Op], mut channels: usize, all: &mut BTreeMap<String, Tensor>) -> usize {
    for op in ops {
        match op {
            Op::Conv { at, .. } => {
                let (out, h, w) = shape_of(at);
                let name = format!("{at}.weight");
                all.insert(name.clone(), tensor(&name, &[out, channels, h, w]));
                channels = out;
            }
            Op::BatchNorm { at, .. } => {
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    let name = format!("{at}.{part}");
                    all.insert(name.clone(), tensor(&name, &[channels]));
                }
            }
            Op::Linear { at, .. } => {
                for (part, dims) in [("weight", &[1008, channels][..]), ("bias", &[1008])] {
                    let name = format!("{at}.{part}");
                    all.insert(name.clone(), tensor(&name, dims));
                }
            }
            Op::Branches { of, .. } => channels = of.iter().map(|ops| fill(ops, channels, all)).sum(),
            _ => {}
        }
    }
    channels
}

/// `(out, H, W)` of the convolutions, by Szegedy et al. 2015 and torchvision's names.
fn shape_of(at: &str) -> (usize, usize, usize) {
    let parts: Vec<&str> = at.split('.').collect();
    let (block, name) = (parts[0], parts.get(1).copied().unwrap_or_default());
    let c7 = match block {
        "Mixed_6b" => 128,
        "Mixed_6c" | "Mixed_6d" => 160,
        _ => 192,
    };
    match block {
        "Conv2d_1a_3x3" | "Conv2d_2a_3x3" => return (32, 3, 3),
        "Conv2d_2b_3x3" => return (64, 3, 3),
        "Conv2d_3b_1x1" => return (80, 1, 1),
        "Conv2d_4a_3x3" => return (192, 3, 3),
        _ => {}
    }
    match (&block[..7], name) {
        ("Mixed_5", "branch1x1" | "branch3x3dbl_1") => (64, 1, 1),
        ("Mixed_5", "branch5x5_1") => (48, 1, 1),
        ("Mixed_5", "branch5x5_2") => (64, 5, 5),
        ("Mixed_5", "branch3x3dbl_2" | "branch3x3dbl_3") => (96, 3, 3),
        ("Mixed_5", _) => (if block == "Mixed_5b" { 32 } else { 64 }, 1, 1),
        ("Mixed_6", "branch3x3") => (384, 3, 3),
        ("Mixed_6", "branch3x3dbl_1") => (64, 1, 1),
        ("Mixed_6", "branch3x3dbl_2" | "branch3x3dbl_3") => (96, 3, 3),
        ("Mixed_6", "branch1x1" | "branch_pool") => (192, 1, 1),
        ("Mixed_6", "branch7x7_1" | "branch7x7dbl_1") => (c7, 1, 1),
        ("Mixed_6", "branch7x7_2" | "branch7x7dbl_3") => (c7, 1, 7),
        ("Mixed_6", "branch7x7_3") => (192, 7, 1),
        ("Mixed_6", "branch7x7dbl_2" | "branch7x7dbl_4") => (c7, 7, 1),
        ("Mixed_6", _) => (192, 1, 7),
        ("Mixed_7", "branch3x3_1") if block == "Mixed_7a" => (192, 1, 1),
        ("Mixed_7", "branch3x3_2") => (320, 3, 3),
        ("Mixed_7", "branch7x7x3_1") => (192, 1, 1),
        ("Mixed_7", "branch7x7x3_2") => (192, 1, 7),
        ("Mixed_7", "branch7x7x3_3") => (192, 7, 1),
        ("Mixed_7", "branch7x7x3_4") => (192, 3, 3),
        ("Mixed_7", "branch1x1") => (320, 1, 1),
        ("Mixed_7", "branch3x3_1") => (384, 1, 1),
        ("Mixed_7", "branch3x3_2a" | "branch3x3dbl_3a") => (384, 1, 3),
        ("Mixed_7", "branch3x3_2b" | "branch3x3dbl_3b") => (384, 3, 1),
        ("Mixed_7", "branch3x3dbl_1") => (448, 1, 1),
        ("Mixed_7", "branch3x3dbl_2") => (384, 3, 3),
        ("Mixed_7", "branch_pool") => (192, 1, 1),
        other => panic!("no such convolution: {other:?}"),
    }
}

#[test]
fn features_and_probabilities_are_pytorch_fids() {
    // python tests/inception_golden.py (torch 2.15.0, torchvision 0.29.2, pytorch-fid 0.3.0)
    let description = inception().unwrap();
    let mut weights = BTreeMap::new();
    fill(&description.ops, 3, &mut weights);
    let network = Network::new(description, weights, None, &Device::Cpu).unwrap();
    assert_eq!((network.width(), network.classes()), (2048, Some(1008)));
    let image: Vec<f32> =
        uniforms("image", 3 * 40 * 36).into_iter().map(|u| ((u + 1.0) / 2.0) as f32).collect();
    let seen = network.see(&image, [3, 40, 36]).unwrap();
    let f: Vec<f64> = seen.features.iter().map(|v| f64::from(*v)).collect();
    // Sums in f32 over 48 layers in another order than torch's; a border that counts in a mean, or the other pool in
    // the last block, changes features by percents.
    let close = |found: f64, wanted: f64| {
        assert!((found - wanted).abs() <= 2e-4 * wanted.abs().max(1.0), "{found} {wanted}")
    };
    for (i, wanted) in FEATURES.into_iter().enumerate() {
        close(f[256 * i], wanted);
    }
    close(f.iter().enumerate().map(|(i, v)| v * (i + 1) as f64).sum(), 3779032.7806651816);
    close(f.iter().map(|v| v * v).sum(), 16896.13423960592);
    let p = seen.probabilities.unwrap();
    assert_eq!(ebm_features::most_probable(&p), 136);
    // The logits are of size 10, so that their errors weigh as many times as much.
    assert!((f64::from(p[136]) - 0.21882063150405884).abs() < 2e-3, "{}", p[136]);
}

const FEATURES: [f64; 8] = [
    0.0,
    0.4460933804512024,
    0.1478022038936615,
    4.146968841552734,
    2.7392334938049316,
    2.707702398300171,
    4.416905403137207,
    3.2662229537963867,
];
