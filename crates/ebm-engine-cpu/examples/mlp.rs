//! Microseconds per call of the dense engine for two networks.
//!
//! `cargo run --release -p ebm-engine-cpu --example mlp`

#[path = "slope/twin.rs"]
mod twin;

use ebm_core::candle::{DType, Device};
use ebm_core::plan::{Activation, NetPlan, Node, Op, PlanTerm, Products};
use ebm_core::{Batch, Chains, Key, Result, RowProgram, RowStep, WeightFn};
use ebm_engine_cpu::Isa;
use twin::{seconds, twin};

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
fn best(repeats: usize, call: impl FnMut() -> Result<()>) -> Result<f64> {
    Ok(seconds(repeats, call)?[0] * 1e6)
}

fn main() -> Result<()> {
    for isa in Isa::ALL.into_iter().filter(|i| i.available()) {
        for (input, hidden, batch) in [(2, 128, 512), (64, 256, 64)] {
            report(isa, input, hidden, batch)?;
        }
    }
    Ok(())
}

fn report(isa: Isa, input: usize, hidden: usize, batch: usize) -> Result<()> {
    const STEPS: usize = 20;
    let energy = twin(mlp(input, hidden), isa)?;
    let at =
        Batch::new(Key::root(2).normal(&Chains::range(0, batch), &[input], DType::F32, &Device::Cpu)?)?;
    let v = at.x.affine(0.3, 0.1)?;
    let slope = best(300, || energy.slope(&at).map(drop))?;
    let hvp = best(300, || energy.hvp(&at, &v).map(drop))?;
    let mean = WeightFn::by_row(|_, t| Ok(t.affine(0.0, 1.0 / batch as f64)?));
    let first = best(300, || energy.grad_theta(&at, &mean).map(drop))?;
    let second = best(300, || energy.grad_theta_slope(&at, &v).map(drop))?;
    let step = RowStep { step_size: 1e-3, noise: 0.01, noise_first: true, clamp: None, move_limit: None };
    let walk = |step: RowStep| {
        let program = RowProgram::new(vec![step; STEPS]);
        best(60, || energy.walk(&at, &program, Key::root(4)).map(drop))
    };
    let (noisy, plain) = (walk(step)?, walk(RowStep { noise: 0.0, ..step })?);
    let flops = 4.0 * ((input + hidden) * hidden * batch) as f64;
    println!(
        "{} {input}-{hidden}-{hidden}-1, B = {batch}: slope {slope:.0} µs ({:.0} GFLOP/s), walk step {:.0} µs ({:.0} without noise), \
         {STEPS} steps {noisy:.0} µs, grad_theta {first:.0}, grad_theta_slope {second:.0}, hvp {hvp:.0}",
        isa.name(),
        flops / slope * 1e-3,
        noisy / STEPS as f64,
        plain / STEPS as f64,
    );
    Ok(())
}
