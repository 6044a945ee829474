//! Checkpoints as a training writes them and goes on from them: the whole state, with a digest of every file. What is in
//! them stands in [`ebm_model::checkpoint`].

pub(crate) mod content;
pub(crate) mod disk;
pub(crate) mod healthy;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ebm_core::candle::Tensor;
use ebm_core::{Error, OptimiserState, Result, agree, catalogue};
use ebm_model::checkpoint::{
    CONFIG, Depth, FORMAT, LastReport, MANIFEST, Newest, OPTIMISER, REPLAY, REPORT, STATE, base_of,
    entries_of, name_in, tensors,
};
pub use ebm_model::checkpoint::{Contents, Manifest, folder_of, list};
use ebm_model::digest::{self, config_digest, sha256};

use crate::care::Care;
use crate::checkpoint::content::{Content, Tensors};
use crate::checkpoint::disk::{Disk, Files, write_folder};
use crate::config::{RunConfig, tree_of};
use crate::plan::Plan;
use crate::state::TrainState;
use crate::step::fulfil::OBJECTIVE;

/// The crates that brought plugins, with versions.
pub fn versions() -> BTreeMap<String, String> {
    catalogue::components().into_iter().map(|c| (c.origin.to_string(), c.version.to_string())).collect()
}

/// Writes the state as a checkpoint below `folder` and returns its path. With several ranks all of them call it; the
/// first writes what all of them hold, in the form that one rank would write.
///
/// # Errors
/// If it cannot be written, on all ranks; older checkpoints stay as they are.
pub fn save(plan: &Plan, state: &TrainState, folder: &Path) -> Result<PathBuf> {
    agree(plan.ranks(), same_everywhere(plan, state))?;
    let written = match collected(plan, state)? {
        Some(held) => save_on(&Files, plan, state, &held, folder),
        None => Ok(folder_of(folder, state.step)),
    };
    agree(plan.ranks(), written)
}

/// Checks that all ranks have the same settings and the same weights.
///
/// # Errors
/// If not.
pub(crate) fn same_everywhere(plan: &Plan, state: &TrainState) -> Result<()> {
    if plan.ranks().size() == 1 {
        return Ok(());
    }
    let all: BTreeMap<String, Tensor> =
        state.params.names().filter_map(|n| Some((n.to_string(), state.params.get(n)?.clone()))).collect();
    let settings = plan.ranks().gather(sha256(plan.text().as_bytes()).as_bytes())?;
    if let Some(rank) = settings.iter().position(|d| *d != settings[0]) {
        let message = format!("rank {rank} has other settings than rank 0; give all the same configuration");
        return Err(Error::plugin("ranks", message));
    }
    let digests = plan.ranks().gather(Content::Tensors(Tensors::new(&all)?).sha256()?.as_bytes())?;
    match digests.iter().position(|d| *d != digests[0]) {
        None => Ok(()),
        Some(rank) => Err(Error::plugin(
            "ranks",
            format!(
                "rank {rank} has other weights than rank 0 at step {}; run all on processors of one kind and one build",
                state.step
            ),
        )),
    }
}

/// What shards keep besides the weights, of all ranks.
struct Held {
    replay: Option<BTreeMap<String, Tensor>>,
    sampler: BTreeMap<String, Tensor>,
}

/// What the shards of all ranks keep, on rank 0.
fn collected(plan: &Plan, state: &TrainState) -> Result<Option<Held>> {
    let ranks = plan.ranks();
    let replay = state.replay.as_ref().map(crate::chains::Replay::save).transpose()?;
    if ranks.size() == 1 {
        return Ok(Some(Held { replay, sampler: state.sampler.clone() }));
    }
    // Of ranks that share a shard, the first speaks.
    let speaks = ranks.rank().is_multiple_of(plan.layout.sharers);
    let mine = |all: Option<&BTreeMap<String, Tensor>>| match all {
        Some(all) if speaks => bytes(all),
        _ => Ok(Vec::new()),
    };
    let merged = |all: Vec<Vec<u8>>| -> Result<BTreeMap<String, Tensor>> {
        let mut out = BTreeMap::new();
        for bytes in all.iter().filter(|b| !b.is_empty()) {
            out.extend(tensors(bytes)?);
        }
        Ok(out)
    };
    let sampler = ranks.collect(mine(Some(&state.sampler))?)?;
    let buffers = ranks.collect(mine(replay.as_ref())?)?;
    let (Some(sampler), Some(buffers)) = (sampler, buffers) else { return Ok(None) };
    let replay = replay.map(|_| merged(buffers)).transpose()?;
    Ok(Some(Held { replay, sampler: merged(sampler)? }))
}

fn save_on(disk: &dyn Disk, plan: &Plan, state: &TrainState, held: &Held, folder: &Path) -> Result<PathBuf> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for name in state.params.names() {
        if let Some(t) = state.params.get(name) {
            tensors.insert(stored(plan, "params", name), t.clone());
        }
    }
    for (name, t) in state.average.iter().flatten() {
        tensors.insert(stored(plan, "average", name), t.clone());
    }
    let mut add = |prefix: &str, part: &BTreeMap<String, Tensor>| {
        tensors.extend(part.iter().map(|(k, v)| (format!("{prefix}.{k}"), v.clone())));
    };
    add("sampler", &held.sampler);
    let facts = &plan.facts;
    let kept = [("conditions", &facts.conditions), ("reference", &facts.reference), ("mean", &facts.mean)];
    add("facts", &kept.into_iter().filter_map(|(k, v)| Some((k.to_string(), v.clone()?))).collect());
    let moments =
        state.optimiser.tensors.iter().map(|(k, v)| (format!("optimiser.{k}"), v.clone())).collect();

    let packed = |of: &BTreeMap<String, Tensor>| Tensors::new(of).map(Content::Tensors);
    let config = Content::Bytes(plan.text.clone().into_bytes());
    let mut files = vec![(STATE, packed(&tensors)?), (OPTIMISER, packed(&moments)?), (CONFIG, config)];
    if let Some(replay) = &held.replay {
        files.push((REPLAY, packed(replay)?));
    }
    if !state.last.values.is_empty() {
        let report = serde_json::to_vec(&LastReport::new(&state.last, state.untold, state.keep));
        let report = report.map_err(|e| Error::plugin("checkpoint", e))?;
        files.push((REPORT, Content::Bytes(report)));
    }
    let path = folder_of(folder, state.step);
    let manifest = Manifest {
        format: FORMAT,
        step: state.step,
        attempts: state.attempts,
        epoch: state.epoch,
        cursor: state.cursor,
        optimiser_step: state.optimiser.step,
        rate_factor: state.rate_factor,
        policies: plan.policies.iter().map(|p| p.name()).zip(state.policies.iter().cloned()).collect(),
        care: state.care.saved()?,
        average: state.average.is_some(),
        sample_shape: facts.sample_shape.clone(),
        condition: facts.condition,
        class_names: facts.class_names.clone(),
        class_counts: facts.class_counts.clone(),
        data: Some(plan.fingerprint()?.clone()),
        range: facts.range,
        seen: facts.seen,
        domain: facts.domain,
        levels: facts.levels,
        columns: facts.columns.clone(),
        base: base_of(&path, &plan.places),
        config_digest: config_digest(&plan.tree),
        crates: versions(),
        files: files
            .iter()
            .map(|(name, content)| Ok(((*name).to_string(), content.sha256()?)))
            .collect::<Result<_>>()?,
    };
    files.push((MANIFEST, Content::Bytes(manifest.sealed()?)));
    write_folder(disk, &path, &files)?;
    Ok(path)
}

/// Name of a tensor of the state: those of the energy stand alone under `part`, for who opens a run without its objective.
fn stored(plan: &Plan, part: &str, name: &str) -> String {
    match name.strip_prefix(OBJECTIVE).and_then(|n| n.strip_prefix('.')) {
        Some(own) if plan.parts.energy.params().get(name).is_none() => format!("{OBJECTIVE}.{part}.{own}"),
        _ => format!("{part}.{name}"),
    }
}

/// Tensors as the bytes of a safetensors file.
pub(crate) fn bytes(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    safetensors::serialize(tensors.iter().map(|(k, v)| (k.as_str(), v)), None)
        .map_err(|e| Error::plugin("checkpoint", e))
}

/// Reads all of a checkpoint and checks every file against its digest.
///
/// # Errors
/// [`Error::Data`] with the file and what is wrong with it.
pub fn read(path: &Path) -> Result<Contents> {
    ebm_model::checkpoint::read(path, Depth::Whole)
}

/// Finds the newest whole checkpoint below `folder`.
///
/// # Errors
/// If there is none; the message has the reason for each that was refused.
pub fn newest(folder: &Path) -> Result<Newest> {
    ebm_model::checkpoint::newest(folder, Depth::Whole)
}

/// Refuses data that are not those of the checkpoint, unless others are meant.
fn same_data(plan: &Plan, contents: &Contents) -> Result<()> {
    let Some(was) = contents.manifest.data.as_ref().filter(|_| !plan.purpose.takes_other_data()) else {
        return Ok(());
    };
    let now = plan.fingerprint()?;
    let name = plan.data.name();
    let difference = match (was.samples, now.samples) {
        (was, now) if was != now => format!("{was} training samples of {name}, and there are {now} now"),
        _ if *was == *now => return Ok(()),
        (n, _) => format!("{n} training samples of {name}, of which some have other values now"),
    };
    let place = contents.path.display().to_string();
    Err(Error::OtherData { place, difference })
}

/// Refuses data that give a class of the checkpoint another number: its weights know classes by their numbers.
fn same_classes(plan: &Plan, contents: &Contents) -> Result<()> {
    let (was, now) = (&contents.manifest.class_names, &plan.facts.class_names);
    let place = |name: &String| now.iter().position(|n| n == name);
    let moved = was
        .iter()
        .enumerate()
        .find_map(|(old, name)| Some((old, name, place(name).filter(|new| *new != old)?)));
    let Some((old, name, new)) = moved.filter(|_| plan.facts.condition > 0) else { return Ok(()) };
    Err(Error::config(
        "data",
        format!(
            "has the class `{name}` as number {new}, which is number {old} in the checkpoint {}: name data with the classes {} in this order",
            contents.path.display(),
            was.join(", ")
        ),
    ))
}

/// Refuses a table whose numbers stand for others than those of the checkpoint: its weights know the numbers that stand for cells.
fn same_columns(plan: &Plan, contents: &Contents) -> Result<()> {
    let Some(difference) = contents.manifest.columns.difference(&plan.facts.columns) else { return Ok(()) };
    Err(Error::config(
        "data",
        format!(
            "has other columns than the checkpoint {}: {difference}, the checkpoint's first; name the table that the run was trained on, or train anew",
            contents.path.display()
        ),
    ))
}

/// The state of a checkpoint, written into the plan's energy.
///
/// # Errors
/// If the checkpoint belongs to another configuration (naming the settings) or to another network.
pub fn restore(plan: &Plan, contents: &Contents) -> Result<TrainState> {
    let m = &contents.manifest;
    if m.config_digest != config_digest(&plan.tree) {
        // A program before this one did not write the settings that came since; what they are without being written is
        // what it did.
        let written = RunConfig::from_toml(&contents.config).and_then(|c| c.tree());
        let written = written.or_else(|_| tree_of(&contents.config))?;
        let all = digest::essential_differences(&written, &plan.tree);
        if !all.is_empty() {
            return Err(Error::config(
                "configuration",
                format!(
                    "does not fit the checkpoint {}: {}. Only steps, names, devices, observers, policies and [generate] may change in a continuation",
                    contents.path.display(),
                    all.join("; ")
                ),
            ));
        }
    }
    same_data(plan, contents)?;
    same_classes(plan, contents)?;
    same_columns(plan, contents)?;
    keeps_schedules(plan, contents)?;
    let layout = &plan.layout;
    let own = |shard: usize| {
        let all = entries_of(shard, layout.shards, &contents.part("sampler"));
        all.into_iter().map(move |(k, v)| (name_in(shard, layout.shards, &k), v))
    };
    let memories: BTreeMap<String, Tensor> = layout.mine.iter().flat_map(|share| own(share.shard)).collect();
    let here = |t: BTreeMap<String, Tensor>| -> Result<BTreeMap<String, Tensor>> {
        t.into_iter().map(|(k, v)| Ok((k, v.to_device(&plan.device)?))).collect()
    };
    // What is of the objective itself goes under its name again.
    let whole = |part: &str| {
        let own = contents.part(&format!("{OBJECTIVE}.{part}"));
        let own = own.into_iter().map(|(name, t)| (format!("{OBJECTIVE}.{name}"), t));
        here(contents.part(part).into_iter().chain(own).collect())
    };
    let care = Care::restored(plan, &m.care, m.step)?;
    let params = care.tuned.as_ref().map_or(&plan.params, |tuned| &tuned.params).clone();
    params.restore(&whole("params")?)?;
    let average = m.average.then(|| whole("average")).transpose()?;
    let mut replay = plan.empty_replay()?;
    match (&mut replay, &contents.replay) {
        (Some(buffer), Some(saved)) => buffer.load(saved)?,
        (None, None) => {}
        (Some(_), None) => {
            return Err(Error::data(&contents.path, "has no replay buffer, but the run has one"));
        }
        (None, Some(_)) => {
            return Err(Error::data(&contents.path, "has a replay buffer, but the run has none"));
        }
    }
    let remembered = |i: usize, name: &str| {
        // Policies may change in a continuation; one that stands at another place or is new starts afresh.
        m.policies.get(i).filter(|(n, _)| n == name).map_or(serde_json::Value::Null, |(_, v)| v.clone())
    };
    Ok(TrainState {
        step: m.step,
        attempts: m.attempts,
        epoch: m.epoch,
        cursor: m.cursor,
        params,
        average,
        optimiser: OptimiserState { step: m.optimiser_step, tensors: here(contents.part("optimiser"))? },
        replay,
        sampler: here(memories)?,
        policies: plan.policies.iter().enumerate().map(|(i, p)| remembered(i, &p.name())).collect(),
        rate_factor: m.rate_factor,
        care,
        last: contents.last.clone().unwrap_or_default().report(m.step, plan.config.run.steps),
        untold: contents.last.as_ref().is_some_and(|last| last.untold),
        keep: contents.last.as_ref().and_then(|last| last.keep),
        kept: Some(contents.path.clone()),
    })
}

/// Refuses another length of a run whose schedules go over it: in the middle of the run, rates or weights would jump.
///
/// # Errors
/// Says from what to what, and which setting decides.
fn keeps_schedules(plan: &Plan, contents: &Contents) -> Result<()> {
    let (step, new) = (contents.manifest.step, plan.config.run.schedule());
    let run = &tree_of(&contents.config)?["run"];
    let Some(old) = run["schedule_steps"].as_u64().or(run["steps"].as_u64()).filter(|old| *old != new) else {
        return Ok(());
    };
    let last = plan.optimiser.rate(old, old);
    let at_its_end = match last == 0.0 {
        true => "where the learning rate is 0 and nothing is learnt".to_string(),
        false => format!("where the learning rate is {last:.4e}"),
    };
    let choose = format!(
        "set run.schedule_steps to {old} to keep schedules as they were (beyond it they stay at their end, {at_its_end}), or to {new} \
         to stretch them"
    );
    let (was, is) = (plan.optimiser.rate(step, old), plan.optimiser.rate(step, new));
    // Who names a length for schedules has decided.
    if plan.config.run.schedule_steps.is_some() {
        return Ok(());
    }
    let what = match was == is {
        false => format!(
            "the learning rate follows the length of the run and would jump from {was:.4e} to {is:.4e}"
        ),
        true if plan.objective.scheduled() => {
            "weights of the objective follow the length of the run and would jump".into()
        }
        true if plan.config.schedules.iter().any(|s| s.end.is_none()) => {
            "scheduled settings follow the length of the run and would jump".into()
        }
        true => return Ok(()),
    };
    Err(Error::config(
        "run.steps",
        format!("is {new}, and the run was planned for {old}: at step {step} {what}; {choose}"),
    ))
}

/// Removes all but the newest `last` checkpoints up to step `now` and those whose step is a multiple of `every` (0: none). One of
/// a later step was passed over because it is damaged, and counts for nothing.
///
/// # Errors
/// If a folder cannot be removed.
pub fn prune(folder: &Path, now: u64, last: usize, every: u64) -> Result<()> {
    let mut all = list(folder);
    all.retain(|(step, _)| *step <= now);
    let spare = all.len().saturating_sub(last.max(1));
    for (step, path) in &all[..spare] {
        if every == 0 || step % every != 0 {
            // Hidden first: half of a checkpoint is never seen as one.
            let gone = folder.join(format!(".step-{step:08}.partial"));
            fs::rename(path, &gone).map_err(|e| Error::io(path, e))?;
            fs::remove_dir_all(&gone).map_err(|e| Error::io(&gone, e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A disk with room for so many bytes.
    struct Full(AtomicUsize);

    impl Disk for Full {
        fn write(&self, path: &Path, content: &Content) -> io::Result<()> {
            let mut bytes = Vec::new();
            content.pieces(&mut |piece| io::Write::write_all(&mut bytes, piece))?;
            let room = self.0.load(Ordering::Relaxed);
            let n = bytes.len().min(room);
            self.0.store(room - n, Ordering::Relaxed);
            fs::write(path, &bytes[..n])?;
            if n < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_full_disk_leaves_the_old_checkpoint_and_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = folder_of(dir.path(), 5);
        let files = |byte: u8| ["a", "b"].map(|name| (name, Content::Bytes(vec![byte; 100])));
        write_folder(&Files, &path, &files(1)).unwrap();
        for room in [0, 50, 150, 199] {
            let e = write_folder(&Full(AtomicUsize::new(room)), &path, &files(2)).unwrap_err();
            assert!(
                matches!(&e, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
                "{e}"
            );
            assert!(e.to_string().contains("step-00000005"), "{e}");
            assert_eq!(fs::read(path.join("b")).unwrap(), [1; 100]);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half-written is left");
        }
        write_folder(&Full(AtomicUsize::new(200)), &path, &files(2)).unwrap();
        assert_eq!(fs::read(path.join("b")).unwrap(), [2; 100]);
    }
}
