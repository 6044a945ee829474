//! The scores of a trained energy.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ebm::Result;
use ebm::core::candle::{Device, Tensor};
use ebm::core::{Batch, Blind, Chains, DrawRequest, EnergyFn, Key, Sampler};
use ebm::data::toy2d::Toy2d;
use ebm::eval::{FINE, Features, PlaneGrid, PlaneSettings, Samples, median_distance, mmd2, plane_score};
use ebm::measure::match_temperature;
use ebm_samplers::{Chain, Mala};
use serde_json::{Map, Value, json};

use crate::training::Run;

/// Energies of points, x and y in turn.
pub fn energies(energy: &dyn EnergyFn, points: &[f32]) -> ebm::core::Result<Vec<f32>> {
    let x = Tensor::from_slice(points, (points.len() / 2, 2), &Device::Cpu)?;
    Ok(energy.energy(&Batch::new(x)?)?.to_vec1()?)
}

/// Ends of 2000 chains of 1000 MALA steps from N(0, I), x and y in turn.
fn chains(energy: &dyn EnergyFn, count: usize) -> ebm::core::Result<Vec<f32>> {
    let chains = Chains::range(0, count);
    let key = Key::root(54321);
    let x = key.at("start").normal(&chains, &[2], ebm::core::candle::DType::F32, &Device::Cpu)?;
    let (mut probe, mut memory) = (Blind, BTreeMap::new());
    let start = Batch::new(x)?.with_chains(chains);
    let mala = Chain::new(Box::new(Mala::new(0.005)), 1000);
    let drawn = mala.draw(energy, start, key.at("chain"), &mut DrawRequest::new(&mut probe, &mut memory))?;
    Ok(drawn.last.at.x.flatten_all()?.to_vec1()?)
}

/// The temperature by energy matching on the training points: 60 rounds of 20 MALA steps of 2000 chains.
fn temperature(energy: &Arc<dyn EnergyFn>, training: &[f32]) -> Result<f64> {
    let x = Tensor::from_slice(training, (training.len() / 2, 2), &Device::Cpu)
        .map_err(ebm::core::Error::from)?;
    let mala = Chain::new(Box::new(Mala::new(0.005).adapting(0.65, 0.1)), 20);
    Ok(match_temperature(energy, &mala, &Batch::new(x)?, 2000, 60, Key::root(6))?.temperature)
}

/// All scores of a run; energies on the grids and points go to `arrays` if given.
pub fn score(run: &Run, set: Toy2d, arrays: Option<&Path>) -> Result<Map<String, Value>> {
    let energy = &run.energy;
    let settings = PlaneSettings::default();
    let held = Samples::new(&run.held_out, run.held_out.len() / 2, 2)?;
    let s = plane_score(|p| energies(energy.as_ref(), p), held, &settings, 12345)?;
    let bound =
        run.held_out.chunks_exact(2).map(|p| set.log_density([p[0].into(), p[1].into()])).sum::<f64>()
            / held.n() as f64;
    let ends = chains(energy.as_ref(), settings.mmd_points)?;
    let good: Vec<f64> = ends.iter().map(|v| f64::from(*v)).filter(|v| v.is_finite()).collect();
    let reference = held.slice(0, settings.mmd_points).features();
    let good = Features::new(good.clone(), good.len() / 2, 2)?;
    let matched = temperature(energy, &run.training)?;
    let grid = PlaneGrid::new(settings.half, settings.cells)?;
    let on_grid = grid.energies(|p| energies(energy.as_ref(), p))?;
    let at: Vec<f64> = energies(energy.as_ref(), &run.held_out)?.into_iter().map(f64::from).collect();
    if let Some(folder) = arrays {
        let wide =
            PlaneGrid::new(settings.wide, settings.cells)?.energies(|p| energies(energy.as_ref(), p))?;
        let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        std::fs::create_dir_all(folder).map_err(|e| ebm::Error::unfit(folder.display(), e.to_string()))?;
        ebm::data::npy::write(folder.join("grid.npy"), &narrow(&on_grid), &[on_grid.len()])?;
        ebm::data::npy::write(folder.join("wide.npy"), &narrow(&wide), &[wide.len()])?;
        ebm::data::npy::write(folder.join("heldout.npy"), &narrow(&at), &[at.len()])?;
        ebm::data::npy::write(folder.join("chain.npy"), &ends, &[ends.len() / 2, 2])?;
    }
    let round = |v: f64| (v * 1e6).round() / 1e6;
    let line = json!({
        "ll": round(s.ll), "bound": round(bound), "kl": round(bound - s.ll), "ll_best_t": round(s.ll_best_t),
        "t_best": s.t_best, "leak": round(s.leak), "mmd2_grid": round(s.mmd2_grid), "fine_grid": round(s.fine_grid),
        "chain_bad": settings.mmd_points - good.n(),
        "mmd2_chain": round(mmd2(&reference, &good, median_distance(&reference)?)?),
        "fine_chain": round(mmd2(&reference, &good, FINE)?),
        "t_matched": round(matched), "ll_matched": round(grid.log_likelihood(&on_grid, &at, 1.0 / matched)),
    });
    Ok(match line {
        Value::Object(map) => map,
        _ => Map::new(),
    })
}
