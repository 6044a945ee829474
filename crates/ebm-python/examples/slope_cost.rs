//! What a slope of 64 samples of a run costs from Rust; `slope_cost.py` beside it takes the same call through Python.
//!
//! `cargo run --release -p ebm-python --features python --example slope_cost -- RUN [CALLS]`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use ebm::Model;
use ebm::core::candle::Tensor;
use ebm::core::{Batch, Chains, Key};
use ebm_plugins as _;

/// Rows of the batch.
const ROWS: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let run = arguments.next().ok_or("wanted the directory of a run")?;
    let calls: usize = arguments.next().map_or(Ok(2000), |n| n.parse())?;
    let model = Model::open(run.as_ref(), &[])?;
    let x: Tensor =
        Key::root(0).normal(&Chains::range(0, ROWS), model.sample_shape(), model.dtype(), model.device())?;
    let at = Batch::new(x)?;
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        let slope = model.energy().slope(&at)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
        assert_eq!(slope.energy.dims(), [ROWS]);
    }
    times.sort_by(f64::total_cmp);
    println!("Rust    median {:8.1} microseconds, fastest {:8.1}", times[calls / 2], times[0]);
    Ok(())
}
