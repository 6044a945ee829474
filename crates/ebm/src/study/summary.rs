//! The figures of a study: of every run, and of every variant against the first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ebm_core::Level;
use ebm_eval::fisher_exact;
use serde::Serialize;

use super::file::Study;
use super::record::{Ended, Record};
use crate::error::{Error, Result};
use crate::median::median;
use crate::report::series::Series;

/// Fewest steps at the end of a run that count as its last.
const LAST: usize = 10;

/// The figures of a study.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Name of the study.
    pub name: String,
    /// Steps of a run that reaches its end.
    pub steps: u64,
    /// Bound of |mean energy|.
    pub max_energy: f64,
    /// Numbers of reports that the table shows besides its own.
    pub columns: Vec<String>,
    /// In the order of the study file.
    pub variants: Vec<VariantSummary>,
    /// Every finished run, variants in order.
    pub runs: Vec<RunSummary>,
}

/// The figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct RunSummary {
    /// How it ended.
    #[serde(flatten)]
    pub record: Record,
    /// Medians of a run by name: `difference` and `energy` over its last tenth (at least ten steps), `grad.<term>`
    /// over all reports that have them, `kl/cd` of the two norms of a step, `seconds` a step.
    pub figures: BTreeMap<String, f64>,
    /// Numbers over its steps.
    #[serde(skip)]
    pub series: Series,
}

/// The figures of a variant.
#[derive(Clone, Debug, Serialize)]
pub struct VariantSummary {
    /// Its name.
    pub name: String,
    /// What it changes, beyond what every run does.
    pub settings: Vec<String>,
    /// Finished runs.
    pub runs: u64,
    /// Runs that blew up.
    pub blown_up: u64,
    /// Runs that did their steps and were found ill at their end.
    pub ill: u64,
    /// Runs that ended because their time was over.
    pub out_of_time: u64,
    /// Median number of steps until the blow-up, of the runs that blew up.
    pub blow_up_step: Option<f64>,
    /// Two-sided p of Fisher's exact test of its blow-ups against the first variant's; none for the first.
    pub p: Option<f64>,
    /// Medians over the runs of what runs' summaries and records hold.
    pub medians: BTreeMap<String, f64>,
}

impl Summary {
    /// The figures of finished runs, each with its directory.
    pub(super) fn of(study: &Study, records: &[(Record, PathBuf)]) -> Result<Self> {
        let mut runs = Vec::new();
        let mut variants: Vec<VariantSummary> = Vec::new();
        for variant in &study.variants {
            let mut own = Vec::new();
            for (record, directory) in records.iter().filter(|(r, _)| r.variant == variant.name) {
                own.push(RunSummary::of(record.clone(), Series::read(directory)?, &study.columns));
            }
            let count = |e: Ended| own.iter().filter(|r| r.record.ended == e).count() as u64;
            let (n, blown_up) = (own.len() as u64, count(Ended::BlownUp));
            let blown = own.iter().filter(|r| r.record.ended == Ended::BlownUp);
            variants.push(VariantSummary {
                name: variant.name.clone(),
                settings: variant
                    .set
                    .iter()
                    .cloned()
                    .chain(variant.unset.iter().map(|u| format!("without {u}")))
                    .collect(),
                runs: n,
                blown_up,
                ill: own.iter().filter(|r| r.is_ill()).count() as u64,
                out_of_time: count(Ended::OutOfTime),
                blow_up_step: median(blown.map(|r| r.record.steps as f64)),
                p: variants.first().map(|v| fisher_exact((v.blown_up, v.runs), (blown_up, n))),
                medians: medians(&own),
            });
            runs.extend(own);
        }
        if let Some((column, known)) = unknown(&study.columns, &runs) {
            let message = format!("columns: no run has a number {column:?}, wanted one of {known}");
            return Err(Error::unfit(format!("study {}", study.name), message));
        }
        let (name, limits, columns) = (study.name.clone(), &study.limits, study.columns.clone());
        Ok(Summary { name, steps: limits.steps, max_energy: limits.max_energy, columns, variants, runs })
    }
}

/// The first column that no run has, with the names of those that they have; `None` without runs.
fn unknown<'c>(columns: &'c [String], runs: &[RunSummary]) -> Option<(&'c str, String)> {
    let column = columns.iter().filter(|_| !runs.is_empty()).find(|c| !runs.iter().any(|run| run.has(c)))?;
    let known: BTreeSet<&str> =
        runs.iter().flat_map(|r| r.series.values.keys()).map(String::as_str).collect();
    Some((column, known.into_iter().collect::<Vec<_>>().join(", ")))
}

/// Says of the first run which columns it does not have: whoever wrote them wrongly need not wait for the last run.
pub(super) fn look_at(study: &Study, record: Record, directory: &Path) -> Result<()> {
    let first = RunSummary::of(record, Series::read(directory)?, &study.columns);
    if let Some((column, known)) = unknown(&study.columns, &[first]) {
        tracing::warn!(
            "columns: the first run has no number {column:?}, only {known}; if no run has it the study ends in an error"
        );
    }
    Ok(())
}

impl RunSummary {
    /// Whether it did not blow up and yet is ill.
    fn is_ill(&self) -> bool {
        self.record.ended != Ended::BlownUp && self.record.health == Some(Level::Ill)
    }

    /// Whether it has this number, among its own or its measures.
    fn has(&self, name: &str) -> bool {
        self.figures.contains_key(name) || self.record.measures.contains_key(name)
    }

    fn of(record: Record, series: Series, columns: &[String]) -> Self {
        let mut figures = BTreeMap::new();
        let mut put = |name: &str, value: Option<f64>| {
            figures.extend(value.map(|v| (name.to_string(), v)));
        };
        let last = |name: &str| {
            let all: Vec<f64> = series.points(name).map(|(_, v)| v).collect();
            let from = all.len() - (all.len() / 10).max(LAST).min(all.len());
            median(all[from..].iter().copied())
        };
        for name in columns {
            put(name, last(name));
        }
        put("difference", last("energy.difference"));
        put("energy", last("energy.samples"));
        for name in series.values.keys().filter(|n| n.starts_with("grad.")) {
            put(name, median(series.points(name).map(|(_, v)| v)));
        }
        let of_cd: BTreeMap<u64, f64> = series.points("grad.cd").collect();
        let ratio = series.points("grad.kl").filter_map(|(step, kl)| Some(kl / of_cd.get(&step)?));
        put("kl/cd", median(ratio));
        put("seconds", median(series.points("seconds").map(|(_, v)| v)));
        RunSummary { record, figures, series }
    }
}

fn medians(runs: &[RunSummary]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in runs.iter().flat_map(|r| r.figures.iter().chain(&r.record.measures)) {
        all.entry(name).or_default().push(*value);
    }
    all.into_iter().filter_map(|(name, v)| Some((name.to_string(), median(v)?))).collect()
}
