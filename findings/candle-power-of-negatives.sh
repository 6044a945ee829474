#!/usr/bin/env bash
# candle: minus two to the power of two is not a number.
#
# candle-core 0.11.1: `x.pow(&y)` is exp(y log x), NaN for every x below 0, and for 0 to the power of 0; `x.powf(2.0)` has 4, and both have in
# PyTorch (`torch.pow`). A squared difference written with `pow` is NaN for half of its entries.
#
# For us: `Diff::square` and products.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 <<'R'
use candle_core::{Device, Result, Tensor};

fn main() -> Result<()> {
    let x = Tensor::new(&[-2f64, 0.0, 2.0], &Device::Cpu)?;
    let two = x.ones_like()?.affine(2.0, 0.0)?;
    let (tensors, number) = (x.pow(&two)?.to_vec1::<f64>()?, x.powf(2.0)?.to_vec1::<f64>()?);
    let zeroth = x.pow(&x.zeros_like()?)?.to_vec1::<f64>()?;
    println!("pow to a tensor of twos {tensors:?}, powf to 2 {number:?}, pow to zeros {zeroth:?}");
    assert!(tensors[0].is_nan() && tensors[1..] == [0.0, 4.0] && zeroth[1].is_nan(), "this has changed");
    assert_eq!(number, [4.0, 0.0, 4.0], "this has changed");
    Ok(())
}
R
