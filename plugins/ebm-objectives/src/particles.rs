//! Data with noisy copies of each datum, and energies of the copies against that of their datum.

use ebm_core::candle::Tensor;
use ebm_core::{Batch, Key, Result, StepInput};

use crate::numbers::total;

/// A batch of `B` data and `M` noisy copies of each: rows `B + b·M + m` are those of datum b.
pub(crate) struct Particles {
    pub at: Batch,
    /// Data B, and copies of each M.
    pub counts: (usize, usize),
    /// 1 / data of the whole batch.
    pub scale: f64,
}

impl Particles {
    /// Copies `x + shift + σ n`, `n` standard normal; `shift` `(B, ...)` is common to the copies of a datum.
    pub fn around(
        input: &StepInput<'_>,
        (copies, sigma): (usize, f64),
        shift: Option<&Tensor>,
        key: Key,
    ) -> Result<Self> {
        let (data, rows) = (input.data, input.data.len());
        let centre = shift.map_or(Ok(data.x.clone()), |s| &data.x + s)?.unsqueeze(1)?;
        let shape = [&[copies], data.sample_shape()].concat();
        let n = key.normal(&data.chains, &shape, data.dtype(), data.device())?;
        let noisy = n.affine(sigma, 0.0)?.broadcast_add(&centre)?.flatten(0, 1)?;
        let cond = |c: &Tensor| -> Result<Tensor> {
            let (_, width) = c.dims2()?;
            Ok(c.unsqueeze(1)?.broadcast_as((rows, copies, width))?.contiguous()?.flatten(0, 1)?)
        };
        let noisy = Batch::new(noisy)?.with_cond(data.cond.as_ref().map(cond).transpose()?);
        let scale = 1.0 / input.portion_of(data).of.max(1) as f64;
        Ok(Particles { at: Batch::cat(&[data, &noisy])?, counts: (rows, copies), scale })
    }

    /// `E(datum) − E(copy)`, `(B, M)`.
    pub fn gaps((rows, copies): (usize, usize), terms: &Tensor) -> Result<Tensor> {
        let e = total(terms)?;
        let noisy = e.narrow(0, rows, rows * copies)?.reshape((rows, copies))?;
        Ok(e.narrow(0, 0, rows)?.unsqueeze(1)?.broadcast_sub(&noisy)?)
    }

    /// Weights of all rows `(B + B·M,)` of a loss with these slopes in the gaps, `(B, M)`.
    pub fn weights(slopes: &Tensor) -> Result<Tensor> {
        Ok(Tensor::cat(&[slopes.sum(1)?, slopes.neg()?.flatten_all()?], 0)?)
    }
}
