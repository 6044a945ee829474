//! The temperature at which an energy describes its training data, by energy matching.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::energy::compose::Sum;
use ebm_core::{Batch, Blind, DrawRequest, EnergyFn, Key, Sampler};
use ebm_eval::EnergyMatching;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::tensors::numbers;

/// Checks the temperature of an option.
pub(crate) fn check(t: f64) -> Result<()> {
    match t > 0.0 && t.is_finite() {
        true => Ok(()),
        false => Err(Error::invalid("temperature", t, "a positive number")),
    }
}

/// What [`match_temperature`] found.
#[derive(Clone, Debug, Serialize)]
pub struct MatchedTemperature {
    /// The temperature T: exp(−E/T) has the training data's mean energy.
    pub temperature: f64,
    /// Mean energy of the chains less that of the data in the last round, nats: near 0 if T was found.
    pub gap: f64,
    /// Mean energy of the data, nats.
    pub data: f64,
}

/// Finds the temperature T at which chains of `exp(−E/T)` have the mean energy of `data` (training samples, all of them
/// if possible: their mean energy is known to `sd E/√N`), in `rounds` rounds of `sampler`, which must keep `exp(−E)` of the
/// energy it is given (MALA, HMC, jumps; not cold Langevin).
///
/// The log-likelihood of exp(−βE) has the derivative `E_chains − E_data` in β, so this T is the best one, without log Z
/// and without held-out data. `chains` chains start on the first rows of `data` and go on from round to round. A recipe that does not sample
/// exp(−E) (noise smaller than the step asks for, a KL term, an energy penalty) learns an energy for another
/// temperature than 1: report it. `Sum::scaled` with 1/T makes the calibrated energy.
///
/// # Errors
/// If the energy or the sampler fails, or chains do not move.
pub fn match_temperature(
    energy: &Arc<dyn EnergyFn>,
    sampler: &dyn Sampler,
    data: &Batch,
    chains: usize,
    rounds: usize,
    key: Key,
) -> Result<MatchedTemperature> {
    let energies = |at: &Batch| numbers(&energy.energy(at)?);
    let of_data = energies(data)?;
    let mut matching = EnergyMatching::new(&of_data)?;
    let (mut at, mut gap) = (data.narrow(0, chains.min(data.len()))?, 0.0);
    let mut memory = BTreeMap::new();
    for round in 0..rounds {
        let scaled = Sum::scaled("energy", energy.clone(), matching.beta())?;
        let mut probe = Blind;
        // Step sizes adapt in the first half of the rounds; a kernel that goes on would shift the mean energy.
        let warm_up = if 2 * round < rounds { sampler.steps() } else { 0 };
        let mut request = DrawRequest::new(&mut probe, &mut memory).with_warm_up(warm_up);
        at = sampler.draw(&scaled, at, key.at("temperature").at(round), &mut request)?.last.at;
        gap = matching.update(&energies(&at)?)?;
    }
    let mean = of_data.iter().sum::<f64>() / of_data.len() as f64;
    Ok(MatchedTemperature { temperature: matching.temperature(), gap, data: mean })
}
