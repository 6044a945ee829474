//! The law that a step claims to keep: chains that start from exact draws still follow it, and go forth as often as back.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Adjust, Autograd, Batch, ChainState, Chains, Condition, Diff, EnergyFn, EnergySpec, Forward, Key, Law,
    Learning, ParamSet, Result, Sensitivity, Stepped, Transition, View,
};

use super::targets::{self, Target, numbers, z_of};
use crate::{Failure, Verdict};

/// Chains that start from exact draws.
const CHAINS: usize = 3000;
/// Steps that each makes.
const STEPS: usize = 8;
/// Rounds of the joint test, and steps of each: data that a step does not look at are seen by how far chains go.
const ROUNDS: usize = 4;
const IN_ROUND: usize = 5;
/// Standard errors that a mean may be from 0. Keys are fixed, so a pass stays one; a law that holds fails once in a million scores.
const Z: f64 = 5.0;

/// Checks the claim of `t` on small laws of samples of `shape`; a step without one is not asked.
///
/// # Errors
/// Names the law, the function whose mean moved, and by how much.
pub(super) fn law(t: &dyn Transition, shape: &[usize]) -> Verdict {
    let Some(temperature) = t.law().temperature() else { return Ok(()) };
    let (s, targets) = fitting(t, shape, temperature)?;
    Failure::unless(!targets.is_empty(), || {
        "law: it claims one, but moves chains of no energy that is known here; link the crate of one that it moves".into()
    })?;
    for target in &targets {
        stays(t, target)?;
        if let Law::Reversible { .. } = t.law() {
            forth_and_back(t, target)?;
        }
    }
    if targets.iter().any(|target| !target.energy.spec().domain.is_discrete()) && t.bounds().is_none() {
        jointly(t, shape, s, temperature)?;
    }
    Ok(())
}

/// Checks a proposal that knows its ratio: with an accept test by this ratio exp(−E) is kept.
///
/// # Errors
/// As [`law`].
pub(super) fn proposal(t: &dyn Transition, shape: &[usize]) -> Verdict {
    let tested = Tested(t);
    for target in fitting(&tested, shape, 1.0)?.1 {
        stays(&tested, &target).map_err(|f| {
            Failure::new(format!(
                "log_ratio: with an accept test by it, {f}; it is log q(x|x′) − log q(x′|x), which is 0 for symmetric moves only: a \
                 gradient step is none"
            ))
        })?;
    }
    Ok(())
}

/// Small laws that `t` moves, of a width 1/s at which about half of its moves are taken, and s.
fn fitting(t: &dyn Transition, shape: &[usize], temperature: f64) -> Result<(f64, Vec<Target>)> {
    let plain = targets::real(shape, 1.0, temperature);
    if plain.iter().all(|target| t.fits(target.energy.as_ref()).is_ok()) {
        let mut best = (f64::INFINITY, 1.0);
        // From width 1 outwards.
        let powers = (0..=12).flat_map(|k: i32| [k, -k]).filter(|k| *k <= 4);
        for power in powers {
            if best.0 < 0.25 {
                break;
            }
            let s = 10f64.powf(f64::from(power) / 2.0);
            let rate = accepted(t, &targets::real(shape, s, temperature)[0]).unwrap_or(f64::NAN);
            let off = (rate - 0.6).abs();
            if off < best.0 - 0.02 {
                best = (off, s);
            }
        }
        return Ok((best.1, targets::real(shape, best.1, temperature)));
    }
    let shapes: [&[usize]; 6] = [&[4], &[2, 2], &[1, 2, 2], &[3, 2], &[6], shape];
    let discrete = |e: &dyn EnergyFn| e.spec().domain.is_discrete() && t.fits(e).is_ok();
    let mut all = Vec::new();
    for (name, e) in targets::linked(&shapes, &discrete) {
        all.extend(targets::listed(&name, e, temperature)?);
    }
    Ok((1.0, all))
}

/// The share of moves that are taken, if the step tells.
fn accepted(t: &dyn Transition, target: &Target) -> Result<f64> {
    let start = begin(t, target, 200, Key::root(3))?;
    let step = t.step(target.energy.as_ref(), &start, Key::root(4))?;
    let x = targets::sum(&step.state.at.x)?;
    Ok(match step.info.get("accepted") {
        Some(a) if x.is_finite() => targets::sum(a)? / a.elem_count() as f64,
        _ => f64::NAN,
    })
}

/// Chains at exact draws, within the box of `t` if it has one; step sizes no longer move.
fn begin(t: &dyn Transition, target: &Target, chains: usize, key: Key) -> Result<ChainState> {
    let mut x = target.draw(&Chains::range(0, chains), key)?;
    if let Some((low, high)) = t.bounds() {
        let flat = x.flatten_from(1)?.to_vec2::<f64>()?;
        let inside: Vec<u32> = (0u32..)
            .zip(flat)
            .filter(|(_, row)| row.iter().all(|v| (low..=high).contains(v)))
            .map(|(row, _)| row)
            .collect();
        x = x.index_select(&Tensor::new(inside.as_slice(), &Device::Cpu)?, 0)?;
    }
    let e = target.energy.as_ref();
    let mut state = t.init(e, Batch::new(x)?, key.at("init"))?;
    (state.of, state.learning) = (STEPS, Learning::Done);
    state.reference = Some(target.draw(&Chains::range(1 << 20, 64), key.at("reference"))?);
    // A step size that is looked for is found at other draws, so that it does not depend on those that are watched.
    if !t.carried().is_empty() {
        let mut other =
            t.init(e, Batch::new(target.draw(&Chains::range(1 << 21, 64), key.at("learn"))?)?, key)?;
        (other.of, other.reference) = (STEPS, state.reference.clone());
        let learnt = t.step(e, &other, key.at("learn"))?.state.aux;
        state.aux.extend(
            t.carried().into_iter().filter_map(|name| Some((name.clone(), learnt.get(&name)?.clone()))),
        );
    }
    Ok(state)
}

/// Functions of a chain: first and last coordinate, means of x and x², the energy.
fn functions(e: &dyn EnergyFn, at: &Batch) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let flat = at.x.to_dtype(DType::F64)?.flatten_from(1)?;
    let rows = flat.to_vec2::<f64>()?;
    let of = |f: &dyn Fn(&[f64]) -> f64| rows.iter().map(|r| f(r)).collect::<Vec<f64>>();
    let n = flat.dims()[1] as f64;
    Ok(vec![
        ("the first coordinate", of(&|r| r[0])),
        ("the last coordinate", of(&|r| r[r.len() - 1])),
        ("the square of the first coordinate", of(&|r| r[0] * r[0])),
        ("the square of the last coordinate", of(&|r| r[r.len() - 1] * r[r.len() - 1])),
        ("the mean of squares", of(&|r| r.iter().map(|v| v * v).sum::<f64>() / n)),
        ("the product of two neighbours", of(&|r| r[0] * r[1.min(r.len() - 1)])),
        ("the energy", numbers(&e.energy(at)?)?),
    ])
}

fn stays(t: &dyn Transition, target: &Target) -> Verdict {
    let e = target.energy.as_ref();
    let mut state = begin(t, target, CHAINS, Key::root(11))?;
    let before = functions(e, &state.at)?;
    for k in 0..STEPS {
        state = t.step(e, &state, Key::root(12).at(k))?.state;
    }
    moved(&before, &functions(e, &state.at)?, &format!("after {STEPS} steps on {}", target.name))
}

/// Fails if the mean of a function moved.
fn moved(before: &[(&str, Vec<f64>)], after: &[(&str, Vec<f64>)], place: &str) -> Verdict {
    for ((name, before), (_, after)) in before.iter().zip(after) {
        let rise: Vec<f64> = before.iter().zip(after).map(|(a, b)| b - a).collect();
        let (mean, z) = z_of(&rise);
        let start = before.iter().sum::<f64>() / before.len() as f64;
        Failure::unless(z.abs() < Z, || {
            format!(
                "law: {place} {name} has the mean {:.5}, {z:.1} standard errors from that of the exact draws at its start, {start:.5}; \
                 the accept test, its ratio or the temperature is wrong, or there is none, and then the step must not claim to keep \
                 the law",
                start + mean
            )
        })?;
    }
    Ok(())
}

/// Detailed balance: E[f(x) g(x′)] = E[g(x) f(x′)] for a step x → x′ from exact draws.
fn forth_and_back(t: &dyn Transition, target: &Target) -> Verdict {
    let e = target.energy.as_ref();
    // One step tells less than many.
    let state = begin(t, target, 4 * CHAINS, Key::root(13))?;
    let before = functions(e, &state.at)?;
    let after = functions(e, &t.step(e, &state, Key::root(14))?.state.at)?;
    for i in 0..before.len() {
        for j in 0..i {
            let skew: Vec<f64> = (0..before[i].1.len())
                .map(|row| before[i].1[row] * after[j].1[row] - before[j].1[row] * after[i].1[row])
                .collect();
            let (mean, z) = z_of(&skew);
            Failure::unless(z.abs() < Z, || {
                format!(
                    "detailed balance: on {} steps forth and back differ by {mean:.4e} in {} against {} ({z:.1} standard errors from 0); \
                     a step in which parts follow one another is `Law::Invariant` at most",
                    target.name, before[i].0, before[j].0
                )
            })?;
        }
    }
    Ok(())
}

/// `E(x | c) = T s² (|x|² + |c − x|²)/2`: given c ~ N(x, 1/s²), x of the prior N(0, 1/s²) stays one.
struct Posterior {
    s: f64,
    temperature: f64,
}

impl Forward for Posterior {
    fn terms<V: Diff>(&self, _: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let own = x.square()?.sum_last()?;
        let both = match cond {
            Some(c) => own.plus(&x.shift(&c.neg()?)?.square()?.sum_last()?)?,
            None => own,
        };
        both.scale(0.5 * self.s * self.s * self.temperature)
    }
}

/// The joint test of Geweke (2004): data are drawn given the chain, a step moves the chain given the data, and again; the chain
/// keeps its prior.
fn jointly(t: &dyn Transition, shape: &[usize], s: f64, temperature: f64) -> Verdict {
    let len: usize = shape.iter().product();
    let mut spec = EnergySpec::new(shape, &["posterior"]);
    spec.condition = Condition::Optional(len);
    let e = Autograd::new("posterior", Posterior { s, temperature }, spec, ParamSet::default());
    let noise =
        |key: Key| -> Result<Tensor> { Ok(targets::normal(shape, CHAINS, key)?.affine(1.0 / s, 0.0)?) };
    let at = Batch::new(noise(Key::root(15))?)?;
    let mut before = functions(&e, &at)?;
    let seen = |x: &Tensor, k: usize| -> Result<Option<Tensor>> {
        Ok(Some((x + noise(Key::root(16).at(k))?)?.flatten_from(1)?))
    };
    // Data that a step does not look at leave the prior as it is, but not what both have in common.
    let common = |x: &Tensor, c: &Option<Tensor>| -> Result<Vec<f64>> {
        let x = x.flatten_from(1)?;
        let c = c.as_ref().unwrap_or(&x);
        numbers(&(&x * c)?.mean(1)?)
    };
    let first = at.clone().with_cond(seen(&at.x, 0)?);
    before.push(("the product of chain and data", common(&at.x, &first.cond)?));
    let mut state = t.init(&e, first, Key::root(17))?;
    (state.of, state.learning) = (ROUNDS * IN_ROUND, Learning::Done);
    state.reference = Some(noise(Key::root(18))?);
    for k in 0..ROUNDS {
        state.at = state.at.clone().with_cond(seen(&state.at.x, k)?);
        state.cache = None;
        for i in 0..IN_ROUND {
            state = t.step(&e, &state, Key::root(19).at(k).at(i))?.state;
        }
    }
    let mut after = functions(&e, &state.at.clone().with_cond(None))?;
    after.push(("", common(&state.at.x, &state.at.cond)?));
    moved(&before, &after, &format!("after {ROUNDS} rounds of data given chains and chains given data"))
}

/// A proposal with an accept test by the ratio that it states, at temperature 1.
struct Tested<'a>(&'a dyn Transition);

impl Transition for Tested<'_> {
    fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        self.0.init(e, at, key)
    }

    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let mut out = self.0.step(e, state, key.at("proposal"))?;
        let ratio = self.0.log_ratio(e, state, &out.state)?;
        let rise = (e.energy(&state.at)? - e.energy(&out.state.at)?)?;
        let log = numbers(&match ratio {
            Some(ratio) => (rise + ratio)?,
            None => rise,
        })?;
        let u =
            key.at("accept").uniform(&state.at.chains, &[], DType::F64, &Device::Cpu)?.to_vec1::<f64>()?;
        let taken: Vec<u8> = log.iter().zip(&u).map(|(log, u)| u8::from(u.ln() < *log)).collect();
        let taken = Tensor::new(taken.as_slice(), &Device::Cpu)?;
        let mask = ebm_core::per_row(&taken, &state.at.x)?.broadcast_as(state.at.x.shape())?;
        out.state.at.x = mask.where_cond(&out.state.at.x, &state.at.x)?;
        out.state.cache = None;
        out.info.insert("accepted", taken.to_dtype(DType::F64)?);
        Ok(out)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.0.fits(e)
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.0.bounds()
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn adjusted(&self, _: Adjust) -> Option<Box<dyn Transition>> {
        None
    }

    fn name(&self) -> String {
        format!("an accept test of {}", self.0.name())
    }
}
