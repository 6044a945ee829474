//! Learned and true densities as grey tiles.

use std::path::Path;

use ebm::Result;
use ebm::core::EnergyFn;
use ebm::data::png::Sheet;
use ebm::data::toy2d::Toy2d;

use crate::score::energies;

/// Pixels a side, and half the side of the square shown.
const SIDE: usize = 160;
const HALF: f32 = 3.0;

/// The learned and the true density of a set, each scaled to its own largest value, roots taken so that tails show.
pub fn tiles(energy: &dyn EnergyFn, set: Toy2d) -> Result<[Vec<f32>; 2]> {
    let place = |i: usize| (i as f32 + 0.5) * 2.0 * HALF / SIDE as f32 - HALF;
    // Rows of a picture go down, y goes up.
    let points: Vec<[f32; 2]> =
        (0..SIDE * SIDE).map(|k| [place(k % SIDE), place(SIDE - 1 - k / SIDE)]).collect();
    let learned: Vec<f32> = energies(energy, points.as_flattened())?.into_iter().map(|e| -e).collect();
    let truth = points.iter().map(|p| set.log_density([p[0].into(), p[1].into()]) as f32).collect();
    Ok([learned, truth].map(|log: Vec<f32>| {
        let top = log.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        log.into_iter().map(|v| 1.0 - (0.5 * (v - top)).exp()).collect()
    }))
}

/// Learned densities in the first row, true ones in the second.
pub fn write(path: &Path, tiles: &[[Vec<f32>; 2]]) -> Result<()> {
    let pixels: Vec<f32> =
        (0..2).flat_map(|row| tiles.iter().flat_map(move |t| t[row].iter().copied())).collect();
    let sheet = Sheet { columns: Some(tiles.len().max(1)), ..Sheet::default() };
    Ok(sheet.write(path, &pixels, (2 * tiles.len(), 1, SIDE, SIDE))?)
}
