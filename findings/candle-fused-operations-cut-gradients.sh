#!/usr/bin/env bash
# candle's layer norm, RMS norm and softmax over the last dimension end the gradient, and `backward` does not mind.
#
# candle-core and candle-nn 0.11.1, processor: `LayerNorm::forward`, `ops::rms_norm` and `ops::softmax_last_dim` are fused operations without
# a backward pass. A loss that goes through one has no entry for what lies before it in the gradient store; no error, no zeros. A
# training loop that updates what it finds in the store leaves those weights as they are. `ops::softmax` over the same dimension has a
# gradient.
#
# For us: an energy that is cut off from its samples or a parameter is refused, and `Diff` has these operations with gradients.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 candle-nn==0.11.1 <<'R'
use candle_core::{D, DType, Device, Module, Tensor, Var};
use candle_nn::ops;

fn main() {
    let x = Var::new(&[[0f32, 1.0, 2.0, 3.0]], &Device::Cpu).unwrap();
    let one = Tensor::ones(4, DType::F32, &Device::Cpu).unwrap();
    let norm = candle_nn::LayerNorm::new(one.clone(), one.clone(), 1e-5);
    let results = [
        ("LayerNorm", norm.forward(&x).unwrap()),
        ("rms_norm", ops::rms_norm(&x, &one, 1e-5).unwrap()),
        ("softmax_last_dim", ops::softmax_last_dim(&x).unwrap()),
        ("softmax", ops::softmax(&x, D::Minus1).unwrap()),
    ];
    let found = results.map(|(name, y)| {
        let there = y.sqr().unwrap().sum_all().unwrap().backward().unwrap().get(&x).is_some();
        println!("{name}: a gradient: {there}");
        there
    });
    assert_eq!(found, [false, false, false, true], "this has changed");
}
R
