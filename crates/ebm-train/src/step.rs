//! One training step: everything is computed first, then committed at once.

use std::collections::BTreeMap;
use std::time::Instant;

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, Blind, Demand, DrawRequest, Drawn, Error, Key, OptimiserState, ParamSet, Report, Result, Role,
    StepInput, Update, Updated,
};

use crate::config::From;
use crate::fulfil::{Fulfilled, fulfil};
use crate::guard;
use crate::numbers::{first_bad, mean_sd};
use crate::plan::Plan;
use crate::stages::Stages;
use crate::state::TrainState;

/// Name under which a sampler's memory shows training samples to its transitions.
pub(crate) const BANK: &str = "bank";

/// What a step wants to change.
struct Proposal {
    params: BTreeMap<String, Tensor>,
    optimiser: OptimiserState,
    average: Option<BTreeMap<String, Tensor>>,
    sampler: BTreeMap<String, Tensor>,
    /// Ends of chains for the buffer, with the slots they came from.
    ends: Option<(Option<Vec<u64>>, Tensor)>,
    values: BTreeMap<String, f64>,
}

/// Runs one training step; the report has gradient norms a term where `run.report_every` says so.
///
/// # Errors
/// If a part fails or a number is not finite. Then the state is as it was.
pub fn step(plan: &Plan, state: &mut TrainState) -> Result<Report> {
    let expensive = plan.expensive_at(state.step + 1);
    step_reporting(plan, state, expensive)
}

/// As [`step`], with gradient norms a term if `expensive`; that changes nothing but the report.
///
/// # Errors
/// As [`step`].
pub fn step_reporting(plan: &Plan, state: &mut TrainState, expensive: bool) -> Result<Report> {
    let began = Instant::now();
    let mut stages = Stages::begin();
    let mut proposal = propose(plan, state, expensive, &mut stages)?;
    let mut values = std::mem::take(&mut proposal.values);
    commit(plan, state, proposal)?;
    stages.done("commit");
    stages.report(&mut values);
    let mut report = Report { step: state.step, of: plan.config.run.steps, values };
    if let Some(replay) = &state.replay {
        report.values.insert("replay".into(), replay.len() as f64);
    }
    report.values.insert("seconds".into(), began.elapsed().as_secs_f64());
    Ok(report)
}

/// The part of a step that only reads the state.
fn propose(plan: &Plan, state: &TrainState, expensive: bool, stages: &mut Stages) -> Result<Proposal> {
    let number = state.step + 1;
    let energy = plan.energy.as_ref();
    let data = plan.batch_at(state.epoch, state.cursor)?;
    guard::finite("data batch", &data.x, number)?;
    stages.done("data");

    let key = plan.key.at("chains").at(state.attempts);
    let mut sampler = state.sampler.clone();
    let (mut drawn, mut slots) = (None, None);
    if plan.needs.samples {
        let (start, from) = starts(plan, state, &data, key)?;
        slots = from;
        stages.done("starts");
        let mut probe = Blind;
        // Transitions that jump along differences of reference samples take those of this batch.
        sampler.insert(BANK.into(), data.x.clone());
        let mut request =
            DrawRequest::new(&mut probe, &mut sampler).with_trail(plan.needs.trail, plan.needs.trail_rows);
        let ends = plan.sampler.draw(energy, start, key.at("sampler"), &mut request)?;
        sampler.remove(BANK);
        guard::finite("samples", &ends.last.at.x, number)?;
        drawn = Some(ends);
        stages.done("sampler");
    }
    let bank = bank(plan, state, key.at("bank"))?;
    stages.done("bank");
    let input = StepInput::new(&data, drawn.as_ref(), bank.as_ref(), state.step);
    let demands = plan.objective.demands(energy, &input, plan.key.at("objective").at(state.attempts))?;
    stages.done("objective");
    let done = fulfil(energy, &demands.list)?;
    stages.done("gradients");
    for (rows, terms) in &done.terms {
        guard::finite(&format!("energy of the {rows}"), terms, number)?;
    }
    let norm = guard::gradient_norm(&done.grads, number)?;

    let mut values = report(&done, drawn.as_ref(), &demands.values)?;
    values.insert("grad".into(), norm);
    if expensive {
        for (label, norm) in term_norms(plan, &demands.list, norm)? {
            values.insert(format!("grad.{label}"), norm);
        }
        stages.done("norms");
    }
    let rate = plan.optimiser.rate(state.step, plan.config.run.steps) * state.rate_factor;
    values.insert("rate".into(), rate);
    let Updated { params, state: optimiser, average } = plan.optimiser.update(&Update {
        params: &state.params,
        grads: &done.grads,
        state: &state.optimiser,
        rate,
        factor: guard::clip_factor(norm, plan.optimiser.clip_norm()),
        average: state.average.as_ref().zip(plan.optimiser.average()),
    })?;
    check(plan, &state.params, &params, number)?;
    stages.done("optimiser");
    let ends = match drawn {
        Some(d) => Some((slots, plan.rows().join(d.last.at.x, d.last.at.cond.as_ref())?)),
        None => None,
    };
    Ok(Proposal { params, optimiser, average, sampler, ends, values })
}

/// The batch in which chains start, and the slots of the buffer they came from.
fn starts(plan: &Plan, state: &TrainState, data: &Batch, key: Key) -> Result<(Batch, Option<Vec<u64>>)> {
    let energy = plan.energy.as_ref();
    let fresh = || -> Result<Batch> {
        let x = plan.starts.fresh(energy, &data.chains, data.cond.as_ref(), key.at("fresh"))?;
        Ok(data.with_x(x))
    };
    match (plan.config.chains.from, &state.replay) {
        (From::Data, _) => Ok((data.clone(), None)),
        (From::Replay, Some(replay)) => match replay.draw(data.len(), key.at("draw"))? {
            None => Ok((fresh()?, None)),
            Some((slots, rows)) => {
                // A chain without a label of its own goes on under the condition of the present data.
                let (x, own) = plan.rows().split(rows)?;
                let at = data.with_x(x).with_cond(own.or_else(|| data.cond.clone()));
                let at = plan.starts.prepare(energy, plan.cast(at)?, key.at("transitions"))?;
                let at = plan.starts.restart(energy, at, data.cond.as_ref(), key.at("restart"))?;
                Ok((at, Some(slots)))
            }
        },
        (From::Replay, None) | (From::Fresh, _) => Ok((fresh()?, None)),
    }
}

/// Reference samples for the entropy, once the buffer holds more than the objective asks for. They
/// go through the same transitions as chains do.
fn bank(plan: &Plan, state: &TrainState, key: Key) -> Result<Option<Tensor>> {
    let (needs, Some(replay)) = (&plan.needs, &state.replay) else { return Ok(None) };
    if needs.bank == 0 || replay.len() <= needs.bank_above {
        return Ok(None);
    }
    let Some((_, rows)) = replay.draw(needs.bank, key.at("draw"))? else { return Ok(None) };
    let at = plan.cast(Batch::new(plan.rows().split(rows)?.0)?)?;
    Ok(Some(plan.starts.prepare(plan.energy.as_ref(), at, key.at("transitions"))?.x))
}

/// Gradient norm of each loss term alone.
fn term_norms(plan: &Plan, demands: &[Demand], whole: f64) -> Result<BTreeMap<&'static str, f64>> {
    let mut labels: Vec<&'static str> = demands.iter().map(|d| d.label).collect();
    labels.sort_unstable();
    labels.dedup();
    if let [only] = labels[..] {
        return Ok(BTreeMap::from([(only, whole)]));
    }
    let mut norms = BTreeMap::new();
    for label in labels {
        let part = fulfil(plan.energy.as_ref(), demands.iter().filter(|d| d.label == label))?;
        norms.insert(label, part.grads.values().map(crate::numbers::squares).sum::<Result<f64>>()?.sqrt());
    }
    Ok(norms)
}

/// The numbers of a step's report that come from its passes.
fn report(
    done: &Fulfilled,
    drawn: Option<&Drawn>,
    known: &BTreeMap<&'static str, f64>,
) -> Result<BTreeMap<String, f64>> {
    let mut values = BTreeMap::new();
    for (rows, terms) in &done.terms {
        let (mean, sd) = mean_sd(&terms.sum(1)?)?;
        values.insert(format!("energy.{rows}"), mean);
        values.insert(format!("energy.{rows}.sd"), sd);
    }
    if let (Some(data), Some(samples)) = (values.get("energy.data"), values.get("energy.samples")) {
        values.insert("energy.difference".into(), data - samples);
    }
    for (label, value) in known.iter().chain(&done.values) {
        *values.entry(format!("loss.{label}")).or_insert(0.0) += value;
    }
    for (name, t) in drawn.iter().flat_map(|d| &d.info) {
        match *name {
            "energy" => {}
            "grad_square" => {
                values.insert("sampler.grad_rms".into(), mean_sd(t)?.0.sqrt());
            }
            name => {
                values.insert(format!("sampler.{name}"), mean_sd(t)?.0);
            }
        }
    }
    Ok(values)
}

/// Checks what the optimiser wants to write: known names, shapes, finite values.
fn check(plan: &Plan, old: &ParamSet, new: &BTreeMap<String, Tensor>, number: u64) -> Result<()> {
    for (name, value) in new {
        let who = || format!("optimiser `{}`", plan.optimiser.name());
        let Some(now) = old.get(name) else {
            return Err(Error::config(who(), format!("proposes `{name}`, which the energy does not have")));
        };
        if now.dims() != value.dims() {
            let want = format!("{:?} like {name}", now.dims());
            return Err(Error::shape(who(), value.dims(), want, "the optimiser must keep shapes"));
        }
        if let Some((index, v)) = first_bad(value)? {
            let message = format!("entry {index} would become {v}; lower the learning rate");
            return Err(Error::numeric(format!("parameter {name}"), number, message));
        }
    }
    Ok(())
}

/// Writes a proposal. What can still fail (buffers of the energy, the replay buffer) comes before
/// anything that could not be undone.
fn commit(plan: &Plan, state: &mut TrainState, proposal: Proposal) -> Result<()> {
    let buffers: Vec<String> = state
        .params
        .names()
        .filter(|n| state.params.role(n) == Some(Role::Buffer))
        .map(str::to_string)
        .collect();
    if buffers.is_empty() {
        put(plan, state, proposal.ends)?;
        write(&state.params, &proposal.params)?;
    } else {
        // Buffers are refreshed under the new parameters, so those must be written first and kept to go back to.
        let before = state.params.snapshot()?;
        let written = write(&state.params, &proposal.params)
            .and_then(|()| plan.energy.refreshed_buffers())
            .and_then(|new| write(&state.params, &new))
            .and_then(|()| put(plan, state, proposal.ends));
        if let Err(e) = written {
            state.params.restore(&before)?;
            return Err(e);
        }
    }
    (state.epoch, state.cursor) = state.next_batch(plan);
    state.optimiser = proposal.optimiser;
    state.average = proposal.average.or_else(|| state.average.take());
    state.sampler = proposal.sampler;
    state.step += 1;
    state.attempts += 1;
    Ok(())
}

fn write(params: &ParamSet, new: &BTreeMap<String, Tensor>) -> Result<()> {
    new.iter().try_for_each(|(name, value)| params.set(name, value))
}

fn put(plan: &Plan, state: &mut TrainState, ends: Option<(Option<Vec<u64>>, Tensor)>) -> Result<()> {
    match (&mut state.replay, ends) {
        (Some(replay), Some((slots, x))) => {
            replay.put(slots.as_deref(), &x, plan.key.at("put").at(state.attempts))
        }
        _ => Ok(()),
    }
}
