//! `jsonl`: the numbers of every step as one JSON object a line.

use std::path::PathBuf;

use ebm_core::{Event, Observer, ObserverConfig, Report, Result, RunPaths, Settings, plugin};
use serde::Deserialize;

use crate::course::Course;
use crate::lines::Lines;

/// Writes `metrics.jsonl`: `{"step":1,"of":6000,"values":{"energy.data":...}}`. A number that is not finite is `null`.
#[derive(Clone, Debug, Settings)]
pub struct JsonlConfig {
    /// Steps between lines; the last step is always written.
    #[setting(default = 1, at_least = 1, unit = "updates")]
    pub every: u64,
    /// File name in the run directory, which nothing else of the run has.
    #[setting(default = "metrics.jsonl")]
    pub file: String,
}

struct Jsonl {
    every: u64,
    path: PathBuf,
    lines: Option<Lines>,
    last: u64,
}

impl Jsonl {
    fn write(&mut self, report: &Report) -> Result<()> {
        if report.step <= self.last || report.values.is_empty() {
            return Ok(());
        }
        self.last = report.step;
        let line = serde_json::to_string(report).map_err(|e| ebm_core::Error::plugin("jsonl", e))?;
        self.lines.as_mut().map_or(Ok(()), |l| l.write(&line))
    }
}

impl Observer for Jsonl {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Start { step, of, .. } => {
                let course = Course { step: *step, of: *of, every: self.every };
                let lines = Lines::open(&self.path, course, false, step_of)?;
                self.last = lines.last();
                self.lines = Some(lines);
            }
            Event::Step { report, .. } if report.step.is_multiple_of(self.every) => self.write(report)?,
            // A run that is resumed from here finds all lines up to here.
            Event::Saving { .. } => self.lines.as_mut().map_or(Ok(()), Lines::sync)?,
            Event::Finish { report, .. } => {
                self.write(report)?;
                self.lines.as_mut().map_or(Ok(()), Lines::sync)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn remarks(&mut self) -> Vec<String> {
        self.lines.as_mut().map(Lines::remarks).unwrap_or_default()
    }

    fn entries(&self) -> Option<(String, u64)> {
        self.lines.as_ref().map(Lines::entries)
    }

    fn name(&self) -> String {
        "jsonl".into()
    }
}

fn step_of(line: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Step {
        step: u64,
    }
    serde_json::from_str::<Step>(line).ok().map(|s| s.step)
}

#[plugin(
    "jsonl",
    summary = "the numbers of every step as JSON lines",
    source = "this project",
    example = "every = 10"
)]
impl ObserverConfig for JsonlConfig {
    fn make(&self, paths: &RunPaths) -> Result<Box<dyn Observer>> {
        let path = paths.claim("file", &self.file)?;
        Ok(Box::new(Jsonl { every: self.every, path, lines: None, last: 0 }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake_tests as fake;

    #[test]
    fn a_resumed_run_writes_the_file_of_a_straight_run() {
        let folder = tempfile::tempdir().unwrap();
        let paths = RunPaths::new(folder.path());
        let config: Box<dyn ObserverConfig> = toml::from_str("kind = 'jsonl'\nevery = 2").unwrap();
        fake::run(&mut *config.build(&paths).unwrap(), folder.path(), 0, 5, "interrupted").unwrap();
        // Killed after step 5, resumed from the checkpoint of step 3.
        fake::run(&mut *config.build(&paths).unwrap(), folder.path(), 3, 8, "done").unwrap();
        let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        let steps: Vec<u64> = text.lines().map(|l| step_of(l).unwrap()).collect();
        assert_eq!(steps, [2, 4, 6, 8]);
        assert!(text.contains("\"energy.data\":-0.5") && text.contains("\"loss.kl\":null"), "{text}");
    }
}
