//! `histogram`: energies, slopes and values of data and samples over training, as lines and as a picture.

use std::path::PathBuf;

use ebm_core::{Error, Event, Look, Observer, ObserverConfig, Result, RunPaths, RunView, Settings, plugin};

use crate::course::Course;
use crate::lines::Lines;
use crate::probe::{self, Bins, Of};
use crate::spread::{self, Entry};

/// Writes `histograms.jsonl`, a line a quantity:
/// `{"step":500,"name":"energy.data","low":..,"high":..,"sum":..,"squares":..,"counts":[..]}`, and draws
/// `histograms.png` from all lines: data in grey, samples in blue, time to the right.
#[derive(Clone, Debug, Settings)]
pub struct HistogramConfig {
    /// Steps between histograms.
    #[setting(default = 500, at_least = 1, unit = "updates")]
    pub every: u64,
    /// Samples of a histogram.
    #[setting(default = 256, at_least = 1, at_most = 1_000_000, unit = "samples")]
    pub rows: usize,
    /// Bins, equal in width, between the smallest and the largest value.
    #[setting(default = 40, at_least = 1, at_most = 10_000)]
    pub bins: usize,
    /// Which samples to look at; fresh ones cost a generation.
    #[setting(default = Of::Buffer)]
    pub of: Of,
}

struct Histograms {
    config: HistogramConfig,
    file: PathBuf,
    picture: PathBuf,
    lines: Option<Lines>,
    all: Vec<Entry>,
}

impl Histograms {
    fn write(&mut self, view: &dyn RunView, step: u64) -> Result<()> {
        let Some(lines) = &mut self.lines else { return Ok(()) };
        for seen in probe::look(view, self.config.rows, self.config.of)? {
            let Some(bins) = Bins::of(&seen.values, self.config.bins) else { continue };
            let entry = Entry { step, name: seen.name.into(), bins };
            lines.write(&serde_json::to_string(&entry).map_err(|e| Error::plugin("histogram", e))?)?;
            self.all.push(entry);
        }
        lines.flush()?;
        spread::write(&self.picture, &self.all)
    }
}

impl Observer for Histograms {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        let step = |line: &str| serde_json::from_str::<Entry>(line).ok();
        match event {
            Event::Start { step: from, of, .. } => {
                let course = Course { step: *from, of: *of, every: self.config.every };
                self.lines = Some(Lines::open(&self.file, course, false, |line| step(line).map(|e| e.step))?);
                let bytes = ebm_core::regular::read(&self.file).map_err(|e| Error::io(&self.file, e))?;
                self.all = String::from_utf8_lossy(&bytes).lines().filter_map(step).collect();
                // The picture is one of the lines, whatever became of it.
                if !self.all.is_empty() {
                    spread::write(&self.picture, &self.all)?;
                }
            }
            Event::Saving { .. } => self.lines.as_mut().map_or(Ok(()), Lines::sync)?,
            Event::Step { report, view } if report.step.is_multiple_of(self.config.every) => {
                self.write(*view, report.step)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn looks(&self, _: &[usize]) -> Vec<Look> {
        self.config.of.looks(self.config.every, self.config.rows)
    }

    fn remarks(&mut self) -> Vec<String> {
        self.lines.as_mut().map(Lines::remarks).unwrap_or_default()
    }

    fn name(&self) -> String {
        "histogram".into()
    }
}

#[plugin(
    "histogram",
    summary = "histograms of energies, slopes and values of data and samples over training, as lines and a picture",
    source = "this project",
    example = "every = 500"
)]
impl ObserverConfig for HistogramConfig {
    fn make(&self, paths: &RunPaths) -> Result<Box<dyn Observer>> {
        let (file, picture) =
            (paths.claim_growing("", "histograms.jsonl")?, paths.claim("", "histograms.png")?);
        Ok(Box::new(Histograms { config: self.clone(), file, picture, lines: None, all: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake_tests as fake;

    #[test]
    fn a_resumed_run_writes_the_files_of_a_straight_run() {
        let run = |parts: &[(u64, u64)]| {
            let folder = tempfile::tempdir().unwrap();
            let paths = RunPaths::new(folder.path());
            let text = "kind = 'histogram'\nevery = 2\nrows = 6\nbins = 4\nof = 'samples'";
            let config: Box<dyn ObserverConfig> = toml::from_str(text).unwrap();
            for (from, to) in parts {
                fake::run(&mut *config.build(&paths).unwrap(), folder.path(), *from, *to, "done").unwrap();
            }
            let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
            (String::from_utf8(read("histograms.jsonl")).unwrap(), read("histograms.png"))
        };
        let straight = run(&[(0, 7)]);
        assert_eq!(run(&[(0, 5), (3, 7)]), straight);
        let entries: Vec<Entry> = straight.0.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(entries.len(), 3 * 6);
        let values = entries.iter().find(|e| e.name == "values.data").unwrap();
        // Six images of 16 values from 0, 1/16, … 16/16 in turn.
        assert_eq!((values.bins.low, values.bins.high, values.bins.count()), (0.0, 1.0, 96));
        assert_eq!((entries[0].step, entries[17].step), (2, 6));
    }
}
