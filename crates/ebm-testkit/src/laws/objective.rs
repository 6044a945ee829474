//! Everything that is asked of an objective, with the samples, labels and bank that it needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, Blind, ChainState, Chains, DrawRequest, Drawn, EnergyFn, Key, Link, Objective, Program, Result,
    Sampler, Sensitivity, StepInput, Stepped, Transition,
};

use super::targets;
use crate::{Failure, Verdict, check_objective, fulfil_plainly};

/// Checks `objective` on samples of `shape`, of a net, or of a linked energy of a discrete domain if it needs one: all of
/// [`check_objective`], with what it needs of samples, their trail, labels and a bank at hand; and
///
/// 1. without what it needs it says so, and does not go on with nothing;
/// 2. its demands are finite at the first and at the last step of a run;
/// 3. what it needs at a step is no more than what it needs at all.
///
/// # Errors
/// Names the first law that fails.
pub fn objective(objective: &dyn Objective, shape: &[usize]) -> Verdict {
    let needs = objective.needs();
    let name = objective.name();
    let e: Arc<dyn EnergyFn> = if needs.discrete {
        let shapes: [&[usize]; 4] = [shape, &[4], &[2, 2], &[1, 2, 2]];
        let found = targets::linked(&shapes, &|e| e.spec().domain.is_discrete()).into_iter().next();
        let Some((_, e)) = found else {
            return Err(Failure::new(format!(
                "{name}: needs a discrete energy, and none is linked; link the crate of one"
            )));
        };
        e
    } else {
        Arc::new(targets::sketch(shape, 1.0)?)
    };
    let rows = 5;
    let mut data =
        Batch::new(targets::usual(e.as_ref(), rows, Key::root(2))?)?.with_chains(Chains::range(40, rows));
    if needs.labels {
        data = data.with_cond(targets::condition(e.as_ref(), rows)?);
    }
    let bank = (needs.bank > 0)
        .then(|| targets::usual(e.as_ref(), needs.bank.clamp(9, 40), Key::root(3)))
        .transpose()?;
    let key = Key::root(23);
    let (chains, from) = match objective.chains(&e, &data, key)? {
        Some(start) => (Some(start.energy), start.from),
        None => {
            (None, Batch::new(targets::usual(e.as_ref(), rows, Key::root(4))?)?.with_cond(data.cond.clone()))
        }
    };
    let followed: &dyn EnergyFn = chains.as_deref().unwrap_or(e.as_ref());
    let drawn = needs.samples.then(|| draw(followed, from, needs.trail)).transpose()?;
    let input = |step: u64, of: u64| {
        StepInput::new(&data, drawn.as_ref(), bank.as_ref(), step)
            .with_length(of)
            .with_held(1 << 20)
            .with_chains(chains.as_deref())
    };
    check_objective(objective, e.as_ref(), &input(0, 100))?;
    for step in [0, 50, 99] {
        let demands = objective.demands(e.as_ref(), &input(step, 100), key)?;
        let (grads, values) = fulfil_plainly(e.as_ref(), demands)?;
        let bad =
            values.iter().find(|(_, v)| !v.is_finite()).map(|(l, v)| format!("the value of `{l}` is {v}"));
        let mut bad = bad.into_iter().collect::<Vec<_>>();
        for (name, g) in &grads {
            if !crate::difference::largest(g)?.is_finite() {
                bad.push(format!("the gradient in `{name}` is not finite"));
            }
        }
        Failure::unless(bad.is_empty(), || format!("{name}: at step {step} of 100 {}", bad.join(", ")))?;
        let at = objective.needs_at(step, 100);
        let more = at.clone().join(needs.clone());
        let within = more.samples == needs.samples && more.trail == needs.trail && more.bank == needs.bank;
        Failure::unless(within, || {
            format!(
                "{name}: at step {step} of 100 it needs {at:?}, at all {needs:?}; `needs` is the most of all steps"
            )
        })?;
    }
    if needs.samples {
        let without = StepInput::new(&data, None, bank.as_ref(), 0).with_length(100).with_held(1 << 20);
        Failure::unless(objective.demands(e.as_ref(), &without, key).is_err(), || {
            format!("{name}: needs samples, but goes on without them; refuse a step that has none")
        })?;
    }
    Ok(())
}

/// Chains of two gradient steps on `e`, with their trail.
fn draw(e: &dyn EnergyFn, from: Batch, trail: usize) -> Result<Drawn> {
    let (mut blind, mut memory) = (Blind, BTreeMap::new());
    let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(trail, None);
    if e.spec().domain.is_discrete() {
        return Ok(Drawn::new(ChainState::new(from), Default::default(), BTreeMap::new()));
    }
    Program::new("steps", 2, vec![Box::new(Descent)], |_, _| 0).draw(e, from, Key::root(5), &mut request)
}

/// `x′ = x − 0.1 ∇E(x) + 0.05 ε`.
struct Descent;

impl Transition for Descent {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, slope) = (&state.at, state.slope(e)?);
        let eps: Tensor = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let x = ((&at.x - slope.grad.affine(0.1, 0.0)?)? + eps.affine(0.05, 0.0)?)?;
        Ok(Stepped::new(
            state.advance(x),
            Link::Descent { at: at.clone(), scale: 0.1, pass: None, active: None },
        ))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }

    fn name(&self) -> String {
        "descent".into()
    }
}
