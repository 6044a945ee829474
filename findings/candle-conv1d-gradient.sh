#!/usr/bin/env bash
# candle's conv1d has a wrong gradient as soon as there are several samples and channels.
#
# candle-core 0.11.1, processor: the gradient of `sum(conv1d(x, w))` in w, for x (2, 2, 4) and w (3, 2, 2), is not that of central
# differences; with one sample and one channel it is. The forward pass is right in both. conv2d on (N, C, 1, L) is right, too.
#
# For us: `ebm_nn::layers::conv1d` goes by conv2d.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 <<'R'
use candle_core::{Device, Tensor, Var};

fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::arange(0f64, n as f64, &Device::Cpu).unwrap().reshape(dims).unwrap()
}

fn loss(x: &Tensor, w: &Tensor) -> Tensor {
    x.conv1d(w, 0, 1, 1, 1).unwrap().sqr().unwrap().sum_all().unwrap()
}

/// The largest difference between the gradient and central differences, relative to the largest difference quotient.
fn off(x: Tensor, w: Tensor) -> f64 {
    let w = Var::from_tensor(&w).unwrap();
    let grad = loss(&x, &w).backward().unwrap().get(&w).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let flat = w.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let at = |i: usize, h: f64| {
        let mut moved = flat.clone();
        moved[i] += h;
        loss(&x, &Tensor::from_vec(moved, w.dims(), &Device::Cpu).unwrap()).to_scalar::<f64>().unwrap()
    };
    let slopes: Vec<f64> = (0..flat.len()).map(|i| (at(i, 1e-3) - at(i, -1e-3)) / 2e-3).collect();
    let size = slopes.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    grad.iter().zip(&slopes).fold(0.0f64, |m, (g, s)| m.max((g - s).abs())) / size
}

fn main() {
    let one = off(counting(&[1, 1, 4]), counting(&[1, 1, 2]));
    let several = off(counting(&[2, 2, 4]), counting(&[3, 2, 2]));
    println!("relative error of the gradient: one sample and channel {one:.1e}, several {several:.1e}");
    assert!(one < 1e-6 && several > 1e-2, "this has changed");
}
R
