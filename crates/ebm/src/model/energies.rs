//! Energies of samples that nobody has said a condition of, and energies over the plane.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ebm_core::host;
use ebm_core::{Condition, EnergyFn, SoftMin};
use ebm_eval::PlaneGrid;
use ebm_model::Energies;

use crate::error::{Error, Result};

/// Points of the plane that are asked for together at least: they are small.
pub(crate) const POINTS: usize = 1024;

/// The energy of samples that come without a condition: the model's own, or, where it must have a class, the marginal one,
/// `−log Σ_y exp(−E(x, y))` over all classes. It is the same for samples with and without labels, so that they can be compared.
///
/// # Errors
/// If the conditions are no classes: then one has to be named.
pub(crate) fn without_condition(model: &ebm_model::Model) -> Result<Arc<dyn EnergyFn>> {
    let own = model.energy();
    let Condition::Required(n) = own.spec().condition else { return Ok(own.clone()) };
    let conditions = model.facts().conditions.as_ref();
    if !conditions.map_or(Ok(true), one_hot)? {
        return Err(Error::unfit(
            "the model",
            format!(
                "its energy takes conditions of {n} numbers that are no classes, so they cannot be summed over; name one: 'RUN given [...]'"
            ),
        ));
    }
    Ok(Arc::new(SoftMin::marginal(own.clone())?))
}

/// Says what energies are where they are marginal ones.
pub(crate) fn tell(model: &ebm_model::Model) {
    if let Condition::Required(n) = model.energy().spec().condition {
        tracing::info!(
            "the energy takes a class: energies are the marginal ones, -log of the sum of exp(-E(x, y)) over its {n} classes; 'RUN given CLASS' takes those of one class"
        );
    }
}

/// Whether each row `(m, c)` has one 1, and 0 elsewhere.
pub(crate) fn one_hot(rows: &Tensor) -> Result<bool> {
    let rows = host::wide(rows).and_then(|t| t.to_vec2::<f64>());
    let rows = rows.map_err(ebm_core::Error::from)?;
    let class = |row: &Vec<f64>| row.iter().all(|v| *v == 0.0 || *v == 1.0) && row.iter().sum::<f64>() == 1.0;
    Ok(rows.iter().all(class))
}

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
