//! Energies of many samples as numbers, a few samples at a time.

use candle_core::{DType, Device, Tensor};
use ebm_core::{Batch, EnergyFn};
use ebm_eval::PlaneGrid;

use crate::error::Result;
use crate::model::open::Model;
use crate::run::conditions::{conditions, device_of};
use crate::tensors::numbers;

/// Points of the plane that are asked for together at least: they are small.
const POINTS: usize = 1024;

/// An energy of a model's samples, asked in batches of the model's size, dtype and device.
pub(crate) struct Energies<'a> {
    energy: &'a dyn EnergyFn,
    cond: Option<Tensor>,
    size: usize,
    dtype: DType,
    device: Device,
}

impl<'a> Energies<'a> {
    /// `energy` under the conditions of the first data batch, if the data have any.
    pub fn of(model: &Model, energy: &'a dyn EnergyFn) -> Result<Self> {
        let plan = model.plan();
        Ok(Energies {
            energy,
            cond: conditions(plan)?,
            size: plan.config().run.batch.max(1),
            dtype: plan.config().run.dtype.dtype(),
            device: device_of(plan),
        })
    }

    /// `energy` without conditions, `size` samples at a time.
    pub fn plain(energy: &'a dyn EnergyFn, size: usize, dtype: DType, device: Device) -> Self {
        Energies { energy, cond: None, size: size.max(1), dtype, device }
    }

    /// Of samples `(n, ...)`, in nats.
    pub fn at(&self, x: &Tensor) -> Result<Vec<f64>> {
        self.in_pieces(x, self.size)
    }

    /// Of points of the plane, two numbers each, in nats.
    pub fn at_points(&self, points: &[f32]) -> Result<Vec<f64>> {
        let size = if self.cond.is_some() { self.size } else { self.size.max(POINTS) };
        let x =
            Tensor::from_slice(points, (points.len() / 2, 2), &Device::Cpu).map_err(ebm_core::Error::from)?;
        self.in_pieces(&x, size)
    }

    /// Of the cell centres of a grid, in nats.
    pub fn on(&self, grid: &PlaneGrid) -> Result<Vec<f64>> {
        Ok(grid.energies(|points: &[f32]| -> Result<Vec<f32>> {
            Ok(self.at_points(points)?.into_iter().map(|e| e as f32).collect())
        })?)
    }

    fn in_pieces(&self, x: &Tensor, size: usize) -> Result<Vec<f64>> {
        let n = x.dims()[0];
        let mut all = Vec::with_capacity(n);
        for first in (0..n).step_by(size) {
            let rows = size.min(n - first);
            let part = x
                .narrow(0, first, rows)
                .and_then(|x| x.to_dtype(self.dtype)?.to_device(&self.device))
                .map_err(ebm_core::Error::from)?;
            let cond = self.cond.as_ref().map(|c| c.narrow(0, 0, rows)).transpose();
            let cond = cond.map_err(ebm_core::Error::from)?;
            all.extend(numbers(&self.energy.energy(&Batch::new(part)?.with_cond(cond))?)?);
        }
        Ok(all)
    }
}
