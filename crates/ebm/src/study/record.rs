//! What one run came to: a small file beside its numbers of every step.

use std::collections::BTreeMap;
use std::path::Path;

use ebm_core::Level;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Name of the file with a run's [`Record`]; it appears when the run is finished.
pub(super) const RECORD: &str = "result.json";

/// How a run of a study ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All steps are done.
    Survived,
    /// An energy left its bound, or numbers were not finite again and again.
    BlownUp,
    /// The time was over first.
    OutOfTime,
}

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the variant.
    pub variant: String,
    /// Seed.
    pub seed: u64,
    /// How it ended.
    pub ended: Ended,
    /// Why, in words.
    pub reason: String,
    /// Updates until the end or the blow-up.
    pub steps: u64,
    /// Batches left out because a number was not finite.
    pub skipped: u64,
    /// Its health at its end; absent in results of programs before it was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Level>,
    /// Measures of the chains in the replay buffer at the end: `near`, `classes`, `fd_pix`, `fd_sign`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<String, f64>,
}

impl Record {
    /// One line for a log.
    pub fn line(&self) -> String {
        let how = match self.ended {
            Ended::Survived => "survived",
            Ended::BlownUp => "blew up after",
            Ended::OutOfTime => "ran out of time after",
        };
        format!("{} seed {}: {how} {} steps", self.variant, self.seed, self.steps)
    }

    /// The record of the run in `directory`, if it is finished.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(RECORD);
        let text = match ebm_core::regular::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path)(e)),
        };
        let broken = |e: serde_json::Error| {
            Error::unfit(path.display(), format!("is no result of a run ({e}); remove it to run again"))
        };
        serde_json::from_slice(&text).map(Some).map_err(broken)
    }
}
