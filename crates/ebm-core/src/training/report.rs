//! What a training step tells: reports, observers that see them, policies that act on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Batch, EnergyFn, Error, Finding, Result};

/// Numbers of one training step, by name. Names are stable: `energy.data`, `energy.samples`
/// (means), `energy.data.sd`, `energy.samples.sd`, `energy.difference`, `loss.<term>`, `<term>.<measure>` (such as `label.accuracy`),
/// `grad.<term>` (norms), `grad` (norm before clipping), `sampler.grad_rms`, `sampler.accepted`,
/// `sampler.saturated`, `rate`, `replay`, `seconds`; `energy.overlap` (probability that a sample has a higher energy than a
/// datum), `samples.reach` (mean distance of the samples' values from the middle of the data's range, in halves of its
/// width), `samples.moved` (mean distance from where the chains of the step started, in the same halves), `samples.beyond` (share of values farther out than 2 of these), `sampler.step_size` (mean of adapted ones),
/// `update` (size of the update in sizes of the weights), `setting.<path>` (value of a setting on a schedule), `rolled_back` (times that the run went back, once it has).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Training step, from 1 after the first update.
    pub step: u64,
    /// Number of steps of the run.
    pub of: u64,
    /// Values by name.
    pub values: BTreeMap<String, f64>,
}

impl Report {
    /// The value called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }
}

/// Read-only view of a run for observers.
pub trait RunView {
    /// The energy with live weights.
    fn energy(&self) -> &dyn EnergyFn;

    /// Samples drawn from fresh starts with averaged weights, `(n, ...)`, values as in the data.
    ///
    /// # Errors
    /// If sampling fails.
    fn samples(&self, n: usize) -> Result<Tensor>;

    /// Up to `n` chains of the replay buffer, `(n, ...)`.
    ///
    /// # Errors
    /// If the buffer fails.
    fn buffered(&self, n: usize) -> Result<Option<Tensor>>;

    /// Up to `n` training samples as stored, `(n, ...)`.
    ///
    /// # Errors
    /// If the source fails.
    fn data(&self, n: usize) -> Result<Option<Tensor>>;

    /// Up to `n` training samples of the first batch with the conditions that they have in training, which are
    /// also those of [`RunView::samples`], in turn. `None` where a run cannot say.
    ///
    /// # Errors
    /// If the source fails.
    fn drawn(&self, n: usize) -> Result<Option<Batch>> {
        let _ = n;
        Ok(None)
    }

    /// Shape of one sample.
    fn sample_shape(&self) -> &[usize];
}

// ANCHOR: event
/// What an observer is told.
#[non_exhaustive]
pub enum Event<'a> {
    /// The run starts or resumes at a step.
    Start {
        /// First step to run, from 0.
        step: u64,
        /// Number of steps of the run.
        of: u64,
        /// Name of the run.
        name: &'a str,
        /// The run directory.
        directory: &'a Path,
    },
    /// A step was committed. Reports come every step; expensive values only every `report_every` steps.
    Step {
        /// The numbers.
        report: &'a Report,
        /// The run.
        view: &'a dyn RunView,
    },
    /// A checkpoint is about to be written. What an observer has told of up to this step must be on the medium when it
    /// returns: a run that is continued from the checkpoint does not tell it again.
    Saving {
        /// Training step.
        step: u64,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Training step.
        step: u64,
        /// Its folder.
        path: &'a Path,
    },
    /// The run ended.
    Finish {
        /// Last report.
        report: &'a Report,
        /// Why it ended: `done`, `interrupted`, or the reason of a stop.
        reason: &'a str,
        /// The run.
        view: &'a dyn RunView,
    },
}
// ANCHOR_END: event

// ANCHOR: observer
/// Sees what happens; cannot change it. An observer that fails is reported and detached; where it fails for want of room on the disk
/// ([`Error::Io`]), the run ends, so that it goes on from a checkpoint of which nothing is lost.
pub trait Observer: Send {
    /// Called for each event.
    ///
    /// # Errors
    /// An error detaches the observer, and the run goes on, but for one of a full disk.
    fn on(&mut self, event: &Event<'_>) -> Result<()>;

    /// Steps at which it needs the expensive values (gradient norms a term): every this many; 0 for never.
    fn report_every(&self) -> u64 {
        0
    }

    /// When it looks at chains of the replay buffer, for samples of this shape. Buffers of a run on several ranks are
    /// brought together for the looks that are announced here; an unannounced one sees the buffers of its own rank alone.
    fn looks(&self, sample_shape: &[usize]) -> Vec<Look> {
        let _ = sample_shape;
        Vec::new()
    }

    /// What a user should know of the files that it found when the run began, each told once: an end that a checkpoint does
    /// not account for, lines that cannot be read.
    fn remarks(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The file or folder in the run directory that it appends to, and how many entries (lines, records) that holds by now: as
    /// many in every run of the same settings at the same step. The trainer keeps the number beside each checkpoint and says so
    /// where a run that goes on finds fewer. `None` if it keeps no count.
    fn entries(&self) -> Option<(String, u64)> {
        None
    }

    /// The observer's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: observer

/// A look at the replay buffer after every so manyth step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Steps between looks; 0 for none.
    pub every: u64,
    /// Number of chains.
    pub rows: usize,
}

impl Look {
    /// Whether there is one after this step.
    pub fn is_due(&self, step: u64) -> bool {
        self.every > 0 && step.is_multiple_of(self.every)
    }
}

// ANCHOR: action
/// What a policy may ask of the trainer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Write a checkpoint.
    Checkpoint,
    /// From now on keep the newest `last` checkpoints, and every one whose step is a multiple of `every` (0: none).
    Keep {
        /// Number of newest checkpoints to keep, at least 1.
        last: usize,
        /// Steps between checkpoints that are kept for good.
        every: u64,
    },
    /// Multiply the learning rate by this factor from now on.
    ScaleRate(f64),
    /// Go back to the last healthy state, on new random numbers and with settings times factors, such as `optimiser.rate`
    /// times 0.5. Only an answer to a [`Finding`].
    RollBack {
        /// Dotted paths below `sampler`, `objective` and `optimiser`, each with its factor.
        factors: BTreeMap<String, f64>,
    },
    /// End the run as diverged, with the reason.
    Stop(String),
    /// End the run early but in good order, with the reason.
    Finish(String),
}
// ANCHOR_END: action

// ANCHOR: policy
/// Decides on actions from reports. Pure but for its own state, which a checkpoint holds.
pub trait Policy: Send + Sync {
    /// Actions after a step; `memory` is the policy's own state (JSON null at first).
    ///
    /// # Errors
    /// If the memory is not the policy's.
    fn decide(&self, memory: &mut serde_json::Value, report: &Report) -> Result<Vec<Action>>;

    /// Actions where the run was found ill; without an answer of any policy the run ends.
    ///
    /// # Errors
    /// As [`Policy::decide`].
    fn answer(&self, memory: &mut serde_json::Value, finding: &Finding) -> Result<Vec<Action>> {
        let _ = (memory, finding);
        Ok(Vec::new())
    }

    /// Settings that [`Action::RollBack`] may ask to scale; they are looked up before the run.
    fn scales(&self) -> Vec<String> {
        Vec::new()
    }

    /// The policy's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: policy

/// Files and folders that a run has for itself, and the folder of pictures that observers share; none is one observer's.
const OF_THE_RUN: [&str; 10] = [
    "config.toml",
    "versions.json",
    "summary.json",
    "diverged.json",
    "samples.png",
    "measures.json",
    "checkpoints",
    "healthy",
    "sheets",
    "thresholds",
];

/// Where an observer may write, and where it stands in the configuration.
#[derive(Clone, Debug)]
pub struct RunPaths {
    /// The run directory.
    pub directory: PathBuf,
    /// Dotted path of the observer that is being built, for messages.
    pub path: String,
    /// What observers took, by its name in small letters.
    taken: Arc<Mutex<BTreeMap<String, Taken>>>,
}

/// A place in the run directory that an observer took.
#[derive(Clone, Debug)]
struct Taken {
    /// Path of the observer.
    by: String,
    /// The place as it is spelled, of files that only grow.
    grows: Option<String>,
}

impl RunPaths {
    /// A run below `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        RunPaths { directory: directory.into(), path: "observer".into(), taken: Arc::default() }
    }

    /// The same for the observer at `path`, such as `observer[1]`; what the others took is known to it.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The error of an observer that cannot take its setting `key`; see [`crate::BuildCx::refuse`].
    pub fn refuse(&self, key: &str, message: impl Into<String>) -> Error {
        Error::config(crate::kinds::config::joined(&self.path, key), message)
    }

    /// The place of a file or folder of this observer in the run directory; `key` is the setting that names it, empty if
    /// none does. Nobody else writes there.
    ///
    /// # Errors
    /// If the name is no plain one, is one of the run's own or of a hidden or unfinished file, or another observer has it.
    pub fn claim(&self, key: &str, name: &str) -> Result<PathBuf> {
        self.claim_named(key, name, false)
    }

    fn claim_named(&self, key: &str, name: &str, grows: bool) -> Result<PathBuf> {
        let plain = Path::new(name).file_name().is_some_and(|own| own == name);
        // No file system takes longer names; controls in one only confuse.
        let sound = name.len() <= 200 && !name.contains(char::is_control);
        if !plain
            || !sound
            || name.starts_with('.')
            || name.contains(['/', '\\', ':'])
            || name.ends_with(".partial")
        {
            let message = format!(
                "is {name:?}, must be a plain name in the run directory, such as \"metrics.csv\": at most 200 letters, no folder, no \
                 dot at its beginning, no `.partial` at its end"
            );
            return Err(self.refuse(key, message));
        }
        if OF_THE_RUN.contains(&name.to_lowercase().as_str()) {
            return Err(
                self.refuse(key, format!("is {name:?}, which the run itself writes; choose another name"))
            );
        }
        self.take(key, name, name, grows)?;
        Ok(self.directory.join(name))
    }

    /// [`RunPaths::claim`] for a file that only grows, and that has the same bytes in every run of the same settings: no wall
    /// times. A run that goes on holds it against a digest, and says so if it was changed.
    ///
    /// # Errors
    /// As there.
    pub fn claim_growing(&self, key: &str, name: &str) -> Result<PathBuf> {
        self.claim_named(key, name, true)
    }

    /// The folder of pictures `sheets`, in which this observer writes those that are called `<what>-<step>.png`, each once. They
    /// are held against their digests as by [`RunPaths::claim_growing`].
    ///
    /// # Errors
    /// If another observer writes such.
    pub fn claim_sheets(&self, what: &str) -> Result<PathBuf> {
        self.take("what", what, &format!("sheets/{what}"), true)?;
        Ok(self.directory.join("sheets"))
    }

    /// The files that only grow which observers took so far, by their names, pictures as `sheets/<what>`.
    pub fn growing(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().filter_map(|t| t.grows.clone()).collect()
    }

    /// Takes a place, which messages call `name`.
    fn take(&self, key: &str, name: &str, place: &str, grows: bool) -> Result<()> {
        // Some file systems do not tell large letters from small ones.
        let small = place.to_lowercase();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Taken { by: other, .. }) = taken.get(&small).filter(|other| other.by != self.path) {
            let message = match key {
                "" => format!("writes {name:?}, and so does {other}; a run has one of them"),
                _ => format!("is {name:?}, which {other} writes; choose another"),
            };
            return Err(self.refuse(key, message));
        }
        let grows = grows.then(|| place.to_string());
        taken.insert(small, Taken { by: self.path.clone(), grows });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn observers_write_under_plain_names_that_nobody_else_has() {
        let paths = RunPaths::new("run");
        let (first, second) = (paths.clone().with_path("observer[0]"), paths.with_path("observer[1]"));
        assert_eq!(first.claim("file", "metrics.csv").unwrap(), Path::new("run/metrics.csv"));
        // Built twice, as a check does before the run.
        first.claim("file", "metrics.csv").unwrap();
        let text = second.claim("file", "Metrics.CSV").unwrap_err().to_string();
        assert!(text.starts_with("observer[1].file: ") && text.contains("observer[0]"), "{text}");
        let long = "x".repeat(300);
        for wrong in [
            "",
            ".",
            "..",
            "../a",
            "/a",
            "a/b",
            "a/",
            "./a",
            "a\\b",
            ".lock",
            "x.partial",
            "c:x",
            "a\nb",
            "a\0",
            &long,
        ] {
            let text = second.claim("file", wrong).unwrap_err().to_string();
            assert!(text.contains("plain name"), "{wrong}: {text}");
        }
        first.claim_growing("", "Steps.txt").unwrap();
        first.claim_sheets("samples").unwrap();
        assert_eq!(first.growing(), ["sheets/samples", "Steps.txt"]);
        for own in ["config.toml", "Summary.json", "checkpoints", "thresholds"] {
            assert!(second.claim("file", own).unwrap_err().to_string().contains("the run itself"), "{own}");
        }
    }
}
