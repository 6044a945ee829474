//! The normalising constant of an energy of discrete samples: annealing from independent coordinates by its conditional
//! laws, and the sum over all samples where they are few.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, Chains, Conditionals, Domain, EnergyFn, Key, one_hot};
use ebm_eval::{Enumerated, ais_log_z, digit, enumerate};

use crate::error::{Error, Result};
use crate::measure::annealed::{AnnealOptions, AnnealedLogZ};
use crate::tensors::numbers;

/// Sweeps at the energy before the way back.
const SETTLING: usize = 500;
/// Rates of independent coordinates are kept this far from 0 and 1.
const EDGE: f64 = 0.01;
/// Samples that are summed over at most, and that are asked for at a time.
const FEW: (u64, usize) = (1 << 20, 1 << 12);

/// The fields of independent coordinates with the mean `(...)` of the data: half the log odds of spins, log odds of binary values,
/// log probabilities of states. Zero without a mean.
///
/// # Errors
/// If the mean has another shape.
pub fn fields(domain: Domain, shape: &[usize], mean: Option<&Tensor>) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let rates = match mean {
        Some(mean) => numbers(mean)?,
        None => vec![0.5; n],
    };
    let odds = |p: f64| (p / (1.0 - p)).ln();
    let edge = |p: f64| p.clamp(EDGE, 1.0 - EDGE);
    let of = |rate: &f64| match domain {
        Domain::Spins if mean.is_none() => 0.0,
        Domain::Spins => 0.5 * odds(edge(0.5 * (rate + 1.0))),
        Domain::Categorical(_) => edge(*rate).ln(),
        _ => odds(edge(*rate)),
    };
    Ok(Tensor::from_vec(rates.iter().map(of).collect::<Vec<f64>>(), shape, &Device::Cpu)
        .map_err(ebm_core::Error::from)?)
}

/// Log Z of `energy`, with a bracket, by annealed importance sampling from independent coordinates in the `fields`, with a sweep of
/// its blocks at each rung (Salakhutdinov, Murray 2008). Rungs are dense near the energy, as there: a thirtieth of them up to
/// β = 0.5, seven tenths from 0.9 on. The way back begins at the ends of the way there after some hundred sweeps; its side is a
/// bound as far as these are samples of the energy.
///
/// # Errors
/// If the energy has no conditional laws, fewer than three chains or no rungs are asked for, or the energy fails.
pub fn independent_log_z(
    energy: &dyn EnergyFn,
    fields: &Tensor,
    options: &AnnealOptions,
    key: Key,
) -> Result<AnnealedLogZ> {
    let Some(laws) = energy.conditionals() else {
        return Err(Error::invalid(
            "energy",
            "",
            "one with conditional laws, such as `rbm`, `ising` or `potts`",
        ));
    };
    if options.rungs == 0 {
        return Err(Error::invalid("rungs", 0, "at least 1"));
    }
    let start = laws.log_z_of_fields(fields)?;
    let (chains, shape) = (Chains::range(0, options.chains), &energy.spec().sample_shape);
    let like = energy.params().names().find_map(|n| energy.params().get(n));
    let (dtype, device) = like.map_or((DType::F32, Device::Cpu), |t| (t.dtype(), t.device().clone()));
    let any = energy.spec().domain.uniform(&chains, shape, dtype, &device, key.at("start"))?;
    let Some(any) = any else {
        return Err(Error::invalid("energy", energy.spec().domain, "one of a discrete domain"));
    };
    // At β = 0 coordinates are independent, so one sweep from anywhere is an exact draw.
    let walk = Walk { laws, fields, rungs: options.rungs };
    let mut at = walk.sweep(0, &Batch::new(any)?.with_chains(chains), key.at("base"))?;
    let mut up = vec![0.0; options.chains];
    for rung in 0..options.rungs {
        walk.weigh(rung, rung + 1, &at, &mut up)?;
        at = walk.sweep(rung + 1, &at, key.at("forward").at(rung))?;
    }
    let forward = ais_log_z(&up, start)?;
    let ends = at.clone();
    for k in 0..SETTLING {
        at = walk.sweep(options.rungs, &at, key.at("settle").at(k))?;
    }
    let mut down = vec![0.0; options.chains];
    for rung in (0..options.rungs).rev() {
        at = walk.sweep(rung + 1, &at, key.at("reverse").at(rung))?;
        walk.weigh(rung + 1, rung, &at, &mut down)?;
    }
    let back = ais_log_z(&down, 0.0)?;
    let reverse = ebm_eval::LogZ {
        log_z: start - back.log_z,
        interval: (start - back.interval.1, start - back.interval.0),
        ..back
    };
    Ok(AnnealedLogZ {
        forward,
        reverse,
        accepted: None,
        divergences: None,
        step_sizes: None,
        rungs: options.rungs,
        moves: 1,
        ends: Some(ends),
    })
}

struct Walk<'a> {
    laws: &'a dyn Conditionals,
    fields: &'a Tensor,
    rungs: usize,
}

impl Walk<'_> {
    /// β of a rung: at 1/30 of the way 0.5, at 3/10 of it 0.9.
    fn beta(&self, rung: usize) -> f64 {
        let way = rung as f64 / self.rungs as f64;
        match way {
            w if w < 1.0 / 30.0 => 15.0 * w,
            w if w < 0.3 => 0.5 + 0.4 * (w - 1.0 / 30.0) / (0.3 - 1.0 / 30.0),
            w => 0.9 + 0.1 * (w - 0.3) / 0.7,
        }
    }

    fn sweep(&self, rung: usize, at: &Batch, key: Key) -> Result<Batch> {
        let own = self.laws.along(self.beta(rung), self.fields)?;
        let laws = own.conditionals().unwrap_or(self.laws);
        let mut at = at.clone();
        for block in 0..laws.blocks() {
            at = at.with_x(laws.redraw(&at, block, key.at(block))?);
        }
        Ok(at)
    }

    fn weigh(&self, from: usize, to: usize, at: &Batch, weights: &mut [f64]) -> Result<()> {
        let energies = |rung: usize| -> Result<Vec<f64>> {
            numbers(&self.laws.along(self.beta(rung), self.fields)?.energy(at)?)
        };
        let (old, new) = (energies(from)?, energies(to)?);
        weights.iter_mut().zip(old.iter().zip(new)).for_each(|(w, (old, new))| *w += old - new);
        Ok(())
    }
}

/// Log Z by the sum over all samples, where they are a million at most; else `None`.
///
/// # Errors
/// If the energy fails.
pub fn exact_log_z(energy: &dyn EnergyFn) -> Result<Option<Enumerated>> {
    let spec = energy.spec();
    let values: usize = spec.sample_shape.iter().product();
    let Some(states) = spec.domain.states() else { return Ok(None) };
    let sites = if let Domain::Categorical(k) = spec.domain { values / k.max(1) } else { values };
    let few = (states as u64).checked_pow(sites.min(64) as u32).is_some_and(|n| n <= FEW.0);
    if !few {
        return Ok(None);
    }
    let like = energy.params().names().find_map(|n| energy.params().get(n));
    let dtype = like.map_or(DType::F64, Tensor::dtype);
    let all = enumerate(sites, states, FEW.1, |first, count| -> Result<Vec<f64>> {
        let numbers_of =
            (first..first + count as u64).flat_map(|n| (0..sites).map(move |s| digit(n, s, states) as f64));
        let x = Tensor::from_vec(numbers_of.collect::<Vec<f64>>(), (count, sites), &Device::Cpu)
            .map_err(ebm_core::Error::from)?;
        let x = match spec.domain {
            Domain::Spins => x.affine(2.0, -1.0).map_err(ebm_core::Error::from)?,
            Domain::Categorical(k) => one_hot(&x, k)?,
            _ => x,
        };
        let shape = [&[count], &spec.sample_shape[..]].concat();
        let x = x.reshape(shape).and_then(|x| x.to_dtype(dtype)).map_err(ebm_core::Error::from)?;
        numbers(&energy.energy(&Batch::new(x)?)?)
    })?;
    Ok(Some(all))
}
