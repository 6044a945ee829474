//! Times of single 3×3 convolutions, B 32: forward with input gradient, and weight gradient, in ms. The other side is
//! `benches/layers_peer.py`.

use std::time::Instant;

use ebm_core::Key;
use ebm_core::plan::{NetPlan, Node, Op, PlanTerm, Products, WeightRule};
use ebm_engine_cpu::conv::{Call, CpuPlan, Workspace};
use ebm_engine_cpu::pool::Pool;
use ebm_engine_cpu::simd::Isa;

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
fn times(channels: usize, side: usize, depth: usize) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let plan = CpuPlan::compile(&net(channels, side, depth), Isa::detect())?;
    let mut w = vec![0.0; channels * channels * 9];
    Key::root(1).fill_normal(0, &mut w);
    w.iter_mut().for_each(|v| *v *= 0.02);
    let packed = plan.pack(|_| Some(&w))?;
    let mut x = vec![0.0; BATCH * plan.sample_len()];
    Key::root(2).fill_normal(0, &mut x);
    let (mut terms, mut grad, ones) = (vec![0.0; BATCH], vec![0.0; x.len()], vec![1.0; BATCH]);
    let (mut work, pool, call) = (Workspace::new(), Pool::global(), Call { x: &x, cond: None });
    let (mut slopes, mut weights) = (Vec::new(), Vec::new());
    for i in 0..35 {
        let began = Instant::now();
        plan.slope(&packed, &mut work, pool, call, &mut terms, &mut grad)?;
        let slope = began.elapsed().as_secs_f64() * 1e3;
        let began = Instant::now();
        plan.grad_theta(&packed, &mut work, pool, call, &ones, &mut terms)?;
        if i >= 5 {
            slopes.push(slope);
            weights.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    let median = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    Ok((median(&mut slopes), median(&mut weights)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
