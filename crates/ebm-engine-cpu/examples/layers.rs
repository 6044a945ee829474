//! Times of single 3×3 convolutions, B 32: forward with input gradient, and weight gradient, in ms. The other side is
//! `benches/layers_peer.py`.

#[path = "slope/twin.rs"]
mod twin;

use ebm_core::candle::{DType, Device};
use ebm_core::plan::{NetPlan, Node, Op, PlanTerm, Products, WeightRule};
use ebm_core::{Batch, Chains, Key, Result};
use ebm_engine_cpu::Isa;
use twin::{seconds, twin};

const BATCH: usize = 32;

/// `depth` convolutions one after the other, then the sum over all: no other layer of weight.
fn net(channels: usize, side: usize, depth: usize) -> NetPlan {
    let shape = [channels, side, side];
    let node = |name: String, op, inputs: Vec<usize>, shape: &[usize]| Node {
        name,
        op,
        inputs,
        shape: shape.to_vec(),
    };
    let mut nodes = vec![node("x".into(), Op::Input, vec![], &shape)];
    for i in 0..depth {
        let op = Op::Conv {
            weight: format!("w{i}"),
            bias: None,
            kernel: 3,
            stride: 1,
            padding: 1,
            rule: WeightRule::Plain,
        };
        nodes.push(node(format!("conv{i}"), op, vec![i], &shape));
    }
    nodes.push(node("sums".into(), Op::SpatialSum, vec![depth], &[channels]));
    nodes.push(node("e".into(), Op::SumAll, vec![depth + 1], &[1]));
    let terms = vec![PlanTerm { name: "e".into(), node: depth + 2 }];
    NetPlan { input: shape.to_vec(), condition: 0, nodes, terms, products: Products::Full }
}

/// Median ms of a slope and of a weight gradient.
fn times(channels: usize, side: usize, depth: usize) -> Result<(f64, f64)> {
    let energy = twin(net(channels, side, depth), Isa::detect())?;
    let shape = [channels, side, side];
    let at = Batch::new(Key::root(2).normal(&Chains::range(0, BATCH), &shape, DType::F32, &Device::Cpu)?)?;
    let median = |all: Vec<f64>| all[all.len() / 2] * 1e3;
    let slope = median(seconds(30, || energy.slope(&at).map(drop))?);
    let weights = median(seconds(30, || energy.grad_theta(&at, &|t| Ok(t.ones_like()?)).map(drop))?);
    Ok((slope, weights))
}

fn main() -> Result<()> {
    for (channels, side) in [(16, 32), (64, 32), (64, 16), (128, 8), (256, 4)] {
        // Nets of one and five layers: their difference is four layers without input and head.
        let ((s1, w1), (s5, w5)) = (times(channels, side, 1)?, times(channels, side, 5)?);
        let (slope, whole) = ((s5 - s1) / 4.0, (w5 - w1) / 4.0);
        println!(
            "{channels} channels, {side}×{side}: forward + input gradient {slope:.3} ms, weight gradient {:.3} ms",
            whole - slope
        );
    }
    Ok(())
}
