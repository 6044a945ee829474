//! Times the calls of the engine on the CIFAR-10 residual net (single scale, no attention).
//!
//! `cargo run --release -p ebm-engine-cpu --example slope -- [filters] [batch] [isa] [describe]` prints
//! the best of repeated calls in milliseconds. At batch 32 a Zen 4 core with AVX-512 needs about 14 ms
//! for a slope at 16 filters and 144 ms at 64.

mod resnet;
mod twin;

use ebm_core::candle::{DType, Device};
use ebm_core::{Batch, Chains, Key, WeightFn};
use ebm_engine_cpu::Isa;
use resnet::{Options, resnet};
use twin::{seconds, twin};

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
    for f in filters {
        let energy = twin(resnet(&Options::cifar(f)), isa)?;
        if args.len() > 3 {
            println!("{}", energy.layers(b));
        }
        let x = Key::root(1).normal(&Chains::range(0, b), &[3, 32, 32], DType::F32, &Device::Cpu)?;
        let (v, at) = (x.affine(0.3, 0.1)?, Batch::new(x)?);
        let best =
            |call: &dyn Fn() -> ebm_core::Result<()>| Ok::<_, ebm_core::Error>(seconds(20, call)?[0] * 1e3);
        let slope = best(&|| energy.slope(&at).map(drop))?;
        let theta = best(&|| energy.grad_theta(&at, &WeightFn::ones()).map(drop))?;
        let mixed = best(&|| energy.grad_theta_slope(&at, &v).map(drop))?;
        // Any new value makes all weights be packed again at the next call.
        let (params, one) = (energy.params(), at.narrow(0, 1)?);
        let head = params.get("energy_map.weight").ok_or("the head has weights")?.clone();
        let pack = best(&|| {
            params.set("energy_map.weight", &head)?;
            energy.terms(&one).map(drop)
        })?;
        println!(
            "{} F={f} B={b}, ms: slope {slope:.2}, grad_theta {theta:.2}, grad_theta_slope {mixed:.2}, packing and one image {pack:.2}",
            energy.engine()
        );
    }
    Ok(())
}
