//! `extremes`: the least and the greatest of a number so far, as a small table.

use std::io::Write as _;
use std::path::PathBuf;

use ebm_core::{Error, Event, Observer, ObserverConfig, Report, Result, RunPaths, Settings, plugin};

/// Writes `extremes.csv`: step, least and greatest of a number, whenever one of them changes.
#[derive(Clone, Debug, Settings)]
pub struct Extremes {
    /// The number, by its name in the report.
    #[setting(default = "energy.data")]
    pub of: String,
}

struct Writing {
    of: String,
    path: PathBuf,
    /// Lines up to here: step, least, greatest.
    seen: Vec<(u64, f64, f64)>,
}

impl Writing {
    fn look(&mut self, report: &Report) {
        let Some(now) = report.get(&self.of).filter(|v| v.is_finite()) else { return };
        let (least, greatest) = self.seen.last().map_or((now, now), |l| (l.1.min(now), l.2.max(now)));
        if self.seen.last().is_none_or(|last| (last.1, last.2) != (least, greatest)) {
            self.seen.push((report.step, least, greatest));
        }
    }

    /// Whole and on the medium, or an error that says where.
    fn save(&self) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        let mut file = std::fs::File::create(&self.path).map_err(io)?;
        let lines: String =
            self.seen.iter().map(|(step, low, high)| format!("{step},{low},{high}\n")).collect();
        file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()).map_err(io)
    }

    /// What an earlier program wrote up to `step`; later steps will be told again.
    fn load(&mut self, step: u64) -> Result<()> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(&self.path, e)),
        };
        let line = |l: &str| -> Option<(u64, f64, f64)> {
            let mut parts = l.split(',');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        };
        self.seen = text.lines().filter_map(line).filter(|l| l.0 <= step).collect();
        Ok(())
    }
}

impl Observer for Writing {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Start { step, .. } => self.load(*step)?,
            Event::Step { report, .. } => self.look(report),
            Event::Saving { .. } | Event::Finish { .. } => self.save()?,
            _ => {}
        }
        Ok(())
    }

    fn name(&self) -> String {
        "extremes".into()
    }
}

#[plugin("extremes", source = "this example", example = "of = \"energy.data\"")]
impl ObserverConfig for Extremes {
    fn make(&self, paths: &RunPaths) -> Result<Box<dyn Observer>> {
        let path = paths.claim("", "extremes.csv")?;
        Ok(Box::new(Writing { of: self.of.clone(), path, seen: Vec::new() }))
    }
}
