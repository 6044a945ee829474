//! The loop: steps, observers, policies, checkpoints, and the ways a run can end.

mod mend;

use std::path::{Path, PathBuf};
use std::time::Instant;

use ebm_core::{
    Action, Error, Event, Finding, Level, Observer, Places, Report, Result, RunPaths, Stop, agree,
};
use ebm_health::Health;
pub use ebm_model::checkpoint::checkpoints_of;
use ebm_model::checkpoint::{base_of, places_of_run};
use serde::Serialize;

use crate::care::Return;
use crate::checkpoint;
use crate::checkpoint::disk::{Files, is_full, sweep, write_file};
use crate::checkpoint::healthy;
use crate::ledger::{Counts, Ledger};
use crate::observed::Observed;
use crate::plan::Plan;
use crate::state::TrainState;
use crate::step::step_or_stop;
use crate::view::View;

/// Where a run directory keeps the way from it to the folder of its configuration, for one that has no checkpoint yet.
pub const BASE: &str = ".base";

const WITHOUT_LEDGER: &str = "what observers have written is noted no more, and no damage to it will be told";

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
    /// Save and return when this is set. A run on one rank leaves the step that it is in, however long it is; several ranks
    /// finish theirs.
    pub stop: Stop,
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
    observers_at(plan, &RunPaths::new(directory))
}

/// The same; what they claim is known to `paths` afterwards.
pub(crate) fn observers_at(plan: &Plan, paths: &RunPaths) -> Result<Vec<Box<dyn Observer>>> {
    let all = plan.config.observers.iter().enumerate();
    all.map(|(i, o)| o.build(&paths.clone().with_path(format!("observer[{i}]")))).collect()
}

/// Writes what describes a run into its directory: `config.toml` (complete) and `versions.json`, and the folder of its
/// checkpoints.
///
/// # Errors
/// If a file cannot be written.
pub fn prepare(plan: &Plan, directory: &Path) -> Result<()> {
    let checkpoints = checkpoints_of(directory);
    std::fs::create_dir_all(&checkpoints).map_err(|e| Error::io(&checkpoints, e))?;
    tidy(directory)?;
    write_json(&directory.join(BASE), &base_of(directory, &plan.places))?;
    write_file(&Files, &directory.join("config.toml"), plan.text.clone().into_bytes())?;
    write_json(&directory.join("versions.json"), &checkpoint::versions())
}

/// Puts in order what a program left in a run directory that was killed while it wrote; nobody else may write there.
///
/// # Errors
/// If something cannot be renamed or removed.
pub fn tidy(directory: &Path) -> Result<()> {
    let checkpoints = checkpoints_of(directory);
    let healthy = healthy::folder(&checkpoints);
    [directory, &checkpoints, &healthy, &directory.join("sheets")].into_iter().try_for_each(sweep)
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| Error::plugin("run directory", e))?;
    write_file(&Files, path, text)
}

/// Whether a run was ended before its first checkpoint, and nothing says that it had one: it starts again as it started.
pub fn unbegun(directory: &Path) -> bool {
    let checkpoints = checkpoints_of(directory);
    let ended = ["summary.json", "diverged.json"].iter().any(|file| directory.join(file).exists());
    checkpoints.is_dir() && checkpoint::list(&checkpoints).is_empty() && !ended
}

/// Where files that the configuration of a run names are looked for which was ended before its first checkpoint; `None` if it
/// does not say.
pub fn first_places(directory: &Path) -> Option<Places> {
    let text = ebm_core::regular::read(directory.join(BASE)).ok()?;
    let base: PathBuf = serde_json::from_slice(&text).ok()?;
    Some(places_of_run(directory, &directory.join(base)))
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
/// healthy state, and `diverged.json` has the reason and the last report), and `summary.json` in any case. What observers
/// wrote is on the medium before each checkpoint.
///
/// With several ranks all of them call it, and the first alone is given a directory and observers.
///
/// # Errors
/// If a part fails for another reason than a number that is not finite, or a file cannot be written, those of observers included:
/// an observer that fails is detached, but for want of room the run ends at its newest checkpoint, which lost nothing.
pub fn run(plan: &Plan, state: &mut TrainState, options: Options<'_>) -> Result<Summary> {
    let ranks = plan.ranks();
    let prepared = options.directory.map_or(Ok(()), |directory| prepare(plan, directory));
    agree(ranks, prepared.and_then(|()| checkpoint::same_everywhere(plan, state)))?;
    // One of several ranks may not leave a step that the others are in.
    let within = if ranks.size() == 1 { options.stop.clone() } else { Stop::default() };
    let observed = Observed::new(plan, options.directory, options.observers, within.clone())?;
    let guarded = plan.config.run.guard && !options.watch_only;
    let mut course = Course {
        plan,
        guarded,
        keeps: observed.saves() && guarded,
        warned: false,
        observed,
        directory: options.directory,
        ledger: None,
        stop: options.stop,
        within,
        checkpoint: state.kept.clone().map(|path| (state.step, path)),
    };
    let began = Instant::now();
    let first = state.step;
    course.first_healthy(state)?;
    course.begin(state)?;
    let outcome = course.course(state, options.until)?;
    let diverged = matches!(outcome, Outcome::Diverged(_));
    if !diverged && course.checkpoint.as_ref().is_none_or(|(step, _)| *step != state.step) {
        course.save(state)?;
    }
    let reason = match &outcome {
        Outcome::Done => "done",
        Outcome::Interrupted => "interrupted",
        Outcome::Finished(why) | Outcome::Ill(why) | Outcome::Diverged(why) => why,
    };
    let view = View::new(plan, state);
    course.observed.tell(&Event::Finish { report: &state.last, reason, view: &view })?;
    let summary = Summary {
        outcome,
        step: state.step,
        steps_now: state.step - first,
        seconds: began.elapsed().as_secs_f64(),
        skipped: state.attempts - state.step,
        last: state.last.clone(),
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
        detached: course.observed.into_detached(),
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
    observed: Observed,
    directory: Option<&'a Path>,
    /// What observers had written at each checkpoint.
    ledger: Option<Ledger>,
    stop: Stop,
    /// The wish to stop as it is heard inside of a step.
    within: Stop,
    checkpoint: Option<(u64, PathBuf)>,
}

impl Course<'_> {
    /// Tells that the run begins. Where an observer was stopped in the middle of the last step, all begin before it and are
    /// told of it again.
    fn begin(&mut self, state: &mut TrainState) -> Result<()> {
        if let Some(directory) = self.directory {
            match Ledger::open(directory, self.plan.growing.clone(), state.step) {
                Ok((ledger, remarks)) => {
                    remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
                    self.ledger = Some(ledger);
                }
                Err(e) => tracing::warn!("{WITHOUT_LEDGER}: {e}"),
            }
        }
        let directory = self.directory.unwrap_or(Path::new(""));
        let mut lost = self.observed.begin(self.plan, state.step - u64::from(state.untold), directory)?;
        // A program that was killed may not have come to it.
        if let (Some(_), Some(keep)) = (&state.kept, state.keep) {
            self.prune(state.step, keep)?;
        }
        if state.untold {
            state.untold = !self.observed.step(self.plan, state, &state.last)?;
            if !state.untold {
                // The checkpoint says otherwise.
                self.checkpoint = None;
            }
        }
        if !state.untold {
            let counts = self.observed.counts();
            let missing = self.ledger.iter().flat_map(|ledger| ledger.missing(state.step, &counts));
            // Of a file whose observer told something already, that it is shorter is no news.
            let told = |name: &str| lost.iter().any(|remark| remark.starts_with(name));
            let news: Vec<String> =
                missing.filter(|remark| !told(remark.split(':').next().unwrap_or(remark))).collect();
            news.iter().for_each(|remark| tracing::warn!("{remark}"));
            lost.extend(news);
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.lose(&lost);
        }
        if self.checkpoint.is_some() {
            let counts = self.observed.counts();
            self.in_ledger(|ledger| {
                let counts = ledger.at_checkpoint(counts);
                ledger.note(state.step, counts).and_then(|()| ledger.prune())
            });
        }
        Ok(())
    }

    /// Writes in the ledger. A run goes on without one where that fails: its checkpoints say what a full disk does.
    fn in_ledger(&mut self, write: impl FnOnce(&mut Ledger) -> Result<()>) {
        if let Some(ledger) = &mut self.ledger
            && let Err(e) = write(ledger)
        {
            tracing::warn!("{WITHOUT_LEDGER}: {e}");
            self.ledger = None;
        }
    }

    /// Steps until an end that nothing mends.
    fn course(&mut self, state: &mut TrainState, until: Option<u64>) -> Result<Outcome> {
        loop {
            let (ended, finding) = match self.steps(state, until)? {
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

    fn steps(&mut self, state: &mut TrainState, until: Option<u64>) -> Result<Ended> {
        let mut failures = 0;
        let mut stopping = state.untold;
        while state.step < self.plan.config.run.steps {
            let stopped = self.stop.is_set();
            // One of several ranks may not stop before the others know: they hear of it in the step.
            stopping |= stopped && self.plan.ranks().size() == 1;
            if stopping || until.is_some_and(|u| state.step >= u) {
                return Ok(Ended::Well(Outcome::Interrupted));
            }
            let norms = self.plan.expensive_at(state.step + 1) || self.observed.want_norms(state.step + 1);
            let found = match step_or_stop(self.plan, state, norms, stopped, &self.within) {
                Ok(heard) => {
                    failures = 0;
                    stopping = heard;
                    let TrainState { care, last, .. } = state;
                    if !care.returns.is_empty() {
                        last.values.insert("rolled_back".into(), care.returns.len() as f64);
                    }
                    let found = care.watch.see(&self.plan.watched, last);
                    found.filter(|_| self.guarded)
                }
                Err(Error::Stopped) => return Ok(Ended::Well(Outcome::Interrupted)),
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
            state.untold = !self.observed.step(self.plan, state, &state.last)?;
            if let Some(finding) = found {
                return Ok(Ended::Beyond(finding));
            }
            if let Some(end) = self.policies(state)? {
                return Ok(end);
            }
        }
        Ok(Ended::Well(if state.untold { Outcome::Interrupted } else { Outcome::Done }))
    }

    /// Asks every policy and does what they say.
    fn policies(&mut self, state: &mut TrainState) -> Result<Option<Ended>> {
        let mut seen = state.last.clone();
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
                Action::Keep { last, every } => state.keep = Some((last, every)),
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
        self.save_with(state, self.observed.counts())
    }

    /// The same where observers have `counts` of entries up to the step of the state.
    fn save_with(&mut self, state: &mut TrainState, counts: Counts) -> Result<()> {
        if !self.observed.saves() {
            return Ok(());
        }
        // A run that is killed from here on has its files as the checkpoint has them, or an older checkpoint.
        self.observed.tell(&Event::Saving { step: state.step })?;
        self.in_ledger(|ledger| ledger.note(state.step, counts));
        let folder = self.checkpoints();
        let path = match checkpoint::save(self.plan, state, &folder) {
            Err(e) if is_full(&e) && self.plan.ranks().size() == 1 && healthy::make_room(state, &folder) => {
                tracing::warn!(
                    "the disk is full: healthy states make room for a checkpoint, and are kept no more"
                );
                self.keeps = false;
                checkpoint::save(self.plan, state, &folder)?
            }
            saved => saved?,
        };
        self.prune(state.step, state.keep.unwrap_or((3, 0)))?;
        self.in_ledger(Ledger::prune);
        self.checkpoint = Some((state.step, path.clone()));
        self.observed.tell(&Event::Checkpoint { step: state.step, path: &path })?;
        Ok(())
    }

    /// Removes checkpoints that are not to be kept.
    fn prune(&self, now: u64, (last, every): (usize, u64)) -> Result<()> {
        let pruned =
            self.directory.map_or(Ok(()), |_| checkpoint::prune(&self.checkpoints(), now, last, every));
        agree(self.plan.ranks(), pruned)
    }
}
