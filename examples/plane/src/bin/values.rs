//! The two moons without a configuration: a network and 10,000 points are trained, sampled and measured as plain values.
//!
//! Prints the mean energy of the data against that of the draws, effective draws and R-hat; a few seconds.

use ebm::core::candle::{DType, Device};
use ebm::core::{BuildCx, DataConfig, Draws, EnergyConfig, Keep, Key};
use ebm::eval::{Traces, ess_bulk, rhat};
use ebm::train::Training;
use ebm_energies_net::Mlp;
use ebm_objectives::Contrast;
use ebm_optimisers::Adam;
use ebm_samplers::{Chain, Mala};
use ebm_sources::{Order, Toy2dSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut cx = BuildCx::new(&[2], DType::F32, &Device::Cpu, Key::root(0));
    let energy = Mlp { hidden: vec![64, 64], first_scale: 6.0, ..Mlp::default() }.build(&mut cx)?;
    let moons = Toy2dSet { name: "moons".into(), train: 10_000, held_out: 0, seed: 0, order: Order::Shuffle };
    let data = moons.build(&mut cx)?;
    let chain = Chain::new(Box::new(Mala::new(0.005)), 10);

    let training = Training::on(energy, data.clone()).objective(Contrast::default()).batch(256);
    let optimiser = Adam::new(0.005).with_betas(0.9, 0.99).averaging(0.99);
    let trained = training
        .sampler(Chain::new(Box::new(Mala::new(0.005)), 10))
        .optimiser(optimiser)
        .steps(1000)
        .run()?;

    let start = data.batch(0, 0, 16, Key::root(1))?;
    let energy = trained.energy.as_ref();
    println!("data   {:.3} nats", energy.energy(&start)?.mean_all()?.to_scalar::<f32>()?);
    let draws = Draws::of(&chain, energy, start, Keep::from(1000).after(500).every(5), Key::root(2))?;
    let energies = draws.numbers("energy")?;
    println!("draws  {:.3} nats", energies.iter().sum::<f64>() / energies.len() as f64);
    let energies = Traces::new(&energies, 16, 1000)?;
    println!("energy: {:.0} effective draws of 16000, R-hat {:.3}", ess_bulk(energies), rhat(energies));
    Ok(())
}
