//! Times the calls of the engine on the CIFAR-10 residual net (single scale, no attention).
//!
//! `cargo run --release -p ebm-engine-cpu --example slope -- [filters] [batch] [isa] [describe]` prints
//! the best of repeated calls in milliseconds. At batch 32 a Zen 4 core with AVX-512 needs about 14 ms
//! for a slope at 16 filters and 144 ms at 64.

mod resnet;

use std::time::{Duration, Instant};

use ebm_engine_cpu::conv::{Call, CpuPlan, Workspace};
use ebm_engine_cpu::pool::Pool as Threads;
use ebm_engine_cpu::simd::Isa;
use resnet::{Options, resnet};

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
        let plan = CpuPlan::compile(&resnet(&Options::cifar(f)), isa)?;
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
        let mut packed = packed;
        let pack = best(|| note(plan.repack(&mut packed, pool, lookup).err()));
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
