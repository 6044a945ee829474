//! One training step: everything is computed first, then committed at once.

pub(crate) mod fulfil;
pub(crate) mod guard;
pub(crate) mod pass;
pub(crate) mod stages;
pub(crate) mod tally;
pub(crate) mod together;

use std::collections::BTreeMap;
use std::time::Instant;

use ebm_core::candle::Tensor;
use ebm_core::{
    Error, OptimiserState, ParamSet, Report, Result, Role, Stop, Update, Updated, first_bad_of_all,
    relative_change,
};
use ebm_model::checkpoint::name_in;

use crate::plan::Plan;
use crate::state::TrainState;
use crate::step::pass::Pass;
use crate::step::stages::Stages;
use crate::step::together::Whole;

/// The ends of a shard's chains, with the slots they came from.
struct Ends {
    shard: usize,
    slots: Option<Vec<u64>>,
    x: Tensor,
}

/// What a step wants to change.
struct Proposal {
    params: BTreeMap<String, Tensor>,
    optimiser: OptimiserState,
    average: Option<BTreeMap<String, Tensor>>,
    sampler: BTreeMap<String, Tensor>,
    /// For the buffers that are here.
    ends: Vec<Ends>,
    values: BTreeMap<String, f64>,
    stop: bool,
}

/// Norm of the gradient from which on moments of the optimiser are looked at in every step; squares of 1e19 overflow.
const LARGE: f64 = 1e12;
/// Steps between looks at moments otherwise.
const NOW_AND_THEN: u64 = 64;

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
    step_or_stop(plan, state, expensive, false, &Stop::default())?;
    Ok(state.last.clone())
}

/// As [`step_reporting`], with a wish `stop` that all ranks hear of: whether any had it. The step is left for one that is heard
/// `within` it.
pub(crate) fn step_or_stop(
    plan: &Plan,
    state: &mut TrainState,
    expensive: bool,
    stop: bool,
    within: &Stop,
) -> Result<bool> {
    let began = Instant::now();
    state.follow(plan)?;
    let mut stages = Stages::begin(plan.device());
    let mut proposal = propose(plan, state, expensive, (stop, within), &mut stages)?;
    let stop = proposal.stop;
    let mut values = std::mem::take(&mut proposal.values);
    commit(plan, state, proposal)?;
    stages.done("commit")?;
    stages.report(&mut values);
    let mut report = Report { step: state.step, of: plan.config.run.steps, values };
    if let Some(replay) = &state.replay {
        report.values.insert("replay".into(), replay.len() as f64);
    }
    report.values.insert("seconds".into(), began.elapsed().as_secs_f64());
    state.last = report;
    Ok(stop)
}

/// The part of a step that only reads the state.
fn propose(
    plan: &Plan,
    state: &TrainState,
    expensive: bool,
    (stop, within): (bool, &Stop),
    stages: &mut Stages,
) -> Result<Proposal> {
    let number = state.step + 1;
    let passes = plan.layout.mine.iter().map(|share| Pass::of(plan, state, share, expensive, within, stages));
    let passes = passes.collect();
    let Whole { grads, mut values, mut passes, stop } = together::add(plan, passes, stop)?;
    if plan.ranks.size() > 1 {
        stages.done("ranks")?;
    }
    // From here on all ranks compute the same.
    let norm = guard::gradient_norm(&grads, number)?;
    guard::told(&values, number)?;
    values.insert("grad".into(), norm);
    if expensive {
        for (label, norm) in together::term_norms(plan, &mut passes)? {
            values.insert(format!("grad.{label}"), norm);
        }
        stages.done("norms")?;
    }
    let with = state.trained_by(plan);
    let rate = with.optimiser.rate(state.step, plan.config.run.schedule()) * state.rate_factor;
    values.insert("rate".into(), rate);
    for (path, value) in state.care.tuned.iter().flat_map(|tuned| &tuned.values) {
        values.insert(format!("setting.{path}"), *value);
    }
    let factor = guard::clip_factor(norm, with.optimiser.clip_norm());
    let Updated { params, state: optimiser, average } = with.optimiser.update(&Update {
        params: &state.params,
        grads: &grads,
        state: &state.optimiser,
        rate,
        factor,
        average: state.average.as_ref().zip(with.optimiser.average()),
    })?;
    check(plan, &state.params, &params, number)?;
    // Where gradients are of a size whose moments may overflow, and now and then.
    let looked_at = norm * factor > LARGE || number.is_multiple_of(NOW_AND_THEN);
    if looked_at {
        bounded("optimiser state", &optimiser.tensors, number)?;
    }
    let change = relative_change(|name| state.params.get(name), &params)?;
    values.extend(change.map(|change| ("update".to_string(), change)));
    stages.done("optimiser")?;
    let (mut sampler, mut ends) = (BTreeMap::new(), Vec::new());
    for (share, pass) in plan.layout.mine.iter().zip(passes) {
        let named = |(name, t): (String, Tensor)| (name_in(share.shard, plan.layout.shards, &name), t);
        sampler.extend(pass.memory.into_iter().map(named));
        if let (Some(x), Some(_)) = (pass.ends, &state.replay) {
            let x = together::whole_shard(plan, share, &x)?;
            ends.push(Ends { shard: share.shard, slots: pass.slots, x });
        }
    }
    Ok(Proposal { params, optimiser, average, sampler, ends, values, stop })
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
    }
    bounded("parameter", new, number)
}

/// Refuses values that are not finite, by one read.
fn bounded(what: &str, new: &BTreeMap<String, Tensor>, number: u64) -> Result<()> {
    let all: Vec<(&str, &Tensor)> = new.iter().map(|(name, value)| (name.as_str(), value)).collect();
    match first_bad_of_all(&all)? {
        None => Ok(()),
        Some((name, index, v)) => {
            let message = format!("entry {index} would become {v}; lower the learning rate");
            Err(Error::numeric(format!("{what} {name}"), number, message))
        }
    }
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
            .and_then(|()| plan.parts.energy.refreshed_buffers())
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
    (state.untold, state.kept) = (false, None);
    Ok(())
}

fn write(params: &ParamSet, new: &BTreeMap<String, Tensor>) -> Result<()> {
    params.set_all(new)
}

fn put(plan: &Plan, state: &mut TrainState, ends: Vec<Ends>) -> Result<()> {
    let stream = state.stream(plan);
    let Some(replay) = &mut state.replay else { return Ok(()) };
    for Ends { shard, slots, x } in ends {
        if let Some(buffer) = replay.shard_mut(shard) {
            let key = plan.key_of(stream.at("put").at(state.attempts), shard);
            buffer.put(slots.as_deref(), &x, key)?;
        }
    }
    Ok(())
}
