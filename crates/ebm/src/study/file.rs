//! The study file: base configuration, variants, seeds, limits.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Value;

use super::changes::{Axis, changes, heeded, product};
use crate::config::overrides::Override;
use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::text_file;

/// A grid of short trainings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Number of the format; 1.
    pub format: u32,
    /// Name of the study.
    pub name: String,
    /// The configuration that all runs start from; relative paths count from the study file's folder.
    pub base: PathBuf,
    /// Seeds of every variant.
    pub seeds: Vec<u64>,
    /// Changes of every run, each as `--set` of `ebm train` takes it; or a table of settings.
    #[serde(default, deserialize_with = "changes")]
    pub set: Vec<String>,
    /// Settings that are taken out of every run.
    #[serde(default)]
    pub unset: Vec<String>,
    /// When a run ends.
    pub limits: Limits,
    /// What is compared; the first is the one that the others are tested against.
    #[serde(rename = "variant", default)]
    pub variants: Vec<Variant>,
    /// Settings of which every variant is run with each combination of values; then they are among the variants.
    #[serde(default, skip_serializing)]
    pub product: Vec<Axis>,
    /// Numbers of reports that the table shows too, such as `sampler.accepted` or `loss.cd`: medians over a run's last tenth.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Folder from which `base` counts.
    #[serde(skip)]
    folder: PathBuf,
}

/// When a run ends, and what it reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Updates.
    pub steps: u64,
    /// Largest absolute mean energy of data or samples, nats; above it the run counts as blown up.
    pub max_energy: f64,
    /// Seconds of training steps after which a run ends without a blow-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Updates between reports with gradient norms of each term.
    #[serde(default = "ten")]
    pub report_every: u64,
    /// Whether the chains in the replay buffer of a run that reached its end are measured as images.
    #[serde(default)]
    pub measure: bool,
}

fn ten() -> u64 {
    10
}

/// One setting of what is compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Changes, made after those of the study; or a table of settings.
    #[serde(default, deserialize_with = "changes")]
    pub set: Vec<String>,
    /// Settings that are taken out.
    #[serde(default)]
    pub unset: Vec<String>,
}

impl Study {
    /// Reads a study file.
    ///
    /// # Errors
    /// If it cannot be read or something in it is wrong, with its line.
    pub fn file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = text_file::read("study", path)?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Study::text(&path.display().to_string(), &text, &folder)
    }

    /// Reads a study from its text; relative paths count from `folder`.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub fn text(name: &str, text: &str, folder: &Path) -> Result<Self> {
        let source = Source::text(name, text);
        let mut study: Study = source.values(Value::Table(source.document()?))?;
        study.folder = folder.to_path_buf();
        study.checked(name)
    }

    fn checked(mut self, file: &str) -> Result<Self> {
        let wrong = |what: String| Err(Error::unfit(file, what));
        match product(std::mem::take(&mut self.variants), &self.product) {
            Ok(all) => self.variants = all,
            Err(why) => return wrong(why),
        }
        if self.format != 1 {
            return wrong(format!("format is {}, wanted 1", self.format));
        }
        if self.seeds.is_empty() || self.variants.is_empty() {
            return wrong(
                "has no seeds, or neither [[variant]] nor [[product]]; wanted at least one of each".into(),
            );
        }
        if self.limits.steps == 0 || self.limits.report_every == 0 {
            return wrong("limits.steps or limits.report_every is 0, wanted at least 1".into());
        }
        let positive = |v: f64| v > 0.0 && v.is_finite();
        if !positive(self.limits.max_energy) || !self.limits.seconds.is_none_or(positive) {
            return wrong("limits.max_energy or limits.seconds is not above 0".into());
        }
        let twice = |i: usize, same: &dyn Fn(usize) -> bool| (0..i).any(same);
        if let Some(i) = (0..self.seeds.len()).find(|&i| twice(i, &|j| self.seeds[j] == self.seeds[i])) {
            return wrong(format!("seed {} is there twice", self.seeds[i]));
        }
        for (i, v) in self.variants.iter().enumerate() {
            // Names become names of folders.
            let plain = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
            if v.name.is_empty() || v.name.starts_with('.') || !v.name.chars().all(plain) {
                return wrong(format!("variant `{}`: wanted a name of letters, digits, - _ . +", v.name));
            }
            if twice(i, &|j| self.variants[j].name == v.name) {
                return wrong(format!("variant `{}` is there twice", v.name));
            }
        }
        Ok(self)
    }

    /// The configuration of one run.
    pub(super) fn source(&self, variant: &Variant, seed: u64, changes: &[Override]) -> Result<Source> {
        let mut source = Source::file(self.folder.join(&self.base))?;
        let limits = &self.limits;
        for (set, unset) in [(&self.set, &self.unset), (&variant.set, &variant.unset)] {
            for path in unset {
                source.overrides.push(Override::remove(path).map_err(Error::Change)?);
            }
            source = source.with(set)?;
        }
        source.overrides.extend_from_slice(changes);
        heeded(source.overrides.iter()).map_err(Error::Change)?;
        let stop = |seconds: f64| format!(", {{ kind = \"stop-after\", seconds = {seconds:?} }}");
        source.with([
            format!("run.name=\"{}\"", variant.name),
            format!("run.seed={seed}"),
            format!("run.steps={}", limits.steps),
            format!("run.report_every={}", limits.report_every),
            // Observers and policies of the base are for a run that somebody watches.
            "observer=[{ kind = \"jsonl\" }]".to_string(),
            format!(
                "policy=[{{ kind = \"checkpoint\", every = {}, keep = 1 }}, {{ kind = \"stop-on-divergence\", max_energy = {:?} }}{}]",
                limits.steps.div_ceil(4),
                limits.max_energy,
                limits.seconds.map_or(String::new(), stop)
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "format = 1\nname = 'x'\nbase = 'run.toml'\nseeds = [0]\n[limits]\nsteps = 5\nmax_energy = 1.0\n[[variant]]\nname = 'a'\n";

    fn error(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from));
        Study::text("s.toml", &TEXT.replace(from, to), Path::new(".")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        Study::text("s.toml", TEXT, Path::new(".")).unwrap();
        let e = error("steps = 5", "stepz = 5");
        assert!(e.contains("stepz") && e.contains("s.toml:"), "{e}");
        assert!(error("format = 1", "format = 2").contains("wanted 1"));
        assert!(error("[0]", "[3, 0, 3]").contains("seed 3 is there twice"));
        assert!(error("name = 'a'", "name = '../a'").contains("letters"));
        assert!(error("name = 'a'", "name = 'a'\n[[variant]]\nname = 'a'").contains("`a` is there twice"));
        assert!(error("max_energy = 1.0", "max_energy = -1.0").contains("not above 0"));
        assert!(error("[0]", "[]").contains("no seeds"));
    }
}
