//! Times the calls of the engine on the CIFAR-10 residual net (single scale, no attention).
//!
//! `cargo run --release -p ebm-engine-cpu --example slope -- [filters] [batch] [isa]` prints the best
//! of repeated calls in milliseconds. On two AVX-512 cores expect about 6 ms a slope at 16 filters
//! and 40 ms at 64, batch 32.

use std::time::{Duration, Instant};

use ebm_core::plan::{Activation, NetPlan, Node, NodeId, Op, PlanTerm, Pool, WeightRule};
use ebm_engine_cpu::conv::{Call, CpuPlan, Workspace};
use ebm_engine_cpu::pool::Pool as Threads;
use ebm_engine_cpu::simd::Isa;

fn add(nodes: &mut Vec<Node>, name: &str, op: Op, inputs: &[NodeId], shape: &[usize]) -> NodeId {
    nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec(), shape: shape.to_vec() });
    nodes.len() - 1
}

fn conv(nodes: &mut Vec<Node>, name: &str, x: NodeId, out: usize, rule: WeightRule) -> NodeId {
    let s = nodes[x].shape.clone();
    let op = Op::Conv {
        weight: format!("{name}.weight"),
        bias: Some(format!("{name}.bias")),
        kernel: 3,
        stride: 1,
        padding: 1,
        rule,
    };
    add(nodes, name, op, &[x], &[out, s[1], s[2]])
}

fn swish(nodes: &mut Vec<Node>, name: &str, x: NodeId) -> NodeId {
    let s = nodes[x].shape.clone();
    add(nodes, &format!("{name}.swish"), Op::Activate(Activation::Swish), &[x], &s)
}

fn block(nodes: &mut Vec<Node>, name: &str, x: NodeId, down: Option<usize>) -> NodeId {
    let s = nodes[x].shape.clone();
    let mut h = x;
    for i in 1..=2 {
        h = conv(nodes, &format!("{name}.conv{i}"), h, s[0], WeightRule::Standardised);
        let op = Op::Norm {
            groups: if s[0] > 128 { 32 } else { s[0] },
            epsilon: 1e-5,
            weight: Some(format!("{name}.bn{i}.weight")),
            bias: Some(format!("{name}.bn{i}.bias")),
        };
        h = add(nodes, &format!("{name}.bn{i}"), op, &[h], &s);
        h = swish(nodes, &format!("{name}.{i}"), h);
    }
    let mut o = add(nodes, &format!("{name}.add"), Op::Add, &[h, x], &s);
    if let Some(out) = down {
        o = conv(nodes, &format!("{name}.conv_downsample"), o, out, WeightRule::Plain);
        let shape = [out, s[1].div_ceil(2), s[2].div_ceil(2)];
        o = add(nodes, &format!("{name}.pool"), Op::Pool(Pool::Average3), &[o], &shape);
        o = swish(nodes, name, o);
    }
    o
}

fn resnet(f: usize) -> NetPlan {
    let mut n = Vec::new();
    let x = add(&mut n, "x", Op::Input, &[], &[3, 32, 32]);
    let x = conv(&mut n, "conv1", x, f, WeightRule::Plain);
    let mut x = swish(&mut n, "conv1", x);
    for (name, down) in [
        ("res_1a", None),
        ("res_1b", Some(f)),
        ("res_2a", None),
        ("res_2b", Some(2 * f)),
        ("res_3a", None),
        ("res_3b", Some(4 * f)),
        ("res_4a", None),
        ("res_4b", Some(8 * f)),
    ] {
        x = block(&mut n, name, x, down);
    }
    let x = swish(&mut n, "last", x);
    let x = add(&mut n, "mean", Op::SpatialMean, &[x], &[8 * f]);
    let op = Op::Linear { weight: "energy_map.weight".into(), bias: Some("energy_map.bias".into()) };
    let e = add(&mut n, "energy_map", op, &[x], &[1]);
    NetPlan {
        input: vec![3, 32, 32],
        condition: 0,
        nodes: n,
        terms: vec![PlanTerm { name: "energy".into(), node: e }],
    }
}

/// A stream of numbers in [−1, 1); the timing does not depend on their quality.
fn numbers(n: usize, scale: f32) -> Vec<f32> {
    let mut s = 7u64;
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            scale * ((s >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        })
        .collect()
}

fn best(mut f: impl FnMut()) -> f64 {
    f();
    let (start, mut best) = (Instant::now(), f64::MAX);
    while start.elapsed() < Duration::from_secs(2) {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64() * 1e3);
    }
    best
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<usize> = match args.first() {
        Some(f) => vec![f.parse()?],
        None => vec![16, 64],
    };
    let b: usize = args.get(1).map_or(Ok(32), |v| v.parse())?;
    let isa = match args.get(2) {
        Some(name) => Isa::ALL.into_iter().find(|i| i.name() == name).ok_or("no such instruction set")?,
        None => Isa::detect(),
    };
    let pool = Threads::global();
    for f in filters {
        let plan = CpuPlan::compile(&resnet(f), isa)?;
        if args.len() > 3 {
            println!("{}", plan.describe(b));
        }
        let weights: Vec<(String, Vec<f32>)> =
            plan.lengths().map(|(n, len)| (n.to_string(), numbers(len, 0.1))).collect();
        let lookup = |n: &str| weights.iter().find(|(k, _)| k == n).map(|(_, w)| w.as_slice());
        let packed = plan.pack(lookup)?;
        let len = plan.sample_len();
        let (x, v) = (numbers(b * len, 1.0), numbers(b * len, 0.5));
        let (mut terms, mut grad, w) = (vec![0.0; b], vec![0.0; b * len], vec![1.0; b]);
        let mut ws = Workspace::new();
        let call = Call { x: &x, cond: None };
        let mut failed = None;
        let mut note = |e: Option<ebm_engine_cpu::conv::Unsupported>| failed = failed.take().or(e);
        let slope = best(|| note(plan.slope(&packed, &mut ws, pool, call, &mut terms, &mut grad).err()));
        let slope_bytes = ws.bytes();
        let theta = best(|| note(plan.grad_theta(&packed, &mut ws, pool, call, &w, &mut terms).err()));
        let mixed = best(|| note(plan.grad_theta_slope(&packed, &mut ws, pool, call, &v, &mut terms).err()));
        let pack = best(|| note(plan.pack(lookup).err()));
        if let Some(e) = failed {
            return Err(e.into());
        }
        println!(
            "{} F={f} B={b}, {} threads, ms: slope {slope:.2}, grad_theta {theta:.2}, grad_theta_slope {mixed:.2}, \
             packing {pack:.2}; tensors of slope {} MiB, of all calls {} MiB",
            isa.name(),
            pool.threads(),
            slope_bytes >> 20,
            ws.bytes() >> 20
        );
    }
    Ok(())
}
