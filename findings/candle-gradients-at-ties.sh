#!/usr/bin/env bash
# candle: where entries tie, the gradient of a maximum counts each of them in full, and ReLU at 0 has slope 1.
#
# candle-core 0.11.1: `max` over three entries of which two are the largest has gradient (1, 1, 0), longer than any slope of the maximum;
# PyTorch's `amax` has (½, ½, 0), its `max` of a dimension (1, 0, 0). Ties are common: zeros behind a ReLU, flat pixels. `relu` and `abs` have
# slope 1 at 0, where PyTorch has 0: layers of zeros pass gradients on. `relu` turns NaN into 0, so that a net forgets that it was ill.
#
# For us: `max_last` takes the first, `Diff::relu` has slope 0 at 0, and both keep NaN.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 <<'R'
use candle_core::{Device, Result, Tensor, Var};

fn slope(at: &[f64], of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f64>> {
    let x = Var::from_tensor(&Tensor::new(at, &Device::Cpu)?)?;
    of(&x)?.sum_all()?.backward()?.get(&x).unwrap().to_vec1()
}

fn main() -> Result<()> {
    let tie = slope(&[1.0, 1.0, 0.0], |x| x.max(0))?;
    let (relu, abs) = (slope(&[0.0], Tensor::relu)?, slope(&[0.0], Tensor::abs)?);
    let ill = Tensor::new(&[f64::NAN], &Device::Cpu)?.relu()?.to_vec1::<f64>()?;
    println!("max of (1, 1, 0): {tie:?}; relu at 0: {relu:?}; abs at 0: {abs:?}; relu of NaN: {ill:?}");
    assert!(tie == [1.0, 1.0, 0.0] && relu == [1.0] && abs == [1.0] && ill == [0.0], "this has changed");
    Ok(())
}
R
