//! One run of a study: claimed by a lock, continued if it was cut short, finished once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ebm_core::{RunView as _, Stop};
use ebm_train::run::{self, Options};
use ebm_train::{Outcome, Plan, RunConfig, TrainState, View, digest};
use serde::{Deserialize, Serialize};

use super::file::{Study, Variant};
use super::record::{Ended, RECORD, Record};
use crate::config::overrides::Override;
use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::run::run_directory::RunDirectory;

/// Name of the file that says which settings a run's directory belongs to.
const CLAIM: &str = "unit.json";
/// Chains of the replay buffer that are measured.
const MEASURED: usize = 360;

/// One run.
pub(super) struct Unit {
    pub variant: String,
    pub seed: u64,
    pub directory: PathBuf,
    source: Source,
    claim: Claim,
    measure: bool,
}

/// What a run's numbers depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Claim {
    /// Digest of the settings that enter what a step computes.
    settings: String,
    steps: u64,
    max_energy: f64,
    seconds: Option<f64>,
    report_every: u64,
}

/// What became of a run in this call.
pub(super) enum Work {
    /// It had a result.
    Had,
    /// Another program works on it.
    Elsewhere,
    /// It was stopped and saved.
    Interrupted,
    /// It has a result now.
    Done(Record),
}

impl Unit {
    /// The run of a variant and a seed; its configuration is read and checked.
    pub fn new(
        study: &Study,
        variant: &Variant,
        seed: u64,
        directory: &Path,
        changes: &[Override],
    ) -> Result<Self> {
        let source = study.source(variant, seed, changes)?;
        let config: RunConfig = source.read()?;
        let limits = &study.limits;
        let claim = Claim {
            settings: digest::config_digest(&config.tree()?),
            steps: limits.steps,
            max_energy: limits.max_energy,
            seconds: limits.seconds,
            report_every: limits.report_every,
        };
        Ok(Unit {
            variant: variant.name.clone(),
            seed,
            directory: directory.join(format!("{}-{seed}", variant.name)),
            source,
            claim,
            measure: limits.measure,
        })
    }

    /// Its name.
    pub fn name(&self) -> String {
        format!("{}-{}", self.variant, self.seed)
    }

    /// Refuses a directory that holds something else.
    pub fn check(&self) -> Result<()> {
        let path = self.directory.join(CLAIM);
        match ebm_core::regular::read(&path) {
            Ok(text) => match serde_json::from_slice::<Claim>(&text) {
                Ok(found) if found == self.claim => Ok(()),
                _ if !self.begun() => Ok(()),
                _ => Err(Error::unfit(
                    self.directory.display(),
                    format!(
                        "was run with other settings than the study has now for variant `{}`; results of both do not \
                         mix: choose another folder for the study, or remove this one to run it again",
                        self.variant
                    ),
                )),
            },
            Err(_) if foreign(&self.directory) => Err(Error::unfit(
                self.directory.display(),
                "already exists and is no run of a study; choose another folder for the study",
            )),
            Err(_) => Ok(()),
        }
    }

    /// Whether anything was computed in its directory: a run that failed before its first checkpoint has no numbers to mix with others.
    fn begun(&self) -> bool {
        self.directory.join(RECORD).exists() || run::checkpoints_of(&self.directory).exists()
    }

    /// Its result, if it is finished.
    pub fn record(&self) -> Result<Option<Record>> {
        Record::read(&self.directory)
    }

    /// Runs it, or what is left of it.
    pub fn work(&self, stop: &Stop) -> Result<Work> {
        let path = &self.directory;
        if self.record()?.is_some() && !run::checkpoints_of(path).exists() {
            return Ok(Work::Had);
        }
        std::fs::create_dir_all(path).map_err(Error::io(path))?;
        let Some(_held) = RunDirectory::try_hold(path)? else { return Ok(Work::Elsewhere) };
        // Another program may have finished it before the lock was ours.
        if self.record()?.is_some() {
            self.without_checkpoints()?;
            return Ok(Work::Had);
        }
        run::tidy(path)?;
        self.lay_claim()?;
        let plan = crate::run::open::build(&self.source)?;
        let mut state = self.start(&plan)?;
        let options = Options {
            directory: Some(path),
            stop: stop.clone(),
            observers: run::observers(&plan, path)?,
            // A blow-up is what the study's own bound says, as in every other run of it.
            watch_only: true,
            ..Options::default()
        };
        let summary = run::run(&plan, &mut state, options)?;
        let (ended, reason) = match summary.outcome {
            Outcome::Interrupted => return Ok(Work::Interrupted),
            Outcome::Done => (Ended::Survived, "all steps done".to_string()),
            Outcome::Ill(why) => (Ended::Survived, format!("all steps done; {why}")),
            Outcome::Finished(why) => (Ended::OutOfTime, why),
            Outcome::Diverged(why) => (Ended::BlownUp, why),
        };
        let measures = match self.measure && ended == Ended::Survived {
            true => measures(&plan, &state)?,
            false => BTreeMap::new(),
        };
        let record = Record {
            variant: self.variant.clone(),
            seed: self.seed,
            ended,
            reason,
            steps: summary.step,
            skipped: summary.skipped,
            health: Some(summary.health.level),
            measures,
        };
        self.write(RECORD, &record)?;
        self.without_checkpoints()?;
        Ok(Work::Done(record))
    }

    /// The grid's results are its numbers; networks and buffers of all runs would be gigabytes.
    fn without_checkpoints(&self) -> Result<()> {
        let checkpoints = run::checkpoints_of(&self.directory);
        match std::fs::remove_dir_all(&checkpoints) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&checkpoints)(e)),
            _ => Ok(()),
        }
    }

    /// Writes down which settings the directory belongs to.
    pub(super) fn lay_claim(&self) -> Result<()> {
        self.check()?;
        self.write(CLAIM, &self.claim)
    }

    /// Runs it up to a step and leaves it there.
    #[cfg(test)]
    pub(super) fn cut_short(&self, step: u64) -> Result<()> {
        std::fs::create_dir_all(&self.directory).map_err(Error::io(&self.directory))?;
        self.lay_claim()?;
        let plan = crate::run::open::build(&self.source)?;
        let options = Options {
            directory: Some(&self.directory),
            until: Some(step),
            watch_only: true,
            observers: run::observers(&plan, &self.directory)?,
            ..Options::default()
        };
        let mut state = self.start(&plan)?;
        run::run(&plan, &mut state, options)?;
        Ok(())
    }

    /// The state of the newest whole checkpoint, or a new one where there is none.
    fn start(&self, plan: &Plan) -> Result<TrainState> {
        let checkpoints = run::checkpoints_of(&self.directory);
        if checkpoints.exists() && !run::unbegun(&self.directory) {
            match run::resume(plan, &self.directory) {
                Ok((state, _)) => {
                    tracing::info!("{} goes on at step {}", self.name(), state.step);
                    return Ok(state);
                }
                // A program that was killed while it wrote the first one leaves no whole checkpoint.
                Err(e) => tracing::warn!("{} starts again: {e}", self.name()),
            }
            std::fs::remove_dir_all(&checkpoints).map_err(Error::io(&checkpoints))?;
        }
        TrainState::new(plan).map_err(|e| self.source.place(e))
    }

    /// Writes a file whole or not at all; the lock keeps other writers away.
    fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec_pretty(value).map_err(|e| ebm_core::Error::plugin("study", e))?;
        crate::whole_file::replace(&self.directory.join(name), &text)
    }
}

/// Whether a folder that holds no claim has anything in it but what a program leaves that was killed before it laid one.
fn foreign(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return directory.exists() };
    entries.filter_map(std::result::Result::ok).any(|e| {
        let name = e.file_name();
        name != ".lock" && !name.to_string_lossy().starts_with(ebm_data::atomic::UNFINISHED)
    })
}

/// Measures of the chains in the replay buffer.
fn measures(plan: &Plan, state: &TrainState) -> Result<BTreeMap<String, f64>> {
    let held = state.replay.as_ref().map_or(0, |r| r.len());
    let Some(chains) = View::new(plan, state).buffered(held.min(MEASURED))? else {
        return Ok(BTreeMap::new());
    };
    let Some(m) = crate::run::measures::measure(plan, &chains)? else { return Ok(BTreeMap::new()) };
    let q = m.samples;
    let mut all = vec![("fd_pix", q.fd_pix), ("fd_sign", q.fd_sign), ("near", q.near)];
    all.extend(q.classes.map(|c| ("classes", c)));
    Ok(all.into_iter().map(|(k, v)| (k.to_string(), v)).collect())
}
