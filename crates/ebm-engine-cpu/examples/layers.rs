//! Times of single 3×3 convolutions, of stride 1 and 2 and before pooling, B 32: forward with input gradient, and weight gradient, in ms. The other side is
//! `benches/layers_peer.py`.

#[path = "slope/twin.rs"]
mod twin;

use ebm_core::candle::{DType, Device};
use ebm_core::plan::{NetPlan, Node, Op, PlanTerm, Pool, Products, WeightRule};
use ebm_core::{Batch, Chains, Key, Result, WeightFn};
use ebm_engine_cpu::Isa;
use twin::{seconds, twin};

const BATCH: usize = 32;

/// What is measured.
#[derive(Clone, Copy)]
enum Layer {
    /// One after the other: the map keeps its size.
    Plain,
    /// Beside each other on the sample, of stride 2 or with the pooling that follows.
    Strided,
    Pooled,
}

/// `count` convolutions to `out` channels, then the sum over all: no other layer of weight.
fn net(layer: Layer, (channels, out): (usize, usize), side: usize, count: usize) -> NetPlan {
    let input = [channels, side, side];
    let mut nodes = vec![Node { name: "x".into(), op: Op::Input, inputs: vec![], shape: input.to_vec() }];
    let mut add = |op, inputs: &[usize], shape: &[usize]| {
        let name = format!("n{}", nodes.len());
        nodes.push(Node { name, op, inputs: inputs.to_vec(), shape: shape.to_vec() });
        nodes.len() - 1
    };
    let half = side.div_ceil(2);
    let (mut x, mut sums) = (0, Vec::new());
    for i in 0..count {
        let stride = if matches!(layer, Layer::Strided) { 2 } else { 1 };
        let (weight, rule) = (format!("w{i}"), WeightRule::Plain);
        let op = Op::Conv { weight, bias: None, kernel: 3, stride, padding: 1, rule };
        match layer {
            Layer::Plain => x = add(op, &[x], &[out, side, side]),
            Layer::Strided => sums.push(add(op, &[0], &[out, half, half])),
            Layer::Pooled => {
                let y = add(op, &[0], &[out, side, side]);
                sums.push(add(Op::Pool(Pool::Average3), &[y], &[out, half, half]));
            }
        }
    }
    let shape = [out, half, half];
    let all = sums.into_iter().reduce(|a, b| add(Op::Add, &[a, b], &shape)).unwrap_or(x);
    let sum = add(Op::SpatialSum, &[all], &[out]);
    let e = add(Op::SumAll, &[sum], &[1]);
    let terms = vec![PlanTerm { name: "e".into(), node: e }];
    NetPlan { input: input.to_vec(), condition: 0, nodes, terms, products: Products::Full }
}

/// Median ms of a slope, and of the weight gradient alone: the call less the passes that it has with other calls.
fn times(layer: Layer, channels: (usize, usize), side: usize, count: usize) -> Result<(f64, f64)> {
    let energy = twin(net(layer, channels, side, count), Isa::detect())?;
    let shape = [channels.0, side, side];
    let at = Batch::new(Key::root(2).normal(&Chains::range(0, BATCH), &shape, DType::F32, &Device::Cpu)?)?;
    let median = |all: Vec<f64>| all[all.len() / 2] * 1e3;
    let slope = median(seconds(30, || energy.slope(&at).map(drop))?);
    let weights = median(seconds(30, || energy.grad_theta(&at, &WeightFn::ones()).map(drop))?);
    let passes = match layer {
        Layer::Plain => slope,
        // No gradient goes back to the sample, on which these stand.
        _ => median(seconds(30, || energy.terms(&at).map(drop))?),
    };
    Ok((slope, weights - passes))
}

fn main() -> Result<()> {
    use Layer::{Plain, Pooled, Strided};
    let layers = [
        (Plain, (16, 16), 32),
        (Plain, (64, 64), 32),
        (Plain, (64, 64), 16),
        (Plain, (128, 128), 8),
        (Plain, (256, 256), 4),
        (Strided, (32, 64), 14),
        (Strided, (64, 64), 7),
        (Pooled, (16, 16), 32),
        (Pooled, (64, 64), 32),
        (Pooled, (64, 128), 16),
        (Pooled, (128, 256), 8),
    ];
    for (layer, channels, side) in layers {
        // Nets of one and five layers: their difference is four layers without input and head.
        let of = |count| times(layer, channels, side, count);
        let ((s1, w1), (s5, w5)) = (of(1)?, of(5)?);
        let (slope, weights) = ((s5 - s1) / 4.0, (w5 - w1) / 4.0);
        let what = match layer {
            Plain => "",
            Strided => ", stride 2",
            Pooled => ", pooled",
        };
        println!(
            "{}→{} channels, {side}×{side}{what}: forward + input gradient {slope:.3} ms, weight gradient {weights:.3} ms",
            channels.0, channels.1,
        );
    }
    Ok(())
}
