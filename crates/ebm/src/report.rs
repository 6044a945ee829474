//! Runs as one HTML page that needs no network: configuration, curves, pictures, energies, tables, health.
//!
//! The page is markup with drawings in it, whole without its script, which tells the numbers under the pointer.

pub(crate) mod charts;
mod curves;
mod health;
mod landscape;
mod markup;
mod overview;
mod page;
mod pictures;
pub(crate) mod series;
mod sheets;
mod words;

use std::path::{Path, PathBuf};

use ebm_model::checkpoint;
use ebm_train::ledger;
use serde_json::Value;

use charts::Charted;
pub use health::{Health, Level};
use landscape::{Histograms, Surface};
pub use series::Series;
use sheets::{Picture, Sheets};

use crate::config::overrides::Override;
use crate::error::{Error, Result};
use crate::model::open::Model;

/// How much to put on the page.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// Most bytes of pictures of one kind of a run; more are thinned evenly over the steps.
    pub picture_bytes: u64,
    /// Load the model for histograms of energies and, in the plane, its surface.
    pub energies: bool,
    /// Changes to the settings of the runs, for their models and data.
    pub changes: Vec<Override>,
    /// Data of the runs where they are now; see [`data_setting`](crate::inputs::data_setting).
    pub data: Option<String>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        ReportOptions { picture_bytes: 4 << 20, energies: true, changes: Vec::new(), data: None }
    }
}

/// What the page says.
#[derive(Clone, Debug)]
pub struct Report {
    runs: Vec<RunPage>,
}

#[derive(Clone, Debug)]
struct RunPage {
    name: String,
    config: String,
    step: u64,
    of: Option<u64>,
    outcome: String,
    seconds: Option<f64>,
    skipped: Option<u64>,
    health: Health,
    series: Series,
    sheets: Vec<Sheets>,
    samples: Option<Picture>,
    histograms: Vec<Histograms>,
    surface: Option<Surface>,
    measures: Option<Value>,
    tables: Vec<(String, Value)>,
    notes: Vec<String>,
}

impl Report {
    /// Reads run directories; what a run does not have is left out, with a note where one would expect it.
    ///
    /// # Errors
    /// If a directory is not that of a run, or a file in it cannot be read.
    pub fn read(directories: &[PathBuf], options: &ReportOptions) -> Result<Self> {
        let names = names(directories);
        let runs = directories.iter().zip(names).map(|(d, name)| RunPage::read(d, name, options));
        Ok(Report { runs: runs.collect::<Result<_>>()? })
    }

    /// The health of each run, in order.
    pub fn health(&self) -> impl Iterator<Item = (&str, &Health)> {
        self.runs.iter().map(|r| (r.name.as_str(), &r.health))
    }

    /// Writes `energies` and, if a run has norms of terms, `gradients` into a folder that is there, each as png and svg,
    /// over earlier ones.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn charts(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let legend: Vec<String> = self.runs.iter().map(|r| r.name.clone()).collect();
        let charted: Vec<Charted<'_>> = (self.runs.iter().enumerate())
            .map(|(group, r)| Charted { series: &r.series, group, cross: r.outcome.starts_with("diverged") })
            .collect();
        charts::write(&charted, &legend, f64::INFINITY, folder)
    }

    /// The page.
    ///
    /// # Errors
    /// If a chart or a picture cannot be drawn.
    pub fn html(&self) -> Result<String> {
        page::html(&self.runs)
    }
}

impl RunPage {
    fn read(directory: &Path, name: String, options: &ReportOptions) -> Result<Self> {
        let config_file = directory.join("config.toml");
        if !config_file.is_file() {
            return Err(Error::unfit(
                directory.display(),
                "found no config.toml in it, wanted the directory of a run, such as runs/digits-0-1",
            ));
        }
        let config = ebm_core::regular::read_to_string(&config_file).map_err(Error::io(&config_file))?;
        let mut notes = Vec::new();
        let series = match directory.join(series::METRICS).is_file() {
            true => Series::read(directory)?,
            false => {
                notes.push(
                    "There are no curves: the run has no metrics.jsonl (the observer `jsonl` writes it)."
                        .into(),
                );
                Series::default()
            }
        };
        let summary = json(&directory.join("summary.json"), &mut notes).unwrap_or(Value::Null);
        let end = end(&summary);
        let health = health::of(&series, &summary);
        notes.extend(summary["returns"].as_array().into_iter().flatten().map(went_back));
        let (histograms, surface) = match options.energies {
            true => energies(directory, options, &mut notes),
            false => (Vec::new(), None),
        };
        let last = series.steps.last().copied().unwrap_or(0);
        let final_picture = directory.join("samples.png");
        let samples =
            final_picture.is_file().then(|| sheets::picture(last, &final_picture, &mut notes)).flatten();
        let done =
            checkpoint::list(&checkpoint::checkpoints_of(directory)).last().map_or(0, |(step, _)| *step);
        let done = done.max(summary["step"].as_u64().unwrap_or(0));
        let sheets = sheets::read(directory, options.picture_bytes, &mut notes)?;
        // The last step of a run has its line whatever their distance.
        if series.shorter_than(done) && directory.join(series::METRICS).is_file() {
            notes.push(format!(
                "The curves end at step {last} of {done}: metrics.jsonl lost what came later."
            ));
        }
        notes.extend(ledger::changes(directory));
        let measures = json(&directory.join("measures.json"), &mut notes);
        let tables = tables(directory, &mut notes);
        Ok(RunPage {
            name,
            config,
            step: last.max(summary["step"].as_u64().unwrap_or(0)),
            of: summary["last"]["of"].as_u64(),
            outcome: end,
            seconds: summary["seconds"].as_f64(),
            skipped: summary["skipped"].as_u64(),
            health,
            series,
            sheets,
            samples,
            histograms,
            surface,
            measures,
            tables,
            notes,
        })
    }
}

/// One time that the run went back to a healthy state, as a note.
fn went_back(back: &Value) -> String {
    format!(
        "The run went back from step {} to step {}, on with the factors {}: {} (cause: {}).",
        back["from"],
        back["to"],
        back["factors"],
        back["finding"]["evidence"].as_str().unwrap_or_default(),
        back["finding"]["cause"].as_str().unwrap_or_default()
    )
}

/// Histograms and surface; a model that cannot be loaded is a note on the page, not the end of it.
fn energies(
    directory: &Path,
    options: &ReportOptions,
    notes: &mut Vec<String>,
) -> (Vec<Histograms>, Option<Surface>) {
    let read = |notes: &mut Vec<String>| -> Result<_> {
        let model = Model::open_on(directory, &options.changes, options.data.as_deref())?;
        let seen = landscape::Seen::of(&model, notes);
        Ok((landscape::histograms(&model, &seen)?, landscape::surface(&model, &seen)?))
    };
    match read(notes) {
        Ok(found) => found,
        Err(e) => {
            notes.push(format!("Energies are not shown: {e}"));
            (Vec::new(), None)
        }
    }
}

/// How a run ended, in words: its outcome, with the reason if it has one.
fn end(summary: &Value) -> String {
    match (summary["outcome"].as_str(), summary["reason"].as_str()) {
        (Some(word), Some(why)) => format!("{word}: {why}"),
        (Some(word), None) => word.into(),
        (None, _) => "going on, or killed: it has no summary".into(),
    }
}

/// Whatever evaluation left as JSON below `eval/`.
fn tables(directory: &Path, notes: &mut Vec<String>) -> Vec<(String, Value)> {
    let mut tables = Vec::new();
    let folder = directory.join("eval");
    let mut files: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(|e| Some(e.ok()?.path())).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    for file in files.iter().filter(|f| f.is_file() && f.extension().is_some_and(|e| e == "json")) {
        if let Some(value) = json(file, notes) {
            let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or("table");
            tables.push((stem.to_string(), value));
        }
    }
    tables
}

/// A side file, if it is there; a damaged one is a note on the page, not the end of it.
fn json(path: &Path, notes: &mut Vec<String>) -> Option<Value> {
    let read = match ebm_core::regular::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| format!("is no JSON ({e})")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(e) => Err(format!("cannot be read ({e})")),
    };
    read.map_err(|why| notes.push(format!("Left out: {} {why}.", path.display()))).ok()
}

/// Short names that tell the runs apart: the last part of each path, or as many as that takes.
fn names(directories: &[PathBuf]) -> Vec<String> {
    let tail = |d: &Path, n: usize| -> String {
        let parts: Vec<_> = d.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        parts[parts.len().saturating_sub(n)..].join("/")
    };
    let longest = directories.iter().map(|d| d.components().count()).max().unwrap_or(1);
    (1..=longest)
        .map(|n| directories.iter().map(|d| tail(d, n)).collect::<Vec<_>>())
        .find(|names| names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len())
        .unwrap_or_else(|| {
            directories.iter().enumerate().map(|(i, d)| format!("{} ({})", tail(d, 1), i + 1)).collect()
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_text_of_a_run_leaves_its_place_on_the_page() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), "# </script><script>alert(1)</script> /*PAGE.JS*/")
            .unwrap();
        let options = ReportOptions { energies: false, ..ReportOptions::default() };
        let report = Report::read(&[folder.path().to_path_buf()], &options).unwrap();
        let page = report.html().unwrap();
        assert!(
            !page.contains("alert(1)</script>") && page.contains("# &lt;/script&gt;&lt;script&gt;alert(1)")
        );
        assert!(page.contains("There are no curves") && !page.contains("src=\"http"));
    }

    #[test]
    fn runs_are_told_apart_by_the_shortest_names() {
        let of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["runs/a", "runs/b"]), ["a", "b"]);
        assert_eq!(of(&["x/a", "y/a"]), ["x/a", "y/a"]);
        assert_eq!(of(&["a", "a"]), ["a (1)", "a (2)"]);
    }

    #[test]
    fn runs_that_differ_in_any_member_of_a_list_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let runs: Vec<PathBuf> = ["0.3", "0.5"]
            .iter()
            .map(|weight| {
                let run = folder.path().join(weight);
                std::fs::create_dir(&run).unwrap();
                let parts = format!("parts = [{{ weight = {weight} }}, {{ weight = 1.0 }}]");
                std::fs::write(run.join("config.toml"), format!("[energy]\n{parts}\n")).unwrap();
                run
            })
            .collect();
        let options = ReportOptions { energies: false, ..ReportOptions::default() };
        let page = Report::read(&runs, &options).unwrap().html().unwrap();
        assert!(page.contains("energy.parts[0].weight</th><td>0.3</td><td>0.5</td>"), "{page}");
        assert!(!page.contains("energy.parts[1].weight</th>"));
    }

    #[test]
    fn the_reason_of_a_divergence_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), "").unwrap();
        let summary =
            serde_json::to_string(&ebm_train::Outcome::Diverged("|energy.data| is 200, above 100".into()));
        std::fs::write(folder.path().join("summary.json"), summary.unwrap()).unwrap();
        let options = ReportOptions { energies: false, ..ReportOptions::default() };
        let report = Report::read(&[folder.path().to_path_buf()], &options).unwrap();
        let (_, health) = report.health().next().unwrap();
        assert_eq!(health.level, Level::Ill);
        assert!(health.sentence.contains("above 100"), "{}", health.sentence);
        // A side file that is damaged is a note on the page of what can be shown.
        std::fs::write(folder.path().join("summary.json"), "{").unwrap();
        let page = Report::read(&[folder.path().to_path_buf()], &options).unwrap().html().unwrap();
        assert!(page.contains("summary.json") && page.contains("no JSON"));
    }

    #[test]
    fn what_is_no_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let e = Report::read(&[folder.path().to_path_buf()], &ReportOptions::default()).unwrap_err();
        assert!(matches!(e, Error::Unfit { .. }) && e.to_string().contains("config.toml"), "{e}");
    }
}
