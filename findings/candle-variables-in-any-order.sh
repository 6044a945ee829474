#!/usr/bin/env bash
# candle: the variables of two equal networks stand in different orders, so an average of weights mixes layers.
#
# candle-nn 0.11.1: `VarMap::all_vars` lists a hash map that is seeded anew for each map. Two networks made by the same code, or the same
# one in two processes, list their variables differently. `for (mean, now) in average.all_vars().iter().zip(network.all_vars())`, an exponential
# moving average or a copy to a second network, averages layer 1 with layer 5 wherever shapes agree, and says so only where they do not.
# Sums over the list (a norm of gradients) differ in the last digits from run to run. By name, through `data().lock()`, it is right.
#
# For us: parameters are kept by name and in the order of names, averages and files as well.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 candle-nn==0.11.1 <<'R'
use candle_core::{DType, Device, Result};
use candle_nn::{Init, VarBuilder, VarMap};

/// A network of eight layers of the same shape: layer i has weights of i everywhere.
fn network() -> Result<VarMap> {
    let map = VarMap::new();
    let builder = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    for i in 0..8 {
        builder.pp(format!("layer{i}")).get_with_hints((3, 3), "weight", Init::Const(i as f64))?;
    }
    Ok(map)
}

fn listed(map: &VarMap) -> Result<Vec<f32>> {
    map.all_vars().iter().map(|v| v.mean_all()?.to_scalar::<f32>()).collect()
}

fn main() -> Result<()> {
    let (average, network) = (network()?, network()?);
    println!("one network {:?}, its copy {:?}", listed(&average)?, listed(&network)?);
    // An average of two networks that are equal: nothing should move.
    for (mean, now) in average.all_vars().iter().zip(network.all_vars()) {
        mean.set(&((mean.as_tensor() * 0.9)? + (now.as_tensor() * 0.1)?)?)?;
    }
    let mut moved = 0;
    for (name, mean) in average.data().lock().unwrap().iter() {
        let is = mean.mean_all()?.to_scalar::<f32>()?;
        let was: f32 = name.trim_start_matches("layer").trim_end_matches(".weight").parse().unwrap();
        moved += u32::from((is - was).abs() > 1e-3);
    }
    println!("layers that the average moved: {moved} of 8, should be 0");
    // The two orders are the same once in 40,320.
    assert!(moved > 0, "this has changed");
    Ok(())
}
R
