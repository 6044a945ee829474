//! Studies: a grid of short trainings, variants by seeds, with a table, tests and pictures at its end.
//!
//! A study file names a base configuration and what each variant changes in it:
//!
//! ```toml
//! format = 1
//! name = "clipping"
//! base = "../digits/plain.toml"       # relative to this file
//! seeds = [0, 1, 2]
//! set = ["run.batch=32"]              # in every run, as `--set` of `ebm train`; or a table, { run.batch = 32 }
//! columns = ["sampler.accepted"]      # numbers of reports that the table shows besides its own
//!
//! [limits]
//! steps = 500
//! max_energy = 100.0                  # |mean energy| above it is a blow-up, as is a number that is not finite
//!
//! [[variant]]
//! name = "clipped"
//!
//! [[variant]]
//! name = "free"
//! set = ["optimiser.clip_norm=1e9"]
//! unset = ["objective.energy_l2"]
//!
//! [[product]]                         # every variant with each of these values; several make all combinations
//! set = "sampler.steps"
//! values = [20, 40]
//! ```
//!
//! A change that the study itself overwrites (`run.steps`, `run.seed`, observers, policies) is refused.
//!
//! Every run has its own directory below the study's. Finished runs are skipped, one that was interrupted goes
//! on from its newest checkpoint and ends with the numbers of one that was not, and several processes may work
//! on one study: each takes runs that no other holds. A run that blows up is a result; one that ends in an error is none, and
//! keeps no other from its own.

mod changes;
mod file;
mod record;
mod summary;
mod table;
#[cfg(test)]
mod tests;
mod unit;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::Stop;
use serde::Serialize;

pub use changes::Axis;
pub use file::{Limits, Study, Variant};
pub use record::{Ended, Record};
pub use summary::{Summary, VariantSummary};
use unit::{Unit, Work};

use crate::config::overrides::Override;
use crate::error::{Error, Result};

/// How to work on a study.
#[derive(Clone, Debug, Default)]
pub struct StudyOptions {
    /// Folder of the study's runs; without it `runs/study-<name>`.
    pub out: Option<PathBuf>,
    /// Only this variant.
    pub only: Option<String>,
    /// Only this seed.
    pub seed: Option<u64>,
    /// Changes of every run, made after those of the study file.
    pub changes: Vec<Override>,
    /// Train nothing; report what is there.
    pub report: bool,
    /// When this is set, the present run is saved and the call returns after writing the report.
    pub stop: Stop,
}

/// What a study came to so far.
#[derive(Clone, Debug, Serialize)]
pub struct StudyReport {
    /// The folder of its runs.
    pub directory: PathBuf,
    /// Runs that have a result.
    pub finished: usize,
    /// Runs of the whole grid.
    pub of: usize,
    /// Names of runs that another program works on.
    pub elsewhere: Vec<String>,
    /// Runs that ended in an error. They have no result, and are tried again by the next call.
    pub failed: Vec<Failed>,
    /// Whether it was stopped.
    pub interrupted: bool,
    /// The figures of every variant.
    pub summary: Summary,
    /// Table and pictures.
    pub files: Vec<PathBuf>,
}

/// A run that ended in an error, as of data that are not there.
#[derive(Clone, Debug, Serialize)]
pub struct Failed {
    /// Its name.
    pub run: String,
    /// The error in words.
    pub why: String,
    /// The error.
    #[serde(skip)]
    pub error: Arc<Error>,
}

impl Study {
    /// Runs what has no result yet and writes `report.md`, `runs.csv`, `report.json` and the pictures. A run that fails for another
    /// reason than a blow-up is among those that `failed`, and the others are run.
    ///
    /// # Errors
    /// If a configuration is wrong (before anything runs), or if there are results of other settings in the folder.
    pub fn work(&self, options: &StudyOptions) -> Result<StudyReport> {
        let directory = match &options.out {
            Some(out) => out.clone(),
            None => Path::new("runs").join(format!("study-{}", self.name)),
        };
        let all = self.units(&directory, &options.changes)?;
        let chosen = self.choose(&all, options)?;
        for unit in &all {
            unit.check()?;
        }
        let (mut elsewhere, mut failed) = (Vec::new(), Vec::new());
        let stopped = || options.stop.is_set();
        let mut looked = false;
        for unit in chosen.iter().filter(|_| !options.report) {
            if stopped() {
                break;
            }
            match unit.work(&options.stop) {
                Err(error) => {
                    let failure = Failed { run: unit.name(), why: error.to_string(), error: Arc::new(error) };
                    tracing::error!("{} failed: {}", failure.run, failure.why);
                    failed.push(failure);
                }
                Ok(Work::Had) => {}
                Ok(Work::Elsewhere) => elsewhere.push(unit.name()),
                Ok(Work::Interrupted) => break,
                Ok(Work::Done(record)) => {
                    tracing::info!("{}", record.line());
                    if !std::mem::replace(&mut looked, true) {
                        summary::look_at(self, record, &unit.directory)?;
                    }
                }
            }
        }
        let mut records = Vec::new();
        for unit in &all {
            records.extend(unit.record()?.map(|r| (r, unit.directory.clone())));
        }
        if records.is_empty() && options.report {
            return Err(Error::invalid(
                "report",
                "",
                format!("at least one finished run, found no finished run in {}", directory.display()),
            ));
        }
        let summary = Summary::of(self, &records)?;
        let files = if records.is_empty() { Vec::new() } else { summary.write(&directory)? };
        Ok(StudyReport {
            directory,
            finished: records.len(),
            of: all.len(),
            elsewhere,
            failed,
            interrupted: stopped(),
            summary,
            files,
        })
    }

    /// All runs of the grid, seeds outermost, so that a study that is cut short has every variant.
    fn units(&self, directory: &Path, changes: &[Override]) -> Result<Vec<Unit>> {
        let mut all = Vec::new();
        for seed in &self.seeds {
            for variant in &self.variants {
                all.push(Unit::new(self, variant, *seed, directory, changes)?);
            }
        }
        Ok(all)
    }

    fn choose<'u>(&self, all: &'u [Unit], options: &StudyOptions) -> Result<Vec<&'u Unit>> {
        if let Some(only) = &options.only
            && !self.variants.iter().any(|v| v.name == *only)
        {
            let names: Vec<&str> = self.variants.iter().map(|v| v.name.as_str()).collect();
            return Err(Error::invalid(
                "only",
                only,
                format!("one of the variants of `{}`: {}", self.name, names.join(", ")),
            ));
        }
        if let Some(seed) = options.seed
            && !self.seeds.contains(&seed)
        {
            return Err(Error::invalid(
                "seed",
                seed,
                format!("one of the seeds of `{}`: {:?}", self.name, self.seeds),
            ));
        }
        let wanted = |u: &&Unit| {
            options.only.as_ref().is_none_or(|o| *o == u.variant) && options.seed.is_none_or(|s| s == u.seed)
        };
        Ok(all.iter().filter(wanted).collect())
    }
}
