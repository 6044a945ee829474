//! The loop: steps, observers, policies, checkpoints, and the ways a run can end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ebm_core::{Action, Collective, Error, Event, Observer, Report, Result, RunPaths, agree};
pub use ebm_model::checkpoint::checkpoints_of;
use serde::Serialize;

use crate::checkpoint;
use crate::disk::{Files, write_file};
use crate::plan::Plan;
use crate::state::TrainState;
use crate::step::step_or_stop;
use crate::view::View;

/// Consecutive batches that may be left out because a number was not finite; one more ends the run.
pub const PATIENCE: u32 = 3;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "reason")]
pub enum Outcome {
    /// All steps are done.
    Done,
    /// A policy ended it early in good order.
    Finished(String),
    /// The stop flag was set, or the limit of this call reached.
    Interrupted,
    /// A number was not finite again and again, or a policy stopped it.
    Diverged(String),
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Updates so far.
    pub step: u64,
    /// Updates of this call.
    pub steps_now: u64,
    /// Wall time of this call.
    pub seconds: f64,
    /// Batches left out so far because a number was not finite.
    pub skipped: u64,
    /// The last report.
    pub last: Report,
    /// The last checkpoint written.
    pub checkpoint: Option<PathBuf>,
    /// Observers that failed and were detached, with their errors.
    pub detached: Vec<String>,
}

/// Where a run writes and when it stops.
#[derive(Default)]
pub struct Options<'a> {
    /// The run directory; without one nothing is written.
    pub directory: Option<&'a Path>,
    /// Finish the step, save and return when this becomes true.
    pub stop: Option<&'a AtomicBool>,
    /// Return after the update of this number, as if interrupted.
    pub until: Option<u64>,
    /// See what happens; those of the configuration come from [`observers`].
    pub observers: Vec<Box<dyn Observer>>,
}

/// Builds the observers of a configuration, which write below `directory`.
///
/// # Errors
/// If one cannot be built.
pub fn observers(plan: &Plan, directory: &Path) -> Result<Vec<Box<dyn Observer>>> {
    let paths = RunPaths::new(directory);
    let all = plan.config.observers.iter().enumerate();
    all.map(|(i, o)| o.build(&paths.clone().with_path(format!("observer[{i}]")))).collect()
}

/// Writes what describes a run into its directory: `config.toml` (complete) and `versions.json`.
///
/// # Errors
/// If a file cannot be written.
pub fn prepare(plan: &Plan, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(|e| Error::io(directory, e))?;
    write_file(&Files, &directory.join("config.toml"), plan.text.as_bytes())?;
    write_json(&directory.join("versions.json"), &checkpoint::versions())
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| Error::plugin("run directory", e))?;
    write_file(&Files, path, &text)
}

/// The state of the newest whole checkpoint of a run, and the damaged ones that were passed over.
///
/// # Errors
/// If there is none, or it belongs to another configuration, on any rank.
pub fn resume(plan: &Plan, directory: &Path) -> Result<(TrainState, Vec<(PathBuf, String)>)> {
    let read = || {
        let found = checkpoint::newest(&checkpoints_of(directory))?;
        Ok((checkpoint::restore(plan, &found.contents)?, found.damaged))
    };
    agree(plan.ranks(), read())
}

/// Runs steps until the end of the run, a stop, or a policy's word.
///
/// With a directory, a checkpoint is written at the end unless the run diverged (then
/// `diverged.json` has the reason and the last report), and `summary.json` in any case.
///
/// With several ranks all of them call it, and the first alone is given a directory and observers.
///
/// # Errors
/// If a part fails for another reason than a number that is not finite, or a file cannot be written.
pub fn run(plan: &Plan, state: &mut TrainState, options: Options<'_>) -> Result<Summary> {
    let ranks = plan.ranks();
    let prepared = options.directory.map_or(Ok(()), |directory| prepare(plan, directory));
    agree(ranks, prepared.and_then(|()| checkpoint::same_everywhere(plan, state)))?;
    let (saves, reports) = wishes(ranks, options.directory, &options.observers)?;
    let mut course = Course {
        plan,
        saves,
        reports,
        directory: options.directory,
        observers: options.observers,
        detached: Vec::new(),
        checkpoint: None,
        keep: (3, 0),
        last: Report { step: state.step, of: plan.config.run.steps, ..Report::default() },
    };
    let began = Instant::now();
    let first = state.step;
    let directory = options.directory.unwrap_or(Path::new(""));
    let (of, name) = (plan.config.run.steps, plan.config.run.name.as_str());
    course.tell(&Event::Start { step: first, of, name, directory });
    let outcome = course.steps(state, options.stop, options.until)?;
    let diverged = matches!(outcome, Outcome::Diverged(_));
    if !diverged && course.checkpoint.as_ref().is_none_or(|(step, _)| *step != state.step) {
        course.save(state)?;
    }
    let reason = match &outcome {
        Outcome::Done => "done",
        Outcome::Interrupted => "interrupted",
        Outcome::Finished(why) | Outcome::Diverged(why) => why,
    };
    let last = course.last.clone();
    course.tell(&Event::Finish { report: &last, reason, view: &View::new(plan, state) });
    let summary = Summary {
        outcome,
        step: state.step,
        steps_now: state.step - first,
        seconds: began.elapsed().as_secs_f64(),
        skipped: state.attempts - state.step,
        last,
        checkpoint: course.checkpoint.map(|(_, path)| path).filter(|_| options.directory.is_some()),
        detached: course.detached,
    };
    if let Some(directory) = options.directory {
        // A run that moves with its folder must not name where it was.
        let checkpoint = summary.checkpoint.as_deref();
        let checkpoint = checkpoint.map(|path| path.strip_prefix(directory).unwrap_or(path).to_path_buf());
        let kept = Summary { checkpoint, ..summary.clone() };
        write_json(&directory.join("summary.json"), &kept)?;
        if diverged {
            write_json(&directory.join("diverged.json"), &kept)?;
        }
    }
    Ok(summary)
}

/// What rank 0 wants, on all ranks: whether the run is saved, and how often its observers want gradient norms.
fn wishes(
    ranks: &dyn Collective,
    directory: Option<&Path>,
    observers: &[Box<dyn Observer>],
) -> Result<(bool, Vec<u64>)> {
    let mine: Vec<u64> = observers.iter().map(|o| o.report_every()).collect();
    if ranks.size() == 1 {
        return Ok((directory.is_some(), mine));
    }
    let text = serde_json::to_vec(&(directory.is_some(), mine)).map_err(|e| Error::plugin("ranks", e))?;
    serde_json::from_slice(&ranks.gather(&text)?[0]).map_err(|e| Error::plugin("ranks", e))
}

/// A run on its way.
struct Course<'a> {
    plan: &'a Plan,
    /// Whether the run is saved, on whatever rank.
    saves: bool,
    /// How often observers, on whatever rank, want gradient norms a term.
    reports: Vec<u64>,
    directory: Option<&'a Path>,
    observers: Vec<Box<dyn Observer>>,
    detached: Vec<String>,
    checkpoint: Option<(u64, PathBuf)>,
    keep: (usize, u64),
    last: Report,
}

impl Course<'_> {
    fn steps(
        &mut self,
        state: &mut TrainState,
        stop: Option<&AtomicBool>,
        until: Option<u64>,
    ) -> Result<Outcome> {
        let mut failures = 0;
        let mut stopping = false;
        while state.step < self.plan.config.run.steps {
            let stopped = stop.is_some_and(|s| s.load(Ordering::Relaxed));
            // One of several ranks may not stop before the others know: they hear of it in the step.
            stopping |= stopped && self.plan.ranks().size() == 1;
            if stopping || until.is_some_and(|u| state.step >= u) {
                return Ok(Outcome::Interrupted);
            }
            match step_or_stop(self.plan, state, self.expensive(state.step + 1), stopped) {
                Ok((report, heard)) => {
                    failures = 0;
                    stopping = heard;
                    self.last = report;
                }
                Err(e @ Error::Numeric { .. }) => {
                    failures += 1;
                    tracing::warn!("left a batch out: {e}");
                    if failures > PATIENCE {
                        return Ok(Outcome::Diverged(format!("{e} ({failures} batches in a row)")));
                    }
                    state.skip(self.plan);
                    continue;
                }
                Err(e) => return Err(e),
            }
            let report = self.last.clone();
            self.tell(&Event::Step { report: &report, view: &View::new(self.plan, state) });
            if let Some(outcome) = self.policies(state)? {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Done)
    }

    /// Whether the run or an observer wants gradient norms a term at this step.
    fn expensive(&self, step: u64) -> bool {
        let wants = |every: u64| every > 0 && step.is_multiple_of(every);
        self.plan.expensive_at(step) || self.reports.iter().any(|every| wants(*every))
    }

    /// Asks every policy and does what they say.
    fn policies(&mut self, state: &mut TrainState) -> Result<Option<Outcome>> {
        let mut seen = self.last.clone();
        if self.plan.ranks().size() > 1 {
            // Wall times differ from rank to rank, and decisions must not.
            seen.values.retain(|name, _| !name.starts_with("seconds"));
        }
        let mut actions = Vec::new();
        for (policy, memory) in self.plan.policies.iter().zip(&mut state.policies) {
            actions.extend(policy.decide(memory, &seen)?);
        }
        let mut end = None;
        let mut save = false;
        for action in actions {
            match action {
                Action::Checkpoint => save = true,
                Action::Keep { last, every } => self.keep = (last, every),
                Action::ScaleRate(factor) => state.rate_factor *= factor,
                Action::Stop(why) => end = Some(Outcome::Diverged(why)),
                // A divergence outweighs an end in good order.
                Action::Finish(why) => end = end.or(Some(Outcome::Finished(why))),
                other => tracing::warn!("an action of a policy is unknown to this version: {other:?}"),
            }
        }
        // All actions of the step are in the state by now, so the checkpoint continues exactly.
        if save && !matches!(end, Some(Outcome::Diverged(_))) {
            self.save(state)?;
        }
        Ok(end)
    }

    fn save(&mut self, state: &TrainState) -> Result<()> {
        if !self.saves {
            return Ok(());
        }
        let folder = checkpoints_of(self.directory.unwrap_or(Path::new("")));
        let path = checkpoint::save(self.plan, state, &folder)?;
        let pruned = self.directory.map_or(Ok(()), |_| checkpoint::prune(&folder, self.keep.0, self.keep.1));
        agree(self.plan.ranks(), pruned)?;
        self.checkpoint = Some((state.step, path.clone()));
        self.tell(&Event::Checkpoint { step: state.step, path: &path });
        Ok(())
    }

    /// Tells every observer; one that fails is reported and detached.
    fn tell(&mut self, event: &Event<'_>) {
        let detached = &mut self.detached;
        self.observers.retain_mut(|o| match o.on(event) {
            Ok(()) => true,
            Err(e) => {
                tracing::warn!("observer `{}` failed and is detached: {e}", o.name());
                detached.push(format!("{}: {e}", o.name()));
                false
            }
        });
    }
}
