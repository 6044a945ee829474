#!/usr/bin/env bash
# candle: cumulative sums before an infinite entry are NaN; and n numbers take the memory of n².
#
# candle-core 0.11.1: `cumsum` multiplies by a triangular matrix of ones and zeros, and 0 · ∞ is not a number: of 1, ∞, 2 the sums are NaN, ∞, ∞,
# where NumPy and PyTorch have 1, ∞, ∞. One energy of +∞ at the end of a chain so spoils all its partial sums. 8,192 numbers (32 KiB) take
# 320 MiB for the moment.
#
# For us: it is not used; weights and energies are summed as plain numbers.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 <<'R'
use candle_core::{DType, Device, Result, Tensor};

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn main() -> Result<()> {
    let sums = Tensor::new(&[1f32, f32::INFINITY, 2.0], &Device::Cpu)?.cumsum(0)?.to_vec1::<f32>()?;
    println!("cumulative sums of 1, ∞, 2: {sums:?}");
    let before = peak();
    let last = Tensor::ones(8192, DType::F32, &Device::Cpu)?.cumsum(0)?.to_vec1::<f32>()?[8191];
    let more = peak() - before;
    println!("8192 ones sum to {last}, in {more} MiB more at the peak");
    assert!(sums[0].is_nan() && sums[1] == f32::INFINITY && more > 200, "this has changed");
    Ok(())
}
R
