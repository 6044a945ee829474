//! `lines`: the energy of the data as a line of text a step.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use ebm_core::{Error, Event, Observer, ObserverConfig, Result, RunPaths, Settings, plugin};

/// The energy of the data as a line of text a step.
#[derive(Clone, Debug, Settings)]
pub struct Lines {
    /// Name of the file in the run directory.
    #[setting(default = "energies.txt")]
    pub file: String,
}

/// Writes `step energy` to a file that only grows.
struct Writer(PathBuf);

impl Writer {
    fn io(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.0.clone(), source }
    }

    /// Takes off the lines after `step`: a run that goes on from there tells of them again.
    fn begin(&self, step: u64) -> Result<()> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(self.io(e)),
        };
        let told = |line: &&str| {
            line.split(' ').next().and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n <= step)
        };
        let kept: String = text.lines().filter(told).map(|line| format!("{line}\n")).collect();
        fs::write(&self.0, kept).map_err(|e| self.io(e))
    }
}

impl Observer for Writer {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Start { step, .. } => self.begin(*step),
            Event::Step { report, .. } => {
                let Some(energy) = report.get("energy.data") else { return Ok(()) };
                let mut file =
                    OpenOptions::new().create(true).append(true).open(&self.0).map_err(|e| self.io(e))?;
                writeln!(file, "{} {energy}", report.step).map_err(|e| self.io(e))
            }
            // What was told up to here must outlive the process; the lines are written, the medium may still wait.
            Event::Saving { .. } => match fs::File::open(&self.0) {
                Ok(file) => file.sync_all().map_err(|e| self.io(e)),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                Err(e) => Err(self.io(e)),
            },
            _ => Ok(()),
        }
    }
    fn name(&self) -> String {
        "lines".into()
    }
}

#[plugin("lines", source = "this example", example = "file = \"energies.txt\"")]
impl ObserverConfig for Lines {
    fn make(&self, paths: &RunPaths) -> Result<Box<dyn Observer>> {
        Ok(Box::new(Writer(paths.claim_growing("file", &self.file)?)))
    }
}
