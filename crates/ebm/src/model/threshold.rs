//! Thresholds of a run: fitted on held-out samples, kept in its folder, never overwritten.

use std::path::{Path, PathBuf};

use ebm_core::{Condition, Given};
use ebm_eval::{calibrated, typical_interval};
use ebm_model::Weights;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::inputs::set::Inputs;
use crate::model::energies::without_condition;
use crate::model::open::Model;
use crate::model::scorer::ScoreKind;
use crate::model::scorer::{Scored, Scorer};

/// The newest format of their files, and the one before, which kept neither condition nor weights.
const FORMATS: [u32; 2] = [1, 2];

/// The folder of a run's thresholds; they are numbered from 1.
const FOLDER: &str = "thresholds";

/// A threshold on one score: samples that score above it are taken for outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Format of this file: 2, or 1 of a program that kept no condition.
    pub format: u32,
    /// The score.
    pub score: ScoreKind,
    /// The threshold.
    pub threshold: f64,
    /// The false-positive rate that it promises: of new inside samples at most this share is taken for outside.
    pub fpr: f64,
    /// The held-out samples that it was fitted on.
    pub set: String,
    /// Their number.
    pub count: usize,
    /// Its place among their rising scores, from 1; of typicality, that of a new score among theirs and its own.
    pub rank: usize,
    /// Share of them above it.
    pub above: f64,
    /// The middle of the typical energies, which typicality is the distance from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical_energy: Option<f64>,
    /// Whether images are resized and recoloured to fit the model.
    pub fit: bool,
    /// The condition of the energy that it was fitted on; without it the energy is the marginal one, or takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
    /// The weights; not known of files of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Updates of the checkpoint that it holds for.
    pub step: u64,
    /// Digest of the settings of its run, seed included: with the step it tells the weights.
    pub config: String,
}

/// How a threshold is fitted.
#[derive(Clone, Debug)]
pub struct ThresholdOptions {
    /// Held-out samples; without it those of the run's data.
    pub inside: Option<String>,
    /// The false-positive rate, in (0, 1).
    pub fpr: f64,
    /// The score.
    pub score: String,
    /// Samples used at most, at equal distances.
    pub count: Option<u64>,
    /// Samples that are scored together; the run's batch without it.
    pub batch: Option<usize>,
    /// Whether images are resized and recoloured to fit the model.
    pub fit: bool,
}

/// Fits a threshold and keeps it in the folder of the run under the next free number; see [`ebm_eval::calibrated`] for
/// what it promises, and [`ebm_eval::typical_interval`] for typicality.
///
/// # Errors
/// If `run` is no run, the samples cannot be read or are too few for the rate, or the file cannot be written.
pub fn fit_threshold(model: &Model, run: &Path, options: &ThresholdOptions) -> Result<(Threshold, PathBuf)> {
    let step = model.step().filter(|_| run.is_dir()).ok_or_else(|| {
        Error::unfit(run.display(), "a threshold is kept in the folder of a run, wanted one")
    })?;
    let kinds = ScoreKind::parse(std::slice::from_ref(&options.score), without_condition(model)?.spec())?;
    let [score] = &kinds[..] else {
        return Err(Error::invalid("score", &options.score, "one score"));
    };
    if !(options.fpr > 0.0 && options.fpr < 1.0) {
        return Err(Error::invalid("fpr", options.fpr, "a share in (0, 1), such as 0.05"));
    }
    let scorer = Scorer::new(model, &kinds)?;
    let set = match &options.inside {
        Some(what) => Inputs::open(what)?,
        None => Inputs::held_out(model.data()?, "inside")?,
    };
    let rows = options.batch.unwrap_or(model.batch());
    let typicality = *score == ScoreKind::Typicality;
    let fitted_on = if typicality { &ScoreKind::Energy } else { score };
    let mut scores = Vec::new();
    set.each(rows, options.count, &scorer.fit(options.fit), &mut |piece| {
        scores.extend(scorer.column(fitted_on, &scorer.score(&piece)?, None));
        Ok(())
    })?;
    // Distance from the middle, longest distance that is inside, rank, share outside.
    let fitted = match typicality {
        true => typical_interval(&scores, options.fpr).map(|t| {
            let middle = 0.5 * (t.low + t.high);
            (Some(middle), (t.high - middle).max(middle - t.low), t.rank, t.above)
        }),
        false => calibrated(&scores, options.fpr).map(|c| (None, c.threshold, c.rank, c.above)),
    };
    let (typical_energy, threshold, rank, above) = fitted.map_err(|e| match e {
        ebm_eval::EvalError::TooFew { found, wanted, .. } => Error::invalid(
            "fpr",
            options.fpr,
            format!("at least {wanted} samples for this rate, found {found} samples in {}", set.name()),
        ),
        other => other.into(),
    })?;
    let threshold = Threshold {
        format: FORMATS[1],
        score: score.clone(),
        threshold,
        fpr: options.fpr,
        set: set.name().to_string(),
        count: scores.len(),
        rank,
        above,
        typical_energy,
        fit: options.fit,
        given: model.config().generate.given.clone(),
        weights: Some(model.config().generate.weights),
        step,
        config: model.digest().unwrap_or_default().to_string(),
    };
    let path = threshold.keep(run)?;
    Ok((threshold, path))
}

impl Threshold {
    fn keep(&self, run: &Path) -> Result<PathBuf> {
        let folder = run.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let text = crate::whole_file::json(self)?;
        let mut number = numbers(&folder)?.last().map_or(1, |n| n + 1);
        loop {
            // Another program may take a number at the same time; then it is the next one's turn.
            let path = folder.join(format!("{number}.json"));
            if ebm_data::atomic::write_new(&path, text.as_bytes())? {
                return Ok(path);
            }
            number += 1;
        }
    }

    /// The threshold of a run that `which` names: its number or a file; the newest without it.
    ///
    /// # Errors
    /// If there is none, the file is damaged, the run has had more updates since, or its energy is taken under another
    /// condition or with other weights than those that it was fitted on.
    pub fn open(model: &Model, run: &Path, which: Option<&str>) -> Result<Self> {
        let folder = run.join(FOLDER);
        let path = match which {
            None => match numbers(&folder)?.last() {
                Some(number) => folder.join(format!("{number}.json")),
                None => {
                    let message = format!("{}: has no threshold yet", run.display());
                    return Err(Error::NoThreshold { run: run.to_path_buf(), message });
                }
            },
            Some(which) if which.parse::<u64>().is_ok() => folder.join(format!("{which}.json")),
            Some(which) => PathBuf::from(which),
        };
        let text = crate::text_file::read("threshold", &path)?;
        let found: Threshold = serde_json::from_str(&text)
            .map_err(|e| ebm_core::Error::data(&path, format!("is no threshold: {e}; fit it again")))?;
        if !FORMATS.contains(&found.format) || !found.threshold.is_finite() {
            let message = format!(
                "found format {} and threshold {}, wanted format 1 or 2 and a finite number",
                found.format, found.threshold
            );
            return Err(ebm_core::Error::data(&path, message).into());
        }
        let stale = |why: String| {
            let message = format!("{}: was fitted {why}", path.display());
            Error::NoThreshold { run: run.to_path_buf(), message }
        };
        if model.step() != Some(found.step) {
            let has = model.step().map_or("none".into(), |s| s.to_string());
            return Err(stale(format!("after {} updates, the model has {has}", found.step)));
        }
        if model.digest() != Some(found.config.as_str()) {
            return Err(stale("on a run with other settings or another seed".into()));
        }
        found.of_this_energy(model).map_err(stale)?;
        ScoreKind::parse(&[found.score.to_string()], without_condition(model)?.spec())?;
        Ok(found)
    }

    /// Whether it was fitted on the energy that the model is asked for; if not, on which, in words.
    fn of_this_energy(&self, model: &Model) -> std::result::Result<(), String> {
        let (facts, generate) = (model.facts(), &model.config().generate);
        let vector = |g: &Option<Given>| g.as_ref().map(|g| g.vector(facts.condition, &facts.class_names));
        let (own, now) = (vector(&self.given), vector(&generate.given));
        if own != now {
            let words = |g: &Option<Given>| {
                g.as_ref().map_or("the marginal energy of all classes".to_string(), |g| {
                    format!("the energy given {g}")
                })
            };
            let (own, now) = (words(&self.given), words(&generate.given));
            return Err(match self.format {
                1 => format!("by a program that kept no condition, which stands for {own}, this is {now}"),
                _ => format!("on {own}, this is {now}"),
            });
        }
        if self.weights.is_some_and(|w| w != generate.weights) && model.manifest().is_some_and(|m| m.average)
        {
            let words = |w: Weights| if w == Weights::Live { "live" } else { "averaged" };
            let own = self.weights.map_or("other", words);
            return Err(format!("on {own} weights, these are {} ones", words(generate.weights)));
        }
        if self.format == 1 && model.energy().spec().condition != Condition::None {
            tracing::warn!(
                "the threshold is of a program that kept no condition: it is taken for one of marginal energies"
            );
        }
        Ok(())
    }

    /// The score of each sample, and whether it is inside.
    pub(crate) fn judge(&self, scorer: &Scorer, scored: &Scored) -> Vec<(f64, bool)> {
        let column = scorer.column(&self.score, scored, self.typical_energy);
        column.into_iter().map(|s| (s, s <= self.threshold)).collect()
    }
}

/// Numbers of the thresholds of a folder, rising.
fn numbers(folder: &Path) -> Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(folder)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io(folder))?.file_name();
        found.extend(name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}
