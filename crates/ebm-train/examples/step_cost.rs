//! Where the time of a training step goes: the calls of the energy, and everything around them.
//!
//! `cargo run --release -p ebm-train --example step_cost [STEPS]`

use std::path::Path;
use std::time::Instant;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Batch, Result};
use ebm_train::{Plan, RunConfig, TrainState, step};
use {ebm_energies_net as _, ebm_objectives as _, ebm_optimisers as _, ebm_replays as _, ebm_samplers as _};
use {ebm_sources as _, ebm_train as _};

const CONFIG: &str = r#"
format = 1
[run]
steps = 100000
report_every = 0
[data]
kind = "digits"
[energy]
kind = "mlp"
hidden = [256, 256]
[sampler]
kind = "chain"
steps = 20
transition = { kind = "langevin", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] }
[replay]
kind = "random-overwrite"
capacity = 10000
[objective]
kind = "contrastive"
energy_l2 = 1.0
[optimiser]
kind = "adam"
rate = 2e-3
clip_norm = 0.5
average = 0.99
"#;

fn main() -> Result<()> {
    let steps: u32 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(200);
    let plan = Plan::build(&RunConfig::from_toml(CONFIG)?, Path::new("."), &Device::Cpu, None)?;
    let mut state = TrainState::new(&plan)?;
    println!("{}", plan.describe());
    for _ in 0..20 {
        step(&plan, &mut state)?;
    }
    let began = Instant::now();
    for _ in 0..steps {
        step(&plan, &mut state)?;
    }
    let whole = began.elapsed().as_secs_f64() * 1e3 / f64::from(steps);

    let energy = plan.energy();
    let batch = Batch::new(Tensor::rand(0f32, 1.0, (64, 1, 8, 8), &Device::Cpu)?)?;
    let both = Batch::cat(&[&batch, &batch])?;
    let began = Instant::now();
    for _ in 0..steps {
        for _ in 0..20 {
            energy.slope(&batch)?;
        }
        energy.grad_theta(&both, &|t| Ok(t.clone()))?;
    }
    let calls = began.elapsed().as_secs_f64() * 1e3 / f64::from(steps);
    println!("a step takes {whole:.3} ms, of which the energy's calls take {calls:.3} ms");
    Ok(())
}
