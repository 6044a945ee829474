#!/usr/bin/env bash
# candle: the mean of whole numbers is 0, bytes over 255 are 0, and sums of bytes start again at 256.
#
# candle-core 0.11.1, processor: `mean_all` of a tensor of whole numbers multiplies by 1/n in their own type, where that is 0; `/ 255.0` and
# `affine(1.0 / 255.0, 0.0)` of bytes do the same. 300 ones as bytes sum to 44 in a release build (a build for development stops with an
# overflow). PyTorch refuses the mean of whole numbers, divides to floats and sums in 64 bits.
#
# For us: data become floats before anything is computed with them.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 <<'R'
use candle_core::{DType, Device, Result, Tensor};

fn main() -> Result<()> {
    let bytes = Tensor::new(&[100u8, 200], &Device::Cpu)?;
    let floats = bytes.to_dtype(DType::F32)?;
    let (mean, right) = (bytes.mean_all()?.to_scalar::<u8>()?, floats.mean_all()?.to_scalar::<f32>()?);
    println!("mean of the bytes 100 and 200: {mean}, as floats {right}");
    let (unit, wanted) = ((&bytes / 255.0)?.to_vec1::<u8>()?, (floats / 255.0)?.to_vec1::<f32>()?);
    println!("over 255: {unit:?}, as floats {wanted:?}");
    let sum = Tensor::ones(300, DType::U8, &Device::Cpu)?.sum_all()?.to_scalar::<u8>()?;
    println!("sum of 300 ones as bytes: {sum}");
    assert!((mean, &unit[..], sum) == (0, &[0, 0][..], 44), "this has changed");
    Ok(())
}
R
