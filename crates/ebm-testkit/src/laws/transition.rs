//! Everything that is asked of a step: its key, its link, what it says of itself, the law that it claims.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Adjust, Autograd, Batch, Chains, Diff, Domain, EnergyFn, EnergySpec, Forward, Key, ParamSet, Result,
    Transition, View,
};

use super::stationary;
use super::targets::{self, numbers};
use crate::difference::relative_gap;
use crate::{Failure, Verdict, check_transition};

/// Checks `t` on samples of `shape`, of a net if it moves real samples, else of a linked energy that it moves:
///
/// 1. all of [`check_transition`], under a condition and at starts inside of the box that it states;
/// 2. adjusted by factors of one it is the same step;
/// 3. where the energy is flat its noise has the size that it states ([`Transition::noise`]);
/// 4. a proposal that knows its ratio ([`Transition::log_ratio`]) keeps exp(−E) with an accept test by it;
/// 5. the law that it claims ([`Transition::law`]): chains from exact draws of small laws keep their moments and the mean of their
///    energy, those with data given chains and chains given data (Geweke 2004) keep their prior, and under detailed balance they go
///    forth as often as back.
///
/// # Errors
/// Names the first law that fails.
pub fn transition(t: &dyn Transition, shape: &[usize]) -> Verdict {
    let sketch = targets::sketch(shape, 1.0)?;
    if t.fits(&sketch).is_err() {
        let shapes: [&[usize]; 5] = [shape, &[4], &[2, 2], &[1, 2, 2], &[3, 2]];
        let known = targets::linked(&shapes, &|e| t.fits(e).is_ok());
        let Some((_, e)) = known.into_iter().next() else {
            let why = t.fits(&sketch).err().map(|e| e.to_string()).unwrap_or_default();
            return Err(Failure::new(format!(
                "it moves chains of no energy that is known here ({why}); link the crate of one that it moves"
            )));
        };
        let at = Batch::new(targets::usual(e.as_ref(), 4, Key::root(7))?)?;
        check_transition(t, e.as_ref(), &at, !t.couples_chains())?;
        stays_in(t, e.as_ref(), &at)?;
        return stationary::law(t, shape);
    }
    let at = starts(t, shape)?.with_cond(targets::condition(&sketch, 4)?);
    // With a slope so steep that a large step ends on its clamp, the link would not be seen.
    let mut size = 1.0;
    while size > 1e-6 && held(t, &targets::sketch(shape, size)?, &at)? > 0.5 {
        size *= 0.1;
    }
    let e = targets::sketch(shape, size)?;
    check_transition(t, &e, &at, !t.couples_chains())?;
    unadjusted(t, &e, &at)?;
    noise(t, shape)?;
    let next = t.step(&e, &ready(t, &e, &at)?, Key::root(8))?.state;
    if t.law().temperature().is_none() && t.log_ratio(&e, &ready(t, &e, &at)?, &next)?.is_some() {
        stationary::proposal(t, shape)?;
    }
    stationary::law(t, shape)
}

/// Four starts, inside of the box of `t` if it has one.
fn starts(t: &dyn Transition, shape: &[usize]) -> Result<Batch> {
    let chains = Chains::range(7, 4);
    let x = match t.bounds() {
        Some((low, high)) => {
            let u = Key::root(9).uniform(&chains, shape, DType::F64, &Device::Cpu)?;
            u.affine(0.8 * (high - low), low + 0.1 * (high - low))?
        }
        // Of the size of pictures in [0, 1], for augmentation.
        None => Key::root(9).normal(&chains, shape, DType::F64, &Device::Cpu)?.affine(0.2, 0.5)?,
    };
    Ok(Batch::new(x)?.with_chains(chains))
}

fn ready(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch) -> Result<ebm_core::ChainState> {
    let mut state = t.init(e, at.clone(), Key::root(10))?;
    state.reference = Some(targets::normal(at.sample_shape(), 6, Key::root(11))?);
    Ok(state)
}

/// The share of coordinates that a step leaves on the border of its box, or far from where it started.
fn held(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch) -> Result<f64> {
    let x = numbers(&t.step(e, &ready(t, e, at)?, Key::root(12))?.state.at.x)?;
    let on = |v: &f64| match t.bounds() {
        Some((low, high)) => *v <= low || *v >= high,
        None => v.abs() > 20.0 || v.is_nan(),
    };
    Ok(x.iter().filter(|v| on(v)).count() as f64 / x.len().max(1) as f64)
}

/// Samples of a discrete domain stay in it.
fn stays_in(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch) -> Verdict {
    let domain = e.spec().domain;
    if domain == Domain::Real {
        return Ok(());
    }
    let x = t.step(e, &ready(t, e, at)?, Key::root(13))?.state.at.x;
    let values: Vec<f32> = numbers(&x)?.into_iter().map(|v| v as f32).collect();
    let outside = domain.outside(&values, at.sample_shape().iter().product());
    Failure::unless(outside == 0, || {
        format!("{}: {outside} of {} values leave the domain {domain:?} in one step", t.name(), values.len())
    })
}

fn unadjusted(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch) -> Verdict {
    let Some(same) = t.adjusted(Adjust { step_size: 1.0, noise: 1.0 }) else { return Ok(()) };
    let end = |t: &dyn Transition| -> Result<Tensor> {
        Ok(t.step(e, &ready(t, e, at)?, Key::root(14))?.state.at.x)
    };
    let gap = relative_gap(&end(t)?, &end(same.as_ref())?)?;
    Failure::unless(gap <= 1e-12, || {
        format!(
            "{}: adjusted by factors of one its step is another by {gap:.3e}; a setting got lost in `adjusted`",
            t.name()
        )
    })
}

/// E = 0.
struct Flat;
impl Forward for Flat {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.flatten()?.scale(0.0)?.sum_last()
    }
}

/// Chains whose noise is measured.
const CHAINS: usize = 4000;

fn noise(t: &dyn Transition, shape: &[usize]) -> Verdict {
    let Some(stated) = t.noise() else { return Ok(()) };
    let e = Autograd::new("flat", Flat, EnergySpec::new(shape, &["flat"]), ParamSet::default());
    let middle = t.bounds().map_or(0.0, |(low, high)| 0.5 * (low + high));
    if t.bounds().is_some_and(|(low, high)| high - low < 12.0 * stated) {
        return Ok(());
    }
    let count = (CHAINS / shape.iter().product::<usize>().max(1)).max(200);
    let mut dims = vec![count];
    dims.extend_from_slice(shape);
    let at = Batch::new(Tensor::full(middle, dims, &Device::Cpu)?)?;
    let end = t.step(&e, &t.init(&e, at, Key::root(15))?, Key::root(16))?.state.at.x;
    let squares: Vec<f64> = numbers(&end)?.into_iter().map(|v| (v - middle).powi(2)).collect();
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    // The standard error of a Gaussian variance is σ²·sqrt(2/n).
    let z = (mean / (stated * stated) - 1.0) / (2.0 / squares.len() as f64).sqrt();
    Failure::unless(if stated == 0.0 { mean == 0.0 } else { z.abs() < 5.0 }, || {
        format!(
            "{}: where the energy is flat a step has noise of {:.5}, it states {stated:.5} ({z:.1} standard errors off in its square); \
             for Langevin steps of size λ it is the root of 2λ",
            t.name(),
            mean.sqrt()
        )
    })
}
