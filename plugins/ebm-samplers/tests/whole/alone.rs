//! A program alone, on any energy: what the book shows.

use std::collections::BTreeMap;
use std::error::Error;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, Blind, DrawRequest, Key, Sampler};
use ebm_samplers::{Chain, Mala, SequentialMonteCarlo};

#[test]
fn a_sampler_needs_an_energy_and_nothing_else() -> Result<(), Box<dyn Error>> {
    // ANCHOR: sampler
    let e = ebm_testkit::toy::bowl(2, 4.0)?; // any `EnergyFn`; this is a Gaussian of variance ¼
    let start = Batch::new(Tensor::zeros((1000, 2), DType::F64, &Device::Cpu)?)?;
    let program = Chain::new(Box::new(Mala::new(0.1)), 20);
    let smc = SequentialMonteCarlo::new(Box::new(program), &[4.0, 2.0, 1.0])?.adapting(0.8);
    let (mut blind, mut memory) = (Blind, BTreeMap::new());
    let drawn = smc.draw(&e, start, Key::root(1), &mut DrawRequest::new(&mut blind, &mut memory))?;
    let variance = drawn.last.at.x.sqr()?.mean_all()?.to_scalar::<f64>()?;
    // ANCHOR_END: sampler
    // 2000 numbers have a relative error of √(2/2000), of which copies, by then apart, leave about as much: six of them.
    assert!((variance / 0.25 - 1.0).abs() < 0.2, "{variance}");
    Ok(())
}
