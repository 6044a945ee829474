#!/usr/bin/env bash
# candle's draws of categories leave out the tail of a law: a tenth of it that is spread over rare categories is never drawn.
#
# candle-nn 0.11.1: `sampling::gumbel_softmax` draws a category from logits by Gumbel noise, whose uniform numbers lie in [1e-7, 0.999). So the noise
# ends at 6.9 (in single precision it goes on to 16), and no category with a logit 9.7 below the largest is ever drawn, however many there are.
# Here one category has 90 % and nine thousand share 10 %, as tokens or grey values do: they have no draw. Of two categories that
# are 7 nats apart the rarer one has a third of its share. Nothing says so, and the name promises the law of Gumbel and softmax.
#
# For us: it is not used; the place that a uniform number of 53 bits picks goes by the sum of the shares before it, and a test draws this law.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 candle-nn==0.11.1 <<'R'
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::sampling::gumbel_softmax;

/// The share of draws that are not the first category; `logits` are those of one draw, the temperature is 1.
fn rare(logits: &[f32], draws: usize) -> Result<f64> {
    let mut count = 0;
    let logits = Tensor::new(logits, &Device::Cpu)?;
    for _ in 0..draws / 1000 {
        let rows = logits.unsqueeze(0)?.broadcast_as((1000, logits.dim(0)?))?.contiguous()?;
        let drawn = gumbel_softmax(&rows, 1.0, 1)?;
        count += drawn.gt(0u32)?.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()?;
    }
    Ok(f64::from(count) / draws as f64)
}

fn main() -> Result<()> {
    let mut tail = vec![(0.1f32 / 9000.0).ln(); 9001];
    tail[0] = 0.9f32.ln();
    let (many, two) = (rare(&tail, 20_000)?, rare(&[0.0, -7.0], 1_000_000)?);
    println!("nine thousand categories that share 0.1 of the law: {many:.3} of the draws");
    println!("one category of probability {:.5}: {two:.5} of the draws", 1.0 / (1.0 + 7f64.exp()));
    // 0.1 ± 0.002 and 0.00091 ± 0.00003 would be right
    assert!(many < 0.005 && two < 0.0005, "this has changed");
    Ok(())
}
R
