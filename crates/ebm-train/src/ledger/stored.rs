//! What a ledger says, as it stands in its file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use ebm_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::checkpoint::disk::{Files, write_file};

/// Its name in the run directory.
pub(crate) const LEDGER: &str = ".written.json";
/// No ledger is longer: it has some hundred bytes for each file of the run.
const LONGEST: u64 = 256 << 20;

/// The first so many bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub bytes: u64,
    pub sha256: String,
}

/// Files by their path below the run directory, each as it was when the checkpoint of a step was made.
pub(super) type Entries = BTreeMap<String, BTreeMap<u64, Extent>>;

/// Numbers of entries (lines, records), by the name of the file or folder.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What is known of the files, the steps that it speaks of, and a digest of all.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Stored {
    digest: String,
    pub steps: BTreeSet<u64>,
    pub files: Entries,
    /// Entries that observers had written at each of the steps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<u64, Counts>,
    /// What was found missing or changed when the run went on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<String>,
    /// What was made once the run had ended, as it was then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ends: BTreeMap<String, Extent>,
}

impl Stored {
    fn seal(&self) -> Result<String> {
        // Ledgers of before had the first two alone.
        let bytes = match self.counts.is_empty() && self.losses.is_empty() && self.ends.is_empty() {
            true => serde_json::to_vec(&(&self.steps, &self.files)),
            false => serde_json::to_vec(&(&self.steps, &self.files, &self.counts, &self.losses, &self.ends)),
        };
        Ok(ebm_model::digest::sha256(&bytes.map_err(|e| Error::plugin("ledger", e))?))
    }

    pub fn write(&mut self, directory: &Path) -> Result<()> {
        self.digest = self.seal()?;
        let bytes = serde_json::to_vec(self).map_err(|e| Error::plugin("ledger", e))?;
        write_file(&Files, &directory.join(LEDGER), bytes)
    }

    /// The ledger below `directory`, if there is a whole one.
    pub fn read(directory: &Path) -> Found {
        let path = directory.join(LEDGER);
        match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Found::Missing,
            Ok(found) if found.is_file() && found.len() <= LONGEST => {}
            _ => return Found::Damaged,
        }
        let stored =
            ebm_core::regular::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        let sound = |stored: &Self| stored.seal().is_ok_and(|digest| digest == stored.digest);
        stored.filter(sound).map_or(Found::Damaged, Found::Whole)
    }

    /// What the files were at `step`, if it speaks of that step.
    pub fn at(&self, step: u64) -> impl Iterator<Item = (&str, &Extent)> {
        let known = self.steps.contains(&step);
        let files = self.files.iter().filter(move |_| known);
        files.filter_map(move |(file, all)| Some((file.as_str(), all.range(..=step).next_back()?.1)))
    }
}

/// What is where a ledger should be.
pub(super) enum Found {
    Whole(Stored),
    Missing,
    Damaged,
}

/// What to say where there is no whole ledger.
pub(super) fn unknown(state: &str) -> String {
    format!("{LEDGER}: is {state}; whether the files of observers are as they were is not known")
}
