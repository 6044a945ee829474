//! The numbers of a run over its steps.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::median::median;

/// Name of the file with the numbers of every step.
pub(crate) const METRICS: &str = "metrics.jsonl";

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
    /// If the file is not there or has a whole line that is no report.
    pub fn read(directory: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Line {
            step: u64,
            values: BTreeMap<String, Option<f64>>,
        }
        let path = directory.join(METRICS);
        let text = ebm_core::regular::read_to_string(&path).map_err(Error::io(&path))?;
        let mut series = Series::default();
        // A run that goes on, or was killed, may have written half of its last line.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for (number, line) in text[..whole].lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|e| {
                Error::unfit(format!("{}:{}", path.display(), number + 1), format!("is no report: {e}"))
            })?;
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

    /// Whether lines are missing at the end for a run that has done `steps` steps: more than lie between two lines.
    pub fn shorter_than(&self, steps: u64) -> bool {
        let distances = self.steps.windows(2).map(|w| w[1].saturating_sub(w[0]));
        let between = distances.chain(self.steps.first().copied()).max().unwrap_or(1);
        self.steps.last().copied().unwrap_or(0).saturating_add(between) <= steps
    }

    /// The finite values called `name`, with their steps.
    pub fn points<'a>(&'a self, name: &str) -> impl Iterator<Item = (u64, f64)> + 'a {
        let values = self.values.get(name).map_or(&[][..], Vec::as_slice);
        self.steps.iter().copied().zip(values.iter().copied()).filter(|(_, v)| v.is_finite())
    }

    /// Median of the finite values called `name` in the last `share` of the steps, if there are any.
    pub fn late(&self, name: &str, share: f64) -> Option<f64> {
        let last = self.steps.last().copied()?;
        let from = last as f64 * (1.0 - share);
        median(self.points(name).filter(|(step, _)| *step as f64 >= from).map(|(_, v)| v))
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
        assert_eq!(series.late("a", 1.0), Some(1.5));
        assert_eq!(series.late("a", 0.1), None);
        assert!(!series.shorter_than(2) && series.shorter_than(3));
        std::fs::write(folder.path().join(METRICS), format!("{text}{{\"step\":3")).unwrap();
        assert_eq!(Series::read(folder.path()).unwrap().steps, [1, 2]);
        std::fs::write(folder.path().join(METRICS), "{\"step\":1\n").unwrap();
        assert!(Series::read(folder.path()).unwrap_err().to_string().contains("metrics.jsonl:1"));
    }
}
