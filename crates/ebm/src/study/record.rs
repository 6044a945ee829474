//! What one run came to: a small file beside its numbers of every step.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Name of the file with a run's [`Record`]; it appears when the run is finished.
pub(super) const RECORD: &str = "result.json";
/// Name of the file with the numbers of every step.
pub(super) const METRICS: &str = "metrics.jsonl";

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
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path)(e)),
        };
        let broken = |e: serde_json::Error| {
            Error::Usage(format!("{}: is no result of a run ({e}); remove it to run again", path.display()))
        };
        serde_json::from_slice(&text).map(Some).map_err(broken)
    }
}

/// Numbers of a run over its steps, by name; NaN where a report has none.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Numbers of the steps.
    pub steps: Vec<u64>,
    /// As long as `steps` each.
    pub values: BTreeMap<String, Vec<f64>>,
}

impl Series {
    /// Reads the numbers of the run in `directory`.
    ///
    /// # Errors
    /// If the file is not there or has a line that is no report.
    pub fn read(directory: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Line {
            step: u64,
            values: BTreeMap<String, Option<f64>>,
        }
        let path = directory.join(METRICS);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let mut series = Series::default();
        for (number, line) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(line)
                .map_err(|e| Error::Usage(format!("{}:{}: is no report: {e}", path.display(), number + 1)))?;
            for name in line.values.keys() {
                series.values.entry(name.clone()).or_default().resize(series.steps.len(), f64::NAN);
            }
            series.steps.push(line.step);
            for (name, all) in &mut series.values {
                all.push(line.values.get(name).copied().flatten().unwrap_or(f64::NAN));
            }
        }
        Ok(series)
    }

    /// The finite values called `name`, with their steps.
    pub fn points<'a>(&'a self, name: &str) -> impl Iterator<Item = (u64, f64)> + 'a {
        let values = self.values.get(name).map_or(&[][..], Vec::as_slice);
        self.steps.iter().copied().zip(values.iter().copied()).filter(|(_, v)| v.is_finite())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn series_have_gaps_where_reports_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let text = "{\"step\":1,\"of\":2,\"values\":{\"a\":1.5}}\n{\"step\":2,\"of\":2,\"values\":{\"a\":null,\"b\":2.0}}\n";
        std::fs::write(folder.path().join(METRICS), text).unwrap();
        let series = Series::read(folder.path()).unwrap();
        assert_eq!(series.points("a").collect::<Vec<_>>(), [(1, 1.5)]);
        assert_eq!(series.points("b").collect::<Vec<_>>(), [(2, 2.0)]);
        assert_eq!(series.points("c").count(), 0);
        std::fs::write(folder.path().join(METRICS), "{\"step\":1").unwrap();
        assert!(Series::read(folder.path()).unwrap_err().to_string().contains("metrics.jsonl:1"));
    }
}
