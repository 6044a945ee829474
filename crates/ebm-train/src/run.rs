//! The loop: steps, observers, policies, checkpoints, and the ways a run can end.

mod mend;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ebm_core::{Action, Collective, Error, Event, Finding, Level, Observer, Report, Result, RunPaths, agree};
use ebm_health::Health;
pub use ebm_model::checkpoint::checkpoints_of;
use serde::Serialize;

use crate::care::Return;
use crate::checkpoint;
use crate::disk::{Files, write_file};
use crate::healthy;
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
    /// All steps are done, or a policy ended it early, but it is ill: the finding.
    Ill(String),
    /// A policy ended it early in good order.
    Finished(String),
    /// The stop flag was set, or the limit of this call reached.
    Interrupted,
    /// It was beyond repair, or a policy stopped it: the finding.
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
    /// Whether it is well, with all that was found.
    pub health: Health,
    /// The times that it went back to a healthy state.
    pub returns: Vec<Return>,
    /// The last checkpoint written.
    pub checkpoint: Option<PathBuf>,
    /// The last state that has proved healthy.
    pub healthy: Option<PathBuf>,
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
    /// Judge the run, but neither stop it for what was found nor keep healthy states, whatever `run.guard` says.
    pub watch_only: bool,
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
/// With a directory, a checkpoint is written at the end unless the run diverged (then the newest checkpoint is its last
/// healthy state, and `diverged.json` has the reason and the last report), and `summary.json` in any case.
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
        guarded: plan.config.run.guard && !options.watch_only,
        keeps: saves && plan.config.run.guard && !options.watch_only,
        warned: false,
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
    course.first_healthy(state)?;
    course.tell(&Event::Start { step: first, of, name, directory });
    let outcome = course.course(state, options.stop, options.until)?;
    let diverged = matches!(outcome, Outcome::Diverged(_));
    if !diverged && course.checkpoint.as_ref().is_none_or(|(step, _)| *step != state.step) {
        course.save(state)?;
    }
    let reason = match &outcome {
        Outcome::Done => "done",
        Outcome::Interrupted => "interrupted",
        Outcome::Finished(why) | Outcome::Ill(why) | Outcome::Diverged(why) => why,
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
        health: state.health(plan),
        returns: state.returns().to_vec(),
        healthy: match (diverged, options.directory, state.care.healthy) {
            (true, Some(_), Some(_)) => course.checkpoint.as_ref().map(|(_, path)| path.clone()),
            (false, Some(d), Some(step)) => {
                Some(healthy::at(&checkpoints_of(d), step)).filter(|p| p.is_dir())
            }
            _ => None,
        },
        checkpoint: course.checkpoint.map(|(_, path)| path).filter(|_| options.directory.is_some()),
        detached: course.detached,
    };
    if let Some(directory) = options.directory {
        // A run that moves with its folder must not name where it was.
        let below = |path: &PathBuf| path.strip_prefix(directory).unwrap_or(path).to_path_buf();
        let (checkpoint, healthy) =
            (summary.checkpoint.as_ref().map(below), summary.healthy.as_ref().map(below));
        let kept = Summary { checkpoint, healthy, ..summary.clone() };
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

/// How the steps ended.
enum Ended {
    /// In good order, as far as policies and signals go.
    Well(Outcome),
    /// By something that is beyond repair, or a policy's bound.
    Beyond(Finding),
}

/// A run on its way.
struct Course<'a> {
    plan: &'a Plan,
    /// Whether healthy states are kept, and the run is stopped where it is beyond repair.
    guarded: bool,
    /// Whether healthy states are kept.
    keeps: bool,
    /// Whether it was warned that the run looks ill.
    warned: bool,
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
    /// Steps until an end that nothing mends.
    fn course(
        &mut self,
        state: &mut TrainState,
        stop: Option<&AtomicBool>,
        until: Option<u64>,
    ) -> Result<Outcome> {
        loop {
            let (ended, finding) = match self.steps(state, stop, until)? {
                Ended::Well(outcome) => (outcome, None),
                Ended::Beyond(finding) => (Outcome::Diverged(finding.to_string()), Some(finding)),
            };
            // A run that did its steps is judged as a whole.
            let finding = match (&ended, finding) {
                (Outcome::Done | Outcome::Finished(_), None) => {
                    let health = state.health(self.plan);
                    health.worst().filter(|worst| worst.level == Level::Ill).cloned()
                }
                (_, finding) => finding,
            };
            let Some(finding) = finding else { return Ok(ended) };
            if self.go_back(state, &finding)? {
                continue;
            }
            if !matches!(ended, Outcome::Diverged(_)) {
                return Ok(Outcome::Ill(finding.to_string()));
            }
            state.care.watch.end_by(finding);
            self.leave_healthy(state)?;
            return Ok(ended);
        }
    }

    fn steps(
        &mut self,
        state: &mut TrainState,
        stop: Option<&AtomicBool>,
        until: Option<u64>,
    ) -> Result<Ended> {
        let mut failures = 0;
        let mut stopping = false;
        while state.step < self.plan.config.run.steps {
            let stopped = stop.is_some_and(|s| s.load(Ordering::Relaxed));
            // One of several ranks may not stop before the others know: they hear of it in the step.
            stopping |= stopped && self.plan.ranks().size() == 1;
            if stopping || until.is_some_and(|u| state.step >= u) {
                return Ok(Ended::Well(Outcome::Interrupted));
            }
            let found = match step_or_stop(self.plan, state, self.expensive(state.step + 1), stopped) {
                Ok((mut report, heard)) => {
                    failures = 0;
                    stopping = heard;
                    if !state.care.returns.is_empty() {
                        report.values.insert("rolled_back".into(), state.care.returns.len() as f64);
                    }
                    let found = state.care.watch.see(&self.plan.watched, &report);
                    self.last = report;
                    found.filter(|_| self.guarded)
                }
                Err(e @ Error::Numeric { .. }) => {
                    failures += 1;
                    tracing::warn!("left a batch out: {e}");
                    let (watch, facts) = (&mut state.care.watch, &self.plan.watched);
                    let found = watch.left_out(facts, &e.to_string(), failures, PATIENCE);
                    if let Some(finding) = found.filter(|_| self.guarded || failures > PATIENCE) {
                        return Ok(Ended::Beyond(finding));
                    }
                    state.skip(self.plan);
                    continue;
                }
                Err(e) => return Err(e),
            };
            let report = self.last.clone();
            self.tell(&Event::Step { report: &report, view: &View::new(self.plan, state) });
            if let Some(finding) = found {
                return Ok(Ended::Beyond(finding));
            }
            if let Some(end) = self.policies(state)? {
                return Ok(end);
            }
        }
        Ok(Ended::Well(Outcome::Done))
    }

    /// Whether the run or an observer wants gradient norms a term at this step.
    fn expensive(&self, step: u64) -> bool {
        let wants = |every: u64| every > 0 && step.is_multiple_of(every);
        self.plan.expensive_at(step) || self.reports.iter().any(|every| wants(*every))
    }

    /// Asks every policy and does what they say.
    fn policies(&mut self, state: &mut TrainState) -> Result<Option<Ended>> {
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
                Action::Stop(why) => {
                    end = Some(Ended::Beyond(state.care.watch.bound_left(&self.plan.watched, &why)));
                }
                // A divergence outweighs an end in good order.
                Action::Finish(why) => end = end.or(Some(Ended::Well(Outcome::Finished(why)))),
                other => tracing::warn!("an action of a policy is unknown to this version: {other:?}"),
            }
        }
        if matches!(end, Some(Ended::Beyond(_))) {
            return Ok(end);
        }
        // All actions of the step are in the state by now, so what is kept continues exactly.
        if self.guarded && healthy::is_due(state.step) {
            self.examine(state)?;
        }
        if save {
            self.save(state)?;
        }
        Ok(end)
    }

    /// The folder of the checkpoints; of no use but on the rank that writes.
    fn checkpoints(&self) -> PathBuf {
        checkpoints_of(self.directory.unwrap_or(Path::new("")))
    }

    fn save(&mut self, state: &mut TrainState) -> Result<()> {
        if !self.saves {
            return Ok(());
        }
        let folder = checkpoints_of(self.directory.unwrap_or(Path::new("")));
        let path = match checkpoint::save(self.plan, state, &folder) {
            Err(Error::Io { source, .. })
                if source.kind() == ErrorKind::StorageFull
                    && self.plan.ranks().size() == 1
                    && healthy::make_room(state, &folder) =>
            {
                tracing::warn!(
                    "the disk is full: healthy states make room for a checkpoint, and are kept no more"
                );
                self.keeps = false;
                checkpoint::save(self.plan, state, &folder)?
            }
            saved => saved?,
        };
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
