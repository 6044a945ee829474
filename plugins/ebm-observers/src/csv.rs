//! `csv`: chosen numbers of every step as a table.

use std::path::PathBuf;

use ebm_core::{Event, Observer, ObserverConfig, Report, Result, RunPaths, Settings, plugin};

use crate::course::Course;
use crate::lines::Lines;

/// Writes `metrics.csv` with a header; a number that a step does not have is an empty field.
#[derive(Clone, Debug, Settings)]
pub struct CsvConfig {
    /// Steps between lines; the last step is always written.
    #[setting(default = 10, at_least = 1, unit = "updates")]
    pub every: u64,
    /// File name in the run directory, which nothing else of the run has.
    #[setting(default = "metrics.csv")]
    pub file: String,
    /// Names of the values, in this order, after the step.
    #[setting(default = ["energy.data", "energy.samples", "energy.difference", "grad", "rate", "seconds"])]
    pub columns: Vec<String>,
}

struct Csv {
    config: CsvConfig,
    path: PathBuf,
    lines: Option<Lines>,
    last: u64,
}

impl Csv {
    fn write(&mut self, report: &Report) -> Result<()> {
        let Some(lines) =
            self.lines.as_mut().filter(|_| report.step > self.last && !report.values.is_empty())
        else {
            return Ok(());
        };
        self.last = report.step;
        let mut line = report.step.to_string();
        for name in &self.config.columns {
            line.push(',');
            if let Some(v) = report.get(name) {
                line += &v.to_string();
            }
        }
        lines.write(&line)
    }
}

impl Observer for Csv {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Start { step, of, .. } => {
                let step_of = |line: &str| line.split(',').next()?.trim().parse().ok();
                let course = Course { step: *step, of: *of, every: self.config.every };
                let mut lines = Lines::open(&self.path, course, true, step_of)?;
                self.last = lines.last();
                if lines.is_empty()? {
                    lines.write(&format!("step,{}", self.config.columns.join(",")))?;
                }
                self.lines = Some(lines);
            }
            Event::Step { report, .. } if report.step.is_multiple_of(self.config.every) => {
                self.write(report)?
            }
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
        "csv".into()
    }
}

#[plugin(
    "csv",
    summary = "chosen numbers of every step as a table",
    source = "this project",
    example = "every = 10\ncolumns = [\"energy.data\", \"energy.samples\"]"
)]
impl ObserverConfig for CsvConfig {
    fn make(&self, paths: &RunPaths) -> Result<Box<dyn Observer>> {
        let path = paths.claim("file", &self.file)?;
        Ok(Box::new(Csv { config: self.clone(), path, lines: None, last: 0 }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake_tests as fake;

    #[test]
    fn the_table_has_one_header_and_every_step_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths = RunPaths::new(folder.path());
        let config: Box<dyn ObserverConfig> =
            toml::from_str("kind = 'csv'\nevery = 1\ncolumns = ['energy.data', 'none.such']").unwrap();
        fake::run(&mut *config.build(&paths).unwrap(), folder.path(), 0, 3, "interrupted").unwrap();
        fake::run(&mut *config.build(&paths).unwrap(), folder.path(), 2, 4, "done").unwrap();
        let text = std::fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
        assert_eq!(text, "step,energy.data,none.such\n1,-0.5,\n2,-0.5,\n3,-0.5,\n4,-0.5,\n");
    }
}
