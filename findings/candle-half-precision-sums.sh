#!/usr/bin/env bash
# candle: a thousand ones in bfloat16 sum to 256, and their mean is a quarter.
#
# candle-core 0.11.1, processor: sums and means add up in the type of the tensor, in which 256 + 1 is 256; float16 stands still at 2048. PyTorch
# adds in single precision and has 1000 and 5000.
#
# For us: `Diff::sum_last` and `row_sum` add in single precision.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 <<'R'
use candle_core::{DType, Device, Result, Tensor};

fn sum_of_ones(count: usize, dtype: DType) -> Result<f32> {
    Tensor::ones(count, dtype, &Device::Cpu)?.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()
}

fn main() -> Result<()> {
    let (short, half) = (sum_of_ones(1000, DType::BF16)?, sum_of_ones(5000, DType::F16)?);
    println!("1000 ones in bf16: {short}, 5000 in f16: {half}");
    let mean = Tensor::ones(1000, DType::BF16, &Device::Cpu)?.mean_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    println!("their mean in bf16: {mean}");
    assert!(short == 256.0 && half == 2048.0 && mean < 0.3, "this has changed");
    Ok(())
}
R
