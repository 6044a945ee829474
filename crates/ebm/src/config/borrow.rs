//! A configuration that only composes trained energies: what it leaves out comes from the first run it names.

use ebm_train::run;
use toml::{Table, Value};

use super::overrides::Override;
use super::path::Path;
use super::source::Source;
use crate::error::Result;

/// Sections that sampling needs and a composition need not repeat.
const BORROWED: [&str; 7] = ["data", "sampler", "chains", "replay", "objective", "optimiser", "generate"];

impl Source {
    /// The same with missing sections (all but `run`, observers and policies) taken from the first run that
    /// the energy names by `kind = "checkpoint"`; as it is if the energy names none or nothing is missing.
    ///
    /// # Errors
    /// If the text is not TOML, or the run's configuration cannot be read.
    pub fn borrowing(mut self) -> Result<Self> {
        let document = self.document()?;
        let missing: Vec<&str> = BORROWED.into_iter().filter(|s| !document.contains_key(*s)).collect();
        let mut paths = Vec::new();
        if let Some(energy) = document.get("energy") {
            checkpoints(energy, &Path::default().key("energy"), &mut paths);
        }
        let Some((_, first)) = paths.first().filter(|_| !missing.is_empty()) else { return Ok(self) };
        let lent = self.base.join(first);
        let text = lent.join("config.toml");
        if !text.is_file() {
            // The energy's own message says what is wrong with its path.
            return Ok(self);
        }
        let lender = Source::file(&text)?;
        let sections = lender.document()?;
        let name = format!("{}, which {} names", text.display(), self.name);
        for section in missing {
            if let Some(value) = sections.get(section) {
                let mut value = value.clone();
                // A composition has its labels fixed, so it cannot compare them.
                if let ("objective", Value::Table(terms)) = (section, &mut value) {
                    terms.remove("label");
                }
                self.overrides.push(Override::new(Path::default().key(section), value, &name));
            }
        }
        // Relative paths of the borrowed sections count from where the run's did, so those of the energy are made whole.
        if let Ok(base) = run::manifest_of(&lent).map(|m| m.base) {
            for (place, path) in paths {
                let whole =
                    std::path::absolute(self.base.join(&path)).unwrap_or_else(|_| self.base.join(&path));
                let text = format!("{place} = \"{path}\" in {}", self.name);
                self.overrides.push(Override::new(place, whole.display().to_string(), text));
            }
            self.base = base;
        }
        Ok(self)
    }
}

/// Places and values of the paths of trained energies, in the order of the text's tables.
fn checkpoints(value: &Value, at: &Path, out: &mut Vec<(Path, String)>) {
    match value {
        Value::Table(table) => {
            let is = |t: &Table| t.get("kind").and_then(Value::as_str) == Some("checkpoint");
            if let Some(path) = table.get("path").and_then(Value::as_str).filter(|_| is(table)) {
                out.push((at.key("path"), path.to_string()));
            }
            table.iter().for_each(|(k, v)| checkpoints(v, &at.key(k), out));
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| checkpoints(v, &at.index(i), out)),
        _ => {}
    }
}
