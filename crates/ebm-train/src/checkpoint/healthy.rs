//! The last healthy states of a run, kept beside its checkpoints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ebm_core::{Error, Finding, Result, agree};
use ebm_model::checkpoint::{HEALTHY, MANIFEST, base_of, folder_of, list};

use crate::care::{Care, Return};
use crate::checkpoint;
use crate::checkpoint::content::Content;
use crate::checkpoint::disk::{Files, write_folder};
use crate::plan::Plan;
use crate::state::TrainState;

/// Fewest and most steps between states.
const STEPS: (u64, u64) = (16, 1024);

/// Whether a state is kept after `step`: eight times while the steps double.
pub(crate) fn is_due(step: u64) -> bool {
    let between = match (step / 8).checked_ilog2() {
        Some(power) => (1u64 << power).clamp(STEPS.0, STEPS.1),
        None => STEPS.0,
    };
    step > 0 && step.is_multiple_of(between)
}

/// The folder of healthy states beside that of the checkpoints.
pub(crate) fn folder(checkpoints: &Path) -> PathBuf {
    checkpoints.with_file_name(HEALTHY)
}

/// Where the healthy state of `step` lies.
pub(crate) fn at(checkpoints: &Path, step: u64) -> PathBuf {
    folder_of(&folder(checkpoints), step)
}

/// Keeps the state, which is healthy so far; the one kept before has proved so.
///
/// # Errors
/// If it cannot be written, on all ranks.
pub(crate) fn keep(plan: &Plan, state: &mut TrainState, checkpoints: &Path) -> Result<()> {
    let before = (state.care.healthy, state.care.candidate);
    state.care.healthy = state.care.candidate.or(state.care.healthy).or(Some(state.step));
    state.care.candidate = Some(state.step).filter(|step| Some(*step) != state.care.healthy);
    if let Err(e) = checkpoint::save(plan, state, &folder(checkpoints)) {
        (state.care.healthy, state.care.candidate) = before;
        return Err(e);
    }
    let swept = match plan.ranks().rank() {
        0 => sweep(state, checkpoints),
        _ => Ok(()),
    };
    agree(plan.ranks(), swept)
}

/// Removes states that are neither the healthy one nor the newest.
pub(crate) fn sweep(state: &TrainState, checkpoints: &Path) -> Result<()> {
    let kept = [state.care.healthy, state.care.candidate];
    for (step, path) in list(&folder(checkpoints)) {
        if !kept.contains(&Some(step)) {
            fs::remove_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}

/// Puts the healthy state in the place of `state`, with further factors on settings and new random numbers from then on.
///
/// # Errors
/// If it cannot be read, or a part refuses a setting that came out of its range, on any rank.
pub(crate) fn go_back(
    plan: &Plan,
    state: &mut TrainState,
    checkpoints: &Path,
    finding: &Finding,
    factors: &BTreeMap<String, f64>,
) -> Result<()> {
    let to = state.care.healthy.unwrap_or(0);
    let path = at(checkpoints, to);
    // Ranks that do not write know the folder by its text, and see the same files.
    let all = plan.ranks().gather(path.to_string_lossy().as_bytes())?;
    let named = all.first().map(|text| PathBuf::from(String::from_utf8_lossy(text).into_owned()));
    let path = if plan.ranks().rank() == 0 { path } else { named.unwrap_or(path) };
    let mut contents = agree(plan.ranks(), checkpoint::read(&path))?;
    let mut returns = std::mem::take(&mut state.care.returns);
    let mut all = returns.last().map_or_else(BTreeMap::new, |r: &Return| r.factors.clone());
    for (setting, factor) in factors {
        *all.entry(setting.clone()).or_insert(1.0) *= factor;
    }
    returns.push(Return { from: state.step, to, finding: finding.clone(), factors: all });
    let kept: Care = Care::restored(plan, &contents.manifest.care, to)?;
    let care = Care { returns, healthy: Some(to), candidate: None, watch: kept.watch, tuned: None };
    contents.manifest.care = care.saved()?;
    let (policies, keep) = (std::mem::take(&mut state.policies), state.keep);
    *state = agree(plan.ranks(), checkpoint::restore(plan, &contents))?;
    // What policies know of the steps that count no more is how often they were asked.
    (state.policies, state.keep, state.kept) = (policies, keep, None);
    Ok(())
}

/// Removes all healthy states, to make room for a checkpoint; whether there were any.
pub(crate) fn make_room(state: &mut TrainState, checkpoints: &Path) -> bool {
    (state.care.healthy, state.care.candidate) = (None, None);
    // What cannot be removed makes no room, and the checkpoint says so.
    fs::remove_dir_all(folder(checkpoints)).is_ok()
}

/// Makes the healthy state of `step` the newest checkpoint of a run that ended ill, and sets later ones aside.
///
/// # Errors
/// If a file cannot be read or written.
pub(crate) fn leave(plan: &Plan, checkpoints: &Path, step: u64) -> Result<PathBuf> {
    let (from, to) = (at(checkpoints, step), folder_of(checkpoints, step));
    let mut manifest = ebm_model::checkpoint::manifest(&from)?;
    manifest.base = base_of(&to, &plan.places);
    let mut files = Vec::new();
    for name in manifest.files.keys() {
        files.push((name.as_str(), Content::Copy(from.join(name))));
    }
    files.push((MANIFEST, Content::Bytes(manifest.sealed()?)));
    write_folder(&Files, &to, &files)?;
    for (_, path) in later(checkpoints, step) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let aside = checkpoints.join(format!("ill-{name}"));
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(|e| Error::io(&aside, e))?;
        }
        fs::rename(&path, &aside).map_err(|e| Error::io(&path, e))?;
    }
    Ok(to)
}

/// Removes the checkpoints after `step`, newest last, so that what is left after a crash goes on to the same end.
///
/// # Errors
/// If one cannot be removed.
pub(crate) fn forget_later(checkpoints: &Path, step: u64) -> Result<()> {
    later(checkpoints, step)
        .try_for_each(|(_, path)| fs::remove_dir_all(&path).map_err(|e| Error::io(&path, e)))
}

fn later(checkpoints: &Path, step: u64) -> impl Iterator<Item = (u64, PathBuf)> {
    list(checkpoints).into_iter().filter(move |(s, _)| *s > step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_kept_at_steps_that_do_not_depend_on_the_length_of_a_run() {
        let due = |from: u64, to: u64| (from..=to).filter(|s| is_due(*s)).collect::<Vec<_>>();
        assert_eq!(due(0, 100), [16, 32, 48, 64, 80, 96]);
        assert_eq!(due(256, 512), (256..=512).step_by(32).collect::<Vec<_>>());
        assert_eq!(due(100_000, 103_000), [100_352, 101_376, 102_400]);
        assert_eq!(due(0, 20_000).len(), 67);
    }
}
