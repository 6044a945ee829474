//! A gradient step on each row, given as data, in parts: its noise, its end with the link, the share on the clamp.

use candle_core::Tensor;

use crate::bounds::clamped;
use crate::{Batch, Key, Link, Result, RowStep, row_mean, within};

impl RowStep {
    /// The noise `σ·ε` of the step under `key`, of the shape of the samples, if it has any.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn noise_of(&self, at: &Batch, key: Key) -> Result<Option<Tensor>> {
        if self.noise == 0.0 {
            return Ok(None);
        }
        let eps = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        Ok(Some(eps.affine(self.noise, 0.0)?))
    }

    /// The end of the step and how it depends on θ, given the point `hat` and gradient of its move; `noise` is what the step
    /// adds after the move.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn end(&self, hat: &Batch, grad: &Tensor, noise: Option<&Tensor>) -> Result<(Tensor, Link)> {
        let mut d = grad.affine(self.step_size, 0.0)?;
        let mut active = None;
        if let Some(limit) = self.move_limit {
            active = Some(within(&d, -limit, limit)?);
            d = clamped(&d, -limit, limit)?;
        }
        let mut y = (&hat.x - d)?;
        if let Some(n) = noise {
            y = (y + n)?;
        }
        let mut pass = None;
        if let Some((low, high)) = self.clamp {
            pass = Some(within(&y, low, high)?);
            y = clamped(&y, low, high)?;
        }
        Ok((y, Link::Descent { at: hat.clone(), scale: self.step_size, pass, active }))
    }

    /// Share of the coordinates of each row that stand on the clamp, `(B,)`, if there is one.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn saturated(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let Some((low, high)) = self.clamp else { return Ok(None) };
        let on = (x.le(low)?.to_dtype(x.dtype())? + x.ge(high)?.to_dtype(x.dtype())?)?;
        Ok(Some(row_mean(&on)?))
    }
}
