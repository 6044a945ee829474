#!/usr/bin/env bash
# candle's pooling spreads gradients to entries that do not have them.
#
# candle-core 0.11.1, processor: the gradient of `max_pool2d(2)` of a 2 x 2 map is 0.25 at its largest entry, where it is 1: the
# gradient is divided by the size of the window, as if it were a mean. And `avg_pool2d(2)` of a 5 x 5 map, whose fifth row and column are in
# no window, gives these entries 0.25, too.
#
# For us: pooling is a product with a matrix, with a right adjoint.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 <<'R'
use candle_core::{Device, Tensor, Var};

fn grad(side: usize, pool: fn(&Tensor) -> Tensor) -> Vec<f32> {
    let x = Tensor::arange(0f32, (side * side) as f32, &Device::Cpu).unwrap().reshape((1, 1, side, side)).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    let store = pool(&x).sum_all().unwrap().backward().unwrap();
    store.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn main() {
    let largest = grad(2, |x| x.max_pool2d(2).unwrap());
    let mean = grad(5, |x| x.avg_pool2d(2).unwrap());
    println!("max of 2 x 2: {largest:?} (0, 0, 0, 1 is right)\nmean of 5 x 5, last column: {} (0 is right)", mean[4]);
    assert_eq!((largest, mean[4]), (vec![0.0, 0.0, 0.0, 0.25], 0.25), "this has changed");
}
R
