//! Slopes of an energy against the way from noise to data: what flow, energy and equilibrium matching have in common.

mod energy_matching;
mod equilibrium_matching;
mod pairing;

pub use energy_matching::{EnergyMatching, Pairing};
pub use equilibrium_matching::EquilibriumMatching;

use ebm_core::candle::Tensor;
use ebm_core::{Batch, Demands, EnergyFn, Key, Result, StepInput, per_row};

use crate::numbers::sum;

/// Ways from noise x₀ to data x₁, `(B, ...)` both, which a point is on at a uniform time t: `(1 − t)x₀ + t x₁`.
struct Ways<'a> {
    data: &'a Batch,
    start: Tensor,
    /// The data of the rows, x₁.
    end: Tensor,
    /// `(B,)`.
    time: Tensor,
}

impl<'a> Ways<'a> {
    /// From normal noise of deviation `deviation` to the data row by row.
    fn from_noise(data: &'a Batch, deviation: f64, key: Key) -> Result<Self> {
        let (dtype, device) = (data.dtype(), data.device());
        let n = key.at("noise").normal(&data.chains, data.sample_shape(), dtype, device)?;
        let time = key.at("time").uniform(&data.chains, &[1], dtype, device)?.squeeze(1)?;
        Ok(Ways { data, start: n.affine(deviation, 0.0)?, end: data.x.clone(), time })
    }

    /// Demands `½ mean |T∇E(x_t) + c (x₁ − x₀)|²` for the term `label`, with a speed c for each row `(B,)` and the temperature T.
    fn demand(
        &self,
        e: &dyn EnergyFn,
        input: &StepInput<'_>,
        label: &'static str,
        speed: &Tensor,
        temperature: f64,
    ) -> Result<Demands> {
        let of = input.portion_of(self.data).of.max(1) as f64;
        let along = (&self.end - &self.start)?;
        let x = (&self.start + along.broadcast_mul(&per_row(&self.time, &along)?)?)?;
        let at = self.data.with_x(x);
        let off = ((e.slope(&at)?.grad * temperature)? + along.broadcast_mul(&per_row(speed, &along)?)?)?;
        let value = 0.5 * sum(&off.sqr()?)? / of;
        let mut demands = Demands::default();
        demands.slope(label, at, off.affine(temperature / of, 0.0)?, value);
        Ok(demands)
    }
}
