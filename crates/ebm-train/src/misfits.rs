//! Settings that are sound alone and not together: those that would spoil a run are refused before it, those that may be
//! meant are remarked upon.

use std::cell::OnceCell;

use ebm_core::candle::DType;
use ebm_core::{Condition, DataSource, Error, Result, Split, host, machine};
use serde_json::Value;

use crate::config::{ChainsSection, Fill, From, GenerateSection, Labels};
use crate::plan::{Plan, Purpose};
use crate::tuned;

/// Remarks on settings that have no effect or may not be meant.
///
/// # Errors
/// The first setting that would spoil the run, with what to set; of a run that goes on as it began only what no machine does.
pub(crate) fn check(plan: &Plan) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    steps(plan)?;
    for found in [buffer(plan, &mut notes), values(plan, &mut notes)] {
        match found {
            Err(Error::Config { path, message }) if plan.purpose != Purpose::Begin => {
                notes.push(format!("{path}: {message}; the run goes on as it began"));
            }
            found => found?,
        }
    }
    memory(plan, &mut notes)?;
    without_effect(plan, &mut notes);
    if plan.config.generate.sampler.is_none() {
        notes.extend(tuned::drawn_otherwise(plan));
    }
    Ok(notes)
}

/// Most steps of a sampler in one update, and of a run, that end in a lifetime.
const MOST_STEPS: (usize, u64) = (100_000_000, 1_000_000_000_000);

fn steps(plan: &Plan) -> Result<()> {
    for (path, n) in [("sampler", plan.parts.sampler.steps()), ("generate", plan.parts.generator.steps())] {
        if n > MOST_STEPS.0 {
            let message =
                format!("has {n} steps, must be at most {}: lower its steps or rounds", MOST_STEPS.0);
            return Err(Error::config(path, message));
        }
    }
    match plan.config.run.steps {
        n if n > MOST_STEPS.1 => {
            Err(Error::config("run.steps", format!("is {n}, must be at most {}", MOST_STEPS.1)))
        }
        _ => Ok(()),
    }
}

/// Whether chains start in the buffer.
fn starts_in_buffer(plan: &Plan) -> bool {
    plan.needs.samples && plan.starts_on_replay() && plan.config.replay.is_some()
}

/// What a step draws from the buffers against what they can hold.
fn buffer(plan: &Plan, notes: &mut Vec<String>) -> Result<()> {
    let Some(replay) = plan.empty_replay()? else { return Ok(()) };
    let run = &plan.config.run;
    let (needs, share) = (&plan.needs, run.batch / run.shards.max(1));
    let Some((_, buffer)) = replay.shards.first() else { return Ok(()) };
    let Some(each) = buffer.capacity(share) else { return Ok(()) };
    let whole = each.saturating_mul(run.shards);
    let refuse = |message: String| Err(Error::config("replay.capacity", message));
    let kind = if buffer.draws_distinct() { "different chains" } else { "chains" };
    if starts_in_buffer(plan) && each < share {
        return refuse(format!(
            "is {whole}, but a step draws {} {kind}, so it would never have any from {}: raise it to at least run.batch",
            run.batch,
            buffer.name()
        ));
    }
    if needs.bank == 0 {
        return Ok(());
    }
    let who = plan.objective.name();
    if each < needs.bank {
        return refuse(format!(
            "is {whole}, but the entropy of `{who}` draws {} {kind}: raise it to at least {}, or lower the bank",
            needs.bank,
            needs.bank.saturating_mul(run.shards)
        ));
    }
    if whole <= needs.bank_above {
        return refuse(format!(
            "is {whole}, but the entropy of `{who}` waits for more than {} chains (bank_above) and would never begin: raise it above that, or set bank_above below {whole}",
            needs.bank_above
        ));
    }
    let come = run.steps.saturating_mul(run.batch as u64);
    if plan.config.chains.fill == Fill::None && come <= needs.bank_above as u64 {
        notes.push(format!(
            "objective: the entropy waits for more than {} chains in the buffer, and the {} steps of this run make {come}; lower bank_above or set chains.fill",
            needs.bank_above, run.steps
        ));
    }
    Ok(())
}

/// Smallest and largest value of some training samples, if there is one.
pub(crate) fn seen(data: &dyn DataSource) -> Result<Option<(f64, f64)>> {
    let values = Values::of(data)?;
    Ok((!values.0.is_empty()).then(|| values.range()))
}

/// The values of some training samples.
struct Values(Vec<f32>);

impl Values {
    /// Those of the first stored samples.
    fn of(data: &dyn DataSource) -> Result<Values> {
        let some = data.stored(Split::Train, 512)?;
        let all = some.map(|s| host::singles(&s.x)).transpose()?.unwrap_or_default();
        Ok(Values(all.into_iter().filter(|v| v.is_finite()).collect()))
    }

    /// Share of them outside of a box.
    fn outside(&self, (low, high): (f64, f64)) -> f64 {
        let outside = self.0.iter().filter(|v| !(low..=high).contains(&f64::from(**v))).count();
        outside as f64 / self.0.len().max(1) as f64
    }

    fn range(&self) -> (f64, f64) {
        let all = self.0.iter().map(|v| f64::from(*v));
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)))
    }
}

/// Share of the data's values that may lie outside of a box: stray points, not another scale.
const STRAY: f64 = 0.05;

/// The values of the data against the boxes that samples are held in and the range that bytes stand for.
fn values(plan: &Plan, notes: &mut Vec<String>) -> Result<()> {
    let (stated, chains) = (plan.data.range(), &plan.config.chains);
    let mut boxes = plan.parts.starts.bounds();
    if plan.needs.samples {
        boxes.extend(plan.parts.sampler.bounds().map(|b| ("sampler".to_string(), b)));
    }
    if plan.config.generate.sampler.is_some() {
        boxes.extend(plan.parts.generator.bounds().map(|b| ("generate.sampler".to_string(), b)));
    }
    let some = OnceCell::new();
    let seen = || -> Result<&Values> {
        match some.get() {
            Some(values) => Ok(values),
            None => Values::of(plan.data.as_ref()).map(|values| some.get_or_init(|| values)),
        }
    };
    for (at, (low, high)) in boxes {
        if stated.is_some_and(|(a, b)| low <= a && b <= high) {
            if stated != Some((low, high)) {
                notes.push(format!(
                    "{at}: holds samples in [{low}, {high}], and {} is in {}; give it that range if this is not meant",
                    plan.data.name(),
                    shown(stated)
                ));
            }
            continue;
        }
        let outside = seen()?.outside((low, high));
        let message = format!(
            "holds samples in [{low}, {high}], but {:.0} % of the values of {} lie outside, they are in {}",
            (100.0 * outside).ceil(),
            plan.data.name(),
            shown(stated.or(Some(seen()?.range())))
        );
        if outside > STRAY {
            let wanted = shown(stated.or(Some(seen()?.range())));
            let path = place(&plan.tree, &at, (low, high));
            return Err(Error::config(
                path,
                format!("{message}: set it to {wanted} or wider, or scale the data"),
            ));
        } else if outside > 0.0 {
            notes.push(format!("{at}: {message}"));
        }
    }
    // Buffers keep discrete samples as they are, and their starts are of their domain.
    let discrete = plan.parts.energy.spec().domain.is_discrete();
    let bytes = plan.tree.pointer("/replay/storage") == Some(&Value::from("bytes")) && !discrete;
    if bytes && stated.is_none() && seen()?.outside((0.0, 1.0)) > 0.0 {
        let message = format!(
            "is \"bytes\", which stand for values in [0, 1], but those of {} are in {}: set it to \"float\"",
            plan.data.name(),
            shown(Some(seen()?.range()))
        );
        return Err(Error::config("replay.storage", message));
    }
    let fresh = plan.needs.samples && chains.from != From::Data && chains.start.is_none() && !discrete;
    if stated.is_none() && fresh && seen()?.outside((0.0, 1.0)) > 0.5 {
        notes.push(format!(
            "chains: fresh starts are uniform in [0, 1), and most values of {} lie elsewhere, in {}; chains.start makes others",
            plan.data.name(),
            shown(Some(seen()?.range()))
        ));
    }
    Ok(())
}

fn shown(range: Option<(f64, f64)>) -> String {
    range.map_or_else(String::new, |(low, high)| format!("[{low:?}, {high:?}]"))
}

/// The path below `at` of the setting that is the box, or `at`.
fn place(tree: &Value, at: &str, ends: (f64, f64)) -> String {
    fn find(tree: &Value, ends: &Value) -> Option<String> {
        match tree {
            Value::Object(table) => table.iter().find_map(|(name, v)| {
                if v == ends { Some(format!(".{name}")) } else { Some(format!(".{name}{}", find(v, ends)?)) }
            }),
            Value::Array(list) => {
                list.iter().enumerate().find_map(|(i, v)| Some(format!("[{i}]{}", find(v, ends)?)))
            }
            _ => None,
        }
    }
    let pointer = format!("/{}", at.replace(['.', '['], "/").replace(']', ""));
    let below = tree.pointer(&pointer).and_then(|t| find(t, &serde_json::json!([ends.0, ends.1])));
    format!("{at}{}", below.unwrap_or_default())
}

/// Times the memory of this machine from which on no machine of its kind is meant.
const ABSURD: u64 = 16;

/// An estimate of the memory that the run takes, against that of the machine: a remark, since a configuration may be checked
/// here and run elsewhere, and a refusal where no such machine is. Devices besides the processor say themselves when theirs
/// is full.
fn memory(plan: &Plan, notes: &mut Vec<String>) -> Result<()> {
    let Some(has) = machine::memory() else { return Ok(()) };
    let (run, needs) = (&plan.config.run, &plan.needs);
    let on_host = plan.device.is_cpu();
    let float = DType::size_in_bytes(&plan.dtype) as u64;
    let sample = plan.data.sample_shape().iter().map(|n| *n as u64).product::<u64>().saturating_mul(float);
    let batch = sample.saturating_mul(run.batch as u64);
    let own = |bytes: u64| if on_host { bytes } else { 0 };
    let model = plan.describe().memory;
    let mut parts = vec![
        ("energy", own(model.weights)),
        // Data, starts, chains, slopes and noise, each of the size of a batch, and what the network holds.
        ("run.batch", own(model.activations).saturating_add(batch.saturating_mul(8))),
        ("generate.count", sample.saturating_mul(plan.config.generate.count as u64)),
    ];
    if needs.samples {
        let steps = plan.parts.sampler.steps() as u64;
        let rows = needs.trail_rows.map_or(run.batch, |rows| rows.min(run.batch)) as u64;
        let trail = (needs.trail as u64).min(steps).saturating_mul(rows).saturating_mul(2 * sample);
        parts.push(("objective", own(trail)));
        // Energy and squared gradient of every chain at every step.
        parts.push(("sampler", steps.saturating_mul(run.batch as u64).saturating_mul(2 * float)));
    }
    if let Some(full) = plan.empty_replay()?.and_then(|r| r.full_bytes()) {
        let come = match plan.config.chains.fill {
            Fill::None => run.steps.saturating_mul(batch),
            _ => u64::MAX,
        };
        parts.push(("replay.capacity", own((full as u64).min(come))));
    }
    let all = parts.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let Some((path, most)) = parts.into_iter().max_by_key(|(_, bytes)| *bytes).filter(|_| all > has) else {
        return Ok(());
    };
    let text = format!(
        "takes about {} of the {} that the run would take, and the machine has {}: lower it",
        machine::in_words(most),
        machine::in_words(all),
        machine::in_words(has)
    );
    if all > has.saturating_mul(ABSURD) {
        return Err(Error::config(path, text));
    }
    notes.push(format!("{path}: {text}, or run it elsewhere"));
    Ok(())
}

/// Settings that nothing reads, given what other settings say.
fn without_effect(plan: &Plan, notes: &mut Vec<String>) {
    let (config, chains, needs) = (&plan.config, &plan.config.chains, &plan.needs);
    let usual = ChainsSection::default();
    let (starts, banks) = (starts_in_buffer(plan), needs.bank > 0 && config.replay.is_some());
    let mut note = |idle: bool, text: String| notes.extend(idle.then_some(text));
    note(
        plan.params.trainable().next().is_none(),
        "energy: has no parameters that are trained, so the run changes no weight".into(),
    );
    note(
        config.replay.is_some() && !starts && !banks,
        "replay: is filled and never read, because chains do not start in it (chains.from) and no term draws from it".into(),
    );
    note(
        !chains.transitions.is_empty() && !starts && !banks,
        "chains.transitions: have no effect, because they are for chains from the buffer, and none start in it".into(),
    );
    note(
        chains.restart != usual.restart && !starts,
        "chains.restart: has no effect, because no chains start in the buffer".into(),
    );
    note(
        chains.fill != Fill::None && config.replay.is_none(),
        "chains.fill: has no effect, because there is no buffer".into(),
    );
    note(
        chains.labels == Labels::Kept && !starts,
        "chains.labels: has no effect, because no chains start in the buffer".into(),
    );
    note(
        config.generate.sampler.is_some() && config.generate.steps != GenerateSection::default().steps,
        "generate.steps: has no effect, because generate.sampler has steps of its own".into(),
    );
    note(
        config.run.batch > plan.data.len(),
        format!(
            "run.batch: is {}, and {} has {} samples, so every batch holds some twice",
            config.run.batch,
            plan.data.name(),
            plan.data.len()
        ),
    );
    note(
        plan.data.condition() > 0 && plan.parts.energy.spec().condition == Condition::None,
        "data: gives labels as a condition, which the energy does not take".into(),
    );
    note(
        needs.trail > 0 && needs.trail_rows.is_some_and(|rows| rows > config.run.batch),
        format!("objective: asks for more rows than the {} of run.batch", config.run.batch),
    );
    for (i, schedule) in config.schedules.iter().enumerate() {
        if let Some((at, text)) = schedule.remark(config.run.steps, config.run.schedule()) {
            note(true, format!("schedule[{i}].{at}: {text}"));
        }
    }
    for (list, name) in [("observer", "writes"), ("policy", "acts")] {
        let all = plan.tree.get(list).and_then(Value::as_array);
        for (i, part) in all.into_iter().flatten().enumerate() {
            let every = part.get("every").and_then(Value::as_u64).unwrap_or(0);
            let kind = part.get("kind").and_then(Value::as_str).unwrap_or(list);
            note(
                every > config.run.steps,
                format!(
                    "{list}[{i}].every: is {every}, so `{kind}` never {name} in a run of {} steps",
                    config.run.steps
                ),
            );
        }
    }
}
