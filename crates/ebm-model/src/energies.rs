//! Energies of many samples as numbers, a few samples at a time.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, EnergyFn, Result, host};

/// An energy that is asked in batches of one size, dtype and device.
pub struct Energies<'a> {
    energy: &'a dyn EnergyFn,
    cond: Option<Tensor>,
    size: usize,
    dtype: DType,
    device: Device,
}

impl<'a> Energies<'a> {
    /// `energy` without conditions, `size` samples at a time.
    pub fn of(energy: &'a dyn EnergyFn, size: usize, dtype: DType, device: Device) -> Self {
        Energies { energy, cond: None, size: size.max(1), dtype, device }
    }

    /// The same under the conditions `(m, c)`, the first for the first sample of each batch.
    #[must_use]
    pub fn under(mut self, cond: Option<&Tensor>) -> Self {
        self.size = cond.map_or(self.size, |c| self.size.min(c.dims()[0].max(1)));
        self.cond = cond.cloned();
        self
    }

    /// The same with at least `size` samples at a time, where no condition stands in the way.
    #[must_use]
    pub fn at_least(mut self, size: usize) -> Self {
        if self.cond.is_none() {
            self.size = self.size.max(size);
        }
        self
    }

    /// Energies of samples `(n, ...)`, in nats.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn at(&self, x: &Tensor) -> Result<Vec<f64>> {
        let n = x.dim(0)?;
        let mut all = Vec::with_capacity(n);
        for first in (0..n).step_by(self.size) {
            let rows = self.size.min(n - first);
            let part = x.narrow(0, first, rows)?.to_dtype(self.dtype)?.to_device(&self.device)?;
            let cond = self.cond.as_ref().map(|c| c.narrow(0, 0, rows)).transpose()?;
            all.extend(host::numbers(&self.energy.energy(&Batch::new(part)?.with_cond(cond))?)?);
        }
        Ok(all)
    }
}
