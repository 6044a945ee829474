#!/usr/bin/env bash
# candle multiplies a transposed batch with a weight and gives other numbers, without an error.
#
# candle-core and candle-nn 0.11.1, processor, f32: `Linear` on x of shape (2, 4, 3) that is the transpose of a (2, 3, 4) tensor differs
# from the same call on `x.contiguous()`; the second image of the batch is read from wrong places. Without the transpose, and with a
# batch of one, both agree. Nothing is said.
#
# For us: layers make their operand contiguous, and the page on candle says it to authors.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 candle-nn==0.11.1 <<'R'
use candle_core::{DType, Device, Module, Tensor};

fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::arange(0f32, n as f32, &Device::Cpu).unwrap().reshape(dims).unwrap()
}

fn off(batch: usize) -> f32 {
    let x = counting(&[batch, 3, 4]).transpose(1, 2).unwrap();
    let linear = candle_nn::Linear::new(counting(&[5, 3]), None);
    let (a, b) = (linear.forward(&x).unwrap(), linear.forward(&x.contiguous().unwrap()).unwrap());
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_dtype(DType::F32).unwrap().to_scalar().unwrap()
}

fn main() {
    let (one, two) = (off(1), off(2));
    println!("largest difference to the same product of a contiguous copy: batch of one {one}, of two {two}");
    assert!(one == 0.0 && two > 1.0, "this has changed");
}
R
