//! The work of one shard in a step: data, chains, demands, gradients. It only reads the state.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, Blind, Demand, DrawRequest, Error, Key, Needs, Portion, Result, StepInput, Stop, Stoppable,
    TermName, finite, first_bad,
};
use ebm_model::checkpoint::entries_of;

use crate::config::From;
use crate::plan::Plan;
use crate::shares::Share;
use crate::state::TrainState;
use crate::step::fulfil::{OBJECTIVE, fulfil};
use crate::step::guard::CURE;
use crate::step::stages::Stages;
use crate::step::tally::{self, Tally};

/// Gradients by parameter.
pub(crate) type Grads = BTreeMap<String, Tensor>;

/// What came of a shard's work.
pub(crate) struct Pass {
    /// Gradient of the loss on these rows.
    pub grads: Grads,
    /// The same for each loss term alone, where it was asked for and there are several.
    pub terms: BTreeMap<TermName, Grads>,
    pub tally: Tally,
    /// Slots from which the whole shard's chains came.
    pub slots: Option<Vec<u64>>,
    /// Ends of the chains here, as rows of the buffer.
    pub ends: Option<Tensor>,
    /// What the sampler keeps.
    pub memory: BTreeMap<String, Tensor>,
}

impl Pass {
    /// The work of `share` in the step after `state`; its chains are left when somebody wishes to stop `within` it.
    ///
    /// # Errors
    /// If a part fails or a number is not finite.
    pub fn of(
        plan: &Plan,
        state: &TrainState,
        share: &Share,
        by_term: bool,
        within: &Stop,
        stages: &mut Stages,
    ) -> Result<Self> {
        let number = state.step + 1;
        let energy = plan.parts.energy.as_ref();
        let shard = plan.shard_at(state.epoch, state.cursor, share)?;
        let data = if share.is_whole() {
            shard.clone()
        } else {
            shard.narrow(share.rows.start, share.rows.len())?
        };
        whole(plan, &data.x, number)?;
        stages.done("data")?;

        let portion = Portion { first: share.rows.start, of: share.of };
        let with = state.trained_by(plan);
        let needs = with.objective.needs_at(state.step, plan.config.run.schedule());
        let stream = state.stream(plan);
        let key = stream.at("chains").at(state.attempts);
        let own_key = plan.key_of(stream.at("objective").at(state.attempts), share.shard);
        let mut memory = entries_of(share.shard, plan.layout.shards, &state.sampler);
        let (mut drawn, mut slots, mut own) = (None, None, None);
        let mut began = None;
        if needs.samples {
            if needs.own_chains {
                own = with.objective.chains(&plan.parts.energy, &data, own_key)?;
            }
            let (start, from) = match &own {
                Some(own) => (own.from.clone(), None),
                None => starts(plan, state, share, &data, key)?,
            };
            slots = from;
            began = Some(start.x.clone());
            stages.done("starts")?;
            let mut probe = Blind;
            // Transitions that jump along differences of reference samples take those of the shard's batch.
            let request = DrawRequest::new(&mut probe, &mut memory).with_reference(Some(&shard.x));
            let mut request = match needs.trail_rows.map(|rows| portion.leading(rows, data.len())) {
                // None of the rows that are differentiated are here.
                Some(0) if !share.is_whole() => request,
                Some(rows) => request.with_trail(needs.trail, Some(rows)),
                None => request.with_trail(needs.trail, None),
            };
            let followed = Stoppable::new(own.as_ref().map_or(energy, |own| own.energy.as_ref()), within);
            let ends = with.sampler.draw(&followed, start, key.at("sampler"), &mut request)?;
            if !share.is_whole() && !memory.is_empty() {
                return Err(keeps(plan));
            }
            finite("samples", &ends.last.at.x, number, CURE)?;
            drawn = Some(ends);
            stages.done("sampler")?;
        }
        let bank = bank(plan, state, share, &needs, plan.key_of(key.at("bank"), share.shard))?;
        stages.done("bank")?;
        let mut input = StepInput::new(&data, drawn.as_ref(), bank.as_ref(), state.step)
            .with_length(plan.config.run.schedule())
            .with_chains(own.as_ref().map(|own| own.energy.as_ref()));
        if let Some(replay) = &state.replay {
            input = input.with_held(replay.len());
        }
        let input = if share.is_whole() { input } else { input.with_portion(portion) };
        let demands = with.objective.demands(energy, &input, own_key)?;
        stages.done("objective")?;
        let done = fulfil(energy, &demands.list)?;
        owned(plan, &done.grads)?;
        stages.done("gradients")?;
        for (rows, terms) in &done.terms {
            finite(&format!("energy of the {rows}"), terms, number, CURE)?;
        }
        let chains = drawn.as_ref().zip(began.as_ref());
        let rows = tally::Rows {
            first: share.shard * share.of + share.rows.start,
            here: share.rows.len(),
            of: plan.layout.shards * share.of,
        };
        let range = plan.watched.middle_and_half();
        let mut tally = Tally::of(&done, chains, &demands.values, range, rows)?;
        tally.adapted(&memory)?;
        let mut terms = BTreeMap::new();
        if by_term {
            terms = term_gradients(plan, &demands.list, &done.grads)?;
            stages.done("norms")?;
        }
        let row = |d: ebm_core::Drawn| plan.rows().join(d.last.at.x, d.last.at.cond.as_ref());
        Ok(Pass { grads: done.grads, terms, tally, slots, ends: drawn.map(row).transpose()?, memory })
    }
}

/// Refuses data with numbers that are not finite, which no learning rate mends; `number` is that of the step, 0 before the
/// first.
pub(crate) fn whole(plan: &Plan, x: &Tensor, number: u64) -> Result<()> {
    let Some((index, value)) = first_bad(x)? else { return Ok(()) };
    let len = plan.data.sample_shape().iter().product::<usize>().max(1);
    let when = if number > 0 { format!(" at step {number}") } else { String::new() };
    let message = format!(
        "sample {} of the batch{when} holds the value {value} (entry {}, both from 0), must be finite: mend the data or leave the sample out",
        index / len,
        index % len
    );
    Err(Error::data(plan.data.name(), message))
}

/// Refuses gradients in parameters that the objective did not declare, or of another shape.
fn owned(plan: &Plan, grads: &Grads) -> Result<()> {
    let own = |(name, _): &(&String, _)| name.strip_prefix(OBJECTIVE).is_some_and(|n| n.starts_with('.'));
    for (name, g) in grads.iter().filter(own) {
        let who = || format!("objective `{}`", plan.objective.name());
        match plan.params.get(name) {
            Some(p) if p.dims() == g.dims() => {}
            Some(p) => {
                let want = format!("{:?} like `{name}`", p.dims());
                return Err(Error::shape(who(), g.dims(), want, "a gradient has the shape of its parameter"));
            }
            None => {
                let message = format!("demands a gradient in `{name}`, which it did not declare");
                return Err(Error::config(who(), message));
            }
        }
    }
    Ok(())
}

fn keeps(plan: &Plan) -> Error {
    let ranks = plan.ranks.size();
    Error::capability(
        format!("{ranks} ranks that share a shard"),
        "chains that do not depend on each other",
        format!("sampler `{}`, which adapts itself to all of them", plan.parts.sampler.name()),
        format!("set run.shards to {ranks} or a multiple of it"),
    )
}

/// The batch in which chains start, and the slots of the buffer from which those of the whole shard came.
fn starts(
    plan: &Plan,
    state: &TrainState,
    share: &Share,
    data: &Batch,
    key: Key,
) -> Result<(Batch, Option<Vec<u64>>)> {
    let energy = plan.parts.energy.as_ref();
    let fresh = || -> Result<Batch> {
        let x = plan.parts.starts.fresh(energy, &data.chains, data.cond.as_ref(), key.at("fresh"))?;
        Ok(data.with_x(x))
    };
    let buffer = state.replay.as_ref().and_then(|r| r.shard(share.shard));
    match (plan.config.chains.from, buffer) {
        (From::Data, _) => Ok((data.clone(), None)),
        (From::Replay, Some(buffer)) => {
            match buffer.draw(share.of, plan.key_of(key.at("draw"), share.shard))? {
                None => Ok((fresh()?, None)),
                Some((slots, rows)) => {
                    // A chain without a label of its own goes on under the condition of the present data.
                    let (x, own) = plan.rows().split(rows)?;
                    let here = |t: Tensor| t.narrow(0, share.rows.start, share.rows.len());
                    let own = own.map(|c| if share.is_whole() { Ok(c) } else { here(c) }).transpose()?;
                    let x = if share.is_whole() { x } else { here(x)? };
                    let at = data.with_x(x).with_cond(own.or_else(|| data.cond.clone()));
                    let at = plan.parts.starts.prepare(energy, plan.cast(at)?, key.at("transitions"))?;
                    let at = plan.parts.starts.restart(energy, at, data.cond.as_ref(), key.at("restart"))?;
                    Ok((at, Some(slots)))
                }
            }
        }
        (From::Replay, None) | (From::Fresh, _) => Ok((fresh()?, None)),
    }
}

/// Reference samples for the entropy, once the buffers hold more than the objective asks for. They
/// go through the same transitions as chains do.
fn bank(plan: &Plan, state: &TrainState, share: &Share, needs: &Needs, key: Key) -> Result<Option<Tensor>> {
    let Some(replay) = &state.replay else { return Ok(None) };
    let Some(buffer) = replay.shard(share.shard) else { return Ok(None) };
    if needs.bank == 0 || replay.len() <= needs.bank_above {
        return Ok(None);
    }
    let Some((_, rows)) = buffer.draw(needs.bank, key.at("draw"))? else { return Ok(None) };
    let at = plan.cast(Batch::new(plan.rows().split(rows)?.0)?)?;
    Ok(Some(plan.parts.starts.prepare(plan.parts.energy.as_ref(), at, key.at("transitions"))?.x))
}

/// Gradient of each loss term alone; `whole` is that of all together.
fn term_gradients(plan: &Plan, demands: &[Demand], whole: &Grads) -> Result<BTreeMap<TermName, Grads>> {
    let mut labels: Vec<&TermName> = demands.iter().map(|d| &d.label).collect();
    labels.sort_unstable();
    labels.dedup();
    if let [only] = labels[..] {
        return Ok(BTreeMap::from([(only.clone(), whole.clone())]));
    }
    let alone = |label: &TermName| {
        let part = fulfil(plan.parts.energy.as_ref(), demands.iter().filter(|d| d.label == *label))?;
        Ok((label.clone(), part.grads))
    };
    labels.into_iter().map(alone).collect()
}
