//! Energies over the plane.

use candle_core::{Device, Tensor};
use ebm_eval::PlaneGrid;
use ebm_model::Energies;

use crate::error::Result;

/// Points of the plane that are asked for together at least: they are small.
pub(crate) const POINTS: usize = 1024;

/// Of points of the plane, two numbers each, in nats.
pub(crate) fn at_points(energies: &Energies<'_>, points: &[f32]) -> Result<Vec<f64>> {
    let x = Tensor::from_slice(points, (points.len() / 2, 2), &Device::Cpu).map_err(ebm_core::Error::from)?;
    Ok(energies.at(&x)?)
}

/// Of the cell centres of a grid, in nats.
pub(crate) fn on_grid(energies: Energies<'_>, grid: &PlaneGrid) -> Result<Vec<f64>> {
    let energies = energies.at_least(POINTS);
    Ok(grid.energies(|points: &[f32]| -> Result<Vec<f32>> {
        Ok(at_points(&energies, points)?.into_iter().map(|e| e as f32).collect())
    })?)
}
