//! Microseconds per call of the dense engine for two networks.
//!
//! `cargo run --release -p ebm-engine-cpu --example mlp`

use std::sync::Arc;
use std::time::Instant;

use ebm_core::plan::{Activation, NetPlan, Node, Op, PlanTerm, Products};
use ebm_core::{Key, RowProgram, RowStep};
use ebm_engine_cpu::dense::{Dense, DensePlan, WalkOut};
use ebm_engine_cpu::simd::Isa;

/// `D-H-H-1` with swish.
fn mlp(input: usize, hidden: usize) -> NetPlan {
    let mut nodes = vec![Node { name: "x".into(), op: Op::Input, inputs: vec![], shape: vec![input] }];
    for (i, width) in [hidden, hidden, 1].into_iter().enumerate() {
        let op = Op::Linear { weight: format!("{i}.weight"), bias: Some(format!("{i}.bias")) };
        let from = nodes.len() - 1;
        nodes.push(Node { name: format!("linear{i}"), op, inputs: vec![from], shape: vec![width] });
        if i < 2 {
            let (op, from) = (Op::Activate(Activation::Swish), nodes.len() - 1);
            nodes.push(Node { name: format!("swish{i}"), op, inputs: vec![from], shape: vec![width] });
        }
    }
    let terms = vec![PlanTerm { name: "energy".into(), node: nodes.len() - 1 }];
    NetPlan { input: vec![input], condition: 0, nodes, terms, products: Products::Full }
}

/// The smallest time of a call in µs: on a shared machine the minimum is what the code needs.
fn best(repeats: usize, mut call: impl FnMut()) -> f64 {
    call();
    let mut least = f64::INFINITY;
    for _ in 0..repeats {
        let start = Instant::now();
        call();
        least = least.min(start.elapsed().as_secs_f64() * 1e6);
    }
    least
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for isa in Isa::ALL.into_iter().filter(|i| i.available()) {
        for (input, hidden, batch) in [(2, 128, 512), (64, 256, 64)] {
            report(isa, input, hidden, batch)?;
        }
    }
    Ok(())
}

fn report(isa: Isa, input: usize, hidden: usize, batch: usize) -> Result<(), Box<dyn std::error::Error>> {
    const STEPS: usize = 20;
    let mut d = Dense::new(Arc::new(DensePlan::compile(&mlp(input, hidden), isa)?));
    let n = d.plan().param_count();
    let normals = |seed: u64, n: usize| {
        let mut v = vec![0f32; n];
        Key::root(seed).fill_normal(0, &mut v);
        v
    };
    let params: Vec<f32> = normals(1, n).iter().map(|v| v * 0.08).collect();
    d.load(&params, &[]);
    let (mut x, v) = (normals(2, batch * input), normals(3, batch * input));
    let (mut energy, mut grad) = (vec![0f32; batch], vec![0f32; batch * input]);
    let (mut terms, mut theta) = (vec![0f32; batch], vec![0f32; n]);

    let slope = best(300, || d.slope(&x, &mut energy, &mut grad));
    let hvp = best(300, || d.hvp(&x, &v, &mut grad));
    let weights = |t: &[f32]| Ok::<_, std::convert::Infallible>(vec![1.0 / t.len() as f32; t.len()]);
    let first = best(300, || {
        let _ = d.grad_theta(&x, &mut terms, weights, &mut theta);
    });
    let second = best(300, || d.grad_theta_slope(&x, &v, &mut terms, &mut theta));
    let pack = best(300, || d.load(&params, &[]));
    let step = RowStep { step_size: 1e-3, noise: 0.01, noise_first: true, clamp: None, move_limit: None };
    let ids: Vec<u64> = (0..batch as u64).collect();
    let mut hat = grad.clone();
    let (mut energies, mut squares) = (vec![0f32; batch * STEPS], vec![0f32; batch * STEPS]);
    let mut walk = |step: RowStep| {
        let program = RowProgram { steps: vec![step; STEPS] };
        best(60, || {
            let out = WalkOut {
                x: &mut x,
                hat: &mut hat,
                grad: &mut grad,
                energy: &mut energies,
                grad_square: &mut squares,
            };
            d.walk(&program, Key::root(4), &ids, out);
        })
    };
    let (noisy, plain) = (walk(step), walk(RowStep { noise: 0.0, ..step }));
    let flops = 4.0 * ((input + hidden) * hidden * batch) as f64;
    println!(
        "{} {input}-{hidden}-{hidden}-1, B = {batch}: slope {slope:.0} µs ({:.0} GFLOP/s), walk step {:.0} µs ({:.0} without noise), \
         {STEPS} steps {noisy:.0} µs, grad_theta {first:.0}, grad_theta_slope {second:.0}, hvp {hvp:.0}, pack {pack:.0}",
        isa.name(),
        flops / slope * 1e-3,
        noisy / STEPS as f64,
        plain / STEPS as f64,
    );
    Ok(())
}
