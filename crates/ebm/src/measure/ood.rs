//! How well a model tells what it was trained on from what it was not.

use std::path::Path;

use ebm_core::Key;
use ebm_eval::{DetectionIntervals, FEWEST_SCORES, detection_intervals};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inputs::set::{Inputs, Piece};
use crate::measure::rules::{Inside, PARTNERS, Rule};
use crate::model::energies::without_condition;
use crate::model::open::Model;
use crate::model::scorer::ScoreKind;
use crate::model::scorer::{Scorer, TYPICAL, reference};

mod picture;

/// What to compare, and how.
#[derive(Clone, Debug)]
pub struct OodOptions {
    /// The inside set; without it the held-out part of the run's data.
    pub inside: Option<String>,
    /// Outside sets: names, paths, or rules such as `rule:blur`.
    pub outside: Vec<String>,
    /// Names of scores: `energy`, `terms`, `term.NAME`, `grad-norm`, `typicality`.
    pub scores: Vec<String>,
    /// Samples of a set that are used at most, at equal distances.
    pub count: Option<u64>,
    /// Samples that are scored together; the run's batch without it.
    pub batch: Option<usize>,
    /// Whether images are resized and recoloured to fit the model.
    pub fit: bool,
    /// Whether bytes are spread evenly over their level, as in training, instead of standing in its middle.
    pub dequantise: bool,
    /// Draws that the intervals are taken over.
    pub resamples: usize,
    /// Level of the intervals.
    pub level: f64,
    /// Seed of rules, dequantisation and intervals.
    pub seed: u64,
}

impl Default for OodOptions {
    fn default() -> Self {
        OodOptions {
            inside: None,
            outside: Vec::new(),
            scores: ["energy", "terms", "grad-norm", "typicality"].map(String::from).to_vec(),
            count: Some(10_000),
            batch: None,
            fit: false,
            dequantise: false,
            resamples: 1000,
            level: 0.95,
            seed: 0,
        }
    }
}

/// The figures of all outside sets.
#[derive(Clone, Debug, Serialize)]
pub struct OodReport {
    /// The updates of the checkpoint; `null` for a configuration.
    pub step: Option<u64>,
    /// The inside set.
    pub inside: SetScores,
    /// The outside sets, in the order asked for.
    pub outside: Vec<SetScores>,
    /// A row for each outside set and score.
    pub rows: Vec<OodRow>,
    /// Where typicality is measured from: the set and its mean energy.
    pub typicality_from: Option<(String, f64)>,
    /// Draws that the intervals were taken over.
    pub resamples: usize,
    /// Level of the intervals.
    pub level: f64,
    /// The seed.
    pub seed: u64,
    /// Whether images were made to fit.
    pub fit: bool,
    /// Whether bytes were spread over their levels.
    pub dequantise: bool,
}

/// A set in a word.
#[derive(Clone, Debug, Serialize)]
pub struct SetScores {
    /// Its name, as asked for.
    pub name: String,
    /// Samples scored.
    pub count: usize,
    /// Mean of each score.
    pub mean: Vec<(ScoreKind, f64)>,
    /// The scores themselves.
    #[serde(skip)]
    pub values: Vec<Vec<f64>>,
}

/// One outside set by one score.
#[derive(Clone, Debug, Serialize)]
pub struct OodRow {
    /// The outside set.
    pub outside: String,
    /// The score.
    pub score: ScoreKind,
    /// The figures with their intervals; the AUPR of a useless score is the share of the positives.
    pub figures: DetectionIntervals,
    /// How both sets are spread.
    pub histogram: Histogram,
}

/// Counts of two sets in the same bins; what lies beyond the ends is counted in the end bins.
#[derive(Clone, Debug, Serialize)]
pub struct Histogram {
    /// Edges of the bins, one more than there are bins.
    pub edges: Vec<f64>,
    /// Samples of the inside set.
    pub inside: Vec<usize>,
    /// Samples of the outside set.
    pub outside: Vec<usize>,
}

/// Bins of a histogram.
const BINS: usize = 48;

/// Scores all sets and compares each outside set with the inside one.
///
/// # Errors
/// If a name, rule or option is wrong, a set cannot be read, is empty or does not fit, or a score is not finite.
pub fn ood(model: &Model, options: &OodOptions) -> Result<OodReport> {
    if options.outside.is_empty() {
        return Err(Error::missing(&["outside"], "wanted at least one set"));
    }
    if options.resamples < 2 {
        return Err(Error::invalid("resamples", options.resamples, "at least 2"));
    }
    if !(options.level > 0.0 && options.level < 1.0) {
        return Err(Error::invalid("level", options.level, "a share in (0, 1)"));
    }
    let kinds = ScoreKind::parse(&options.scores, without_condition(model)?.spec())?;
    let scorer = Scorer::new(model, &kinds)?;
    let inside = match &options.inside {
        Some(what) => Inputs::open(what)?,
        None => Inputs::held_out(model.data()?, "inside")?,
    };
    // All names are looked up before anything is computed.
    let outside: Vec<Outside> = options.outside.iter().map(|o| Outside::open(o)).collect::<Result<_>>()?;
    let work = Work { scorer, kinds: &kinds, options, rows: options.batch.unwrap_or(model.batch()) };
    let typicality_from = match kinds.contains(&ScoreKind::Typicality) {
        true => {
            let set = reference(model)?;
            let mean = work.scorer.mean_energy(&set, work.rows, TYPICAL)?;
            Some((set.name().to_string(), mean))
        }
        false => None,
    };
    let mean = typicality_from.as_ref().map(|t| t.1);
    let inside_scores = work.set(inside.name(), &inside, None, mean)?;
    let rules: Vec<Rule> =
        outside.iter().filter_map(|o| if let Outside::Rule(r) = o { Some(*r) } else { None }).collect();
    let known = match rules.is_empty() {
        true => None,
        false => Some(work.know(&inside, model)?),
    };
    for rule in &rules {
        rule.check(&work.scorer.spec().sample_shape, inside_scores.count as u64)?;
    }
    let mut sets = Vec::new();
    for (name, set) in options.outside.iter().zip(&outside) {
        sets.push(match set {
            Outside::Rule(rule) => work.set(name, &inside, known.as_ref().map(|k| (*rule, k)), mean)?,
            Outside::Set(set) => work.set(name, set, None, mean)?,
        });
    }
    for set in std::iter::once(&inside_scores).chain(&sets) {
        if set.count < FEWEST_SCORES {
            let message = format!(
                "found {} samples, wanted at least {FEWEST_SCORES}: of fewer a figure says nothing",
                set.count
            );
            return Err(Error::unfit(&set.name, message));
        }
    }
    let mut rows = Vec::new();
    for set in &sets {
        for (i, score) in kinds.iter().enumerate() {
            rows.push(work.compare(score, &inside_scores.values[i], &set.values[i], &set.name)?);
        }
    }
    Ok(OodReport {
        step: model.step(),
        inside: inside_scores,
        outside: sets,
        rows,
        typicality_from,
        resamples: options.resamples,
        level: options.level,
        seed: options.seed,
        fit: options.fit,
        dequantise: options.dequantise,
    })
}

enum Outside {
    Rule(Rule),
    Set(Inputs),
}

impl Outside {
    fn open(what: &str) -> Result<Self> {
        Ok(match what.starts_with("rule:") {
            true => Outside::Rule(what.parse()?),
            false => Outside::Set(Inputs::open(what)?),
        })
    }
}

struct Work<'a> {
    scorer: Scorer,
    kinds: &'a [ScoreKind],
    options: &'a OodOptions,
    rows: usize,
}

impl Work<'_> {
    fn key(&self) -> Key {
        Key::root(self.options.seed).at("ood")
    }

    /// Hands the samples of a set on as they are scored, with the number of the first of each piece.
    fn each(
        &self,
        set: &Inputs,
        most: Option<u64>,
        sink: &mut dyn FnMut(u64, Piece) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        let key = self.key().at("dequantise").at(set.name());
        set.each(self.rows, most, &self.scorer.fit(self.options.fit), &mut |mut piece| {
            if let (true, Some(levels)) = (self.options.dequantise, piece.levels) {
                let width = piece.width();
                let mut u = vec![0f32; width];
                for (i, x) in (first..).zip(piece.values.chunks_mut(width.max(1))) {
                    key.fill_uniform(i, &mut u);
                    let spread = |v: f64, u: f32| f64::from(v as f32 + (u - 0.5) / levels as f32);
                    x.iter_mut().zip(&u).for_each(|(v, u)| *v = spread(*v, *u));
                }
            }
            let n = piece.len() as u64;
            sink(first, piece)?;
            first += n;
            Ok(())
        })
    }

    fn set(
        &self,
        name: &str,
        set: &Inputs,
        rule: Option<(Rule, &Inside)>,
        mean: Option<f64>,
    ) -> Result<SetScores> {
        let mut values = vec![Vec::new(); self.kinds.len()];
        // Two rules of one kind share their random numbers: only their strength differs.
        let key = self.key().at(name.split(':').nth(1).unwrap_or(name));
        self.each(set, self.options.count, &mut |first, piece| {
            let piece = match rule {
                Some((rule, inside)) => rule.make(&piece, first, inside, key),
                None => piece,
            };
            let scored = self.scorer.score(&piece)?;
            for (kind, column) in self.kinds.iter().zip(&mut values) {
                column.extend(self.scorer.column(kind, &scored, mean));
            }
            Ok(())
        })?;
        let average = |v: &Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
        Ok(SetScores {
            name: name.to_string(),
            count: values.first().map_or(0, Vec::len),
            mean: self.kinds.iter().cloned().zip(values.iter().map(average)).collect(),
            values,
        })
    }

    /// What rules need of the inside set: its range, and samples spread over it.
    fn know(&self, inside: &Inputs, model: &Model) -> Result<Inside> {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        let (mut partners, mut numbers, mut total) = (Vec::new(), Vec::new(), 0u64);
        // The numbers of partners are those of the set as it is scored, so it is gone through in the same way.
        self.each(inside, self.options.count, &mut |first, piece| {
            total = first + piece.len() as u64;
            let width = piece.width();
            for (i, x) in (first..).zip(piece.floats().chunks(width.max(1))) {
                x.iter().for_each(|v| (low, high) = (low.min(*v), high.max(*v)));
                if numbers.len() < PARTNERS as usize {
                    numbers.push(i);
                    partners.extend_from_slice(x);
                } else {
                    // A uniform sample of all so far (Vitter 1985, algorithm R).
                    let j = self.key().at("partners").below(i, i as usize + 1);
                    if j < numbers.len() {
                        numbers[j] = i;
                        partners[j * width..(j + 1) * width].copy_from_slice(x);
                    }
                }
            }
            Ok(())
        })?;
        if let Some((a, b)) = model.facts().range {
            (low, high) = (a as f32, b as f32);
        }
        Ok(Inside { shape: self.scorer.spec().sample_shape.clone(), range: (low, high), partners, numbers })
    }

    fn compare(&self, score: &ScoreKind, inside: &[f64], outside: &[f64], name: &str) -> Result<OodRow> {
        let o = self.options;
        // The measures want scores that are high for the inside.
        let negated = |v: &[f64]| v.iter().map(|s| -s).collect::<Vec<f64>>();
        let seed = self.key().at("bootstrap").at(name).at(score.to_string().as_str()).word(0);
        let figures = detection_intervals(&negated(inside), &negated(outside), o.resamples, o.level, seed)?;
        let histogram = Histogram::of(inside, outside);
        Ok(OodRow { outside: name.to_string(), score: score.clone(), figures, histogram })
    }
}

impl Histogram {
    /// Bins from the lower of the 0.5 % quantiles to the higher of the 99.5 % ones.
    fn of(inside: &[f64], outside: &[f64]) -> Self {
        let ends = |v: &[f64]| {
            let mut v = v.to_vec();
            v.sort_by(f64::total_cmp);
            let at = |q: f64| v.get((q * (v.len() - 1) as f64).round() as usize).copied().unwrap_or(0.0);
            (at(0.005), at(0.995))
        };
        let ((a, b), (c, d)) = (ends(inside), ends(outside));
        let (low, mut high) = (a.min(c), b.max(d));
        if high <= low {
            high = low + low.abs().max(1.0) * 1e-6;
        }
        let edges: Vec<f64> = (0..=BINS).map(|i| low + (high - low) * i as f64 / BINS as f64).collect();
        let count = |v: &[f64]| {
            let mut bins = vec![0; BINS];
            for x in v {
                let at = ((x - low) / (high - low) * BINS as f64).floor().clamp(0.0, (BINS - 1) as f64);
                bins[at as usize] += 1;
            }
            bins
        };
        Histogram { inside: count(inside), outside: count(outside), edges }
    }
}

impl OodReport {
    /// Writes histograms of both sets, a row for each outside set and a column for each score.
    ///
    /// # Errors
    /// If the ending is neither `.png` nor `.svg`, or the file cannot be written.
    pub fn draw(&self, path: &Path) -> Result<()> {
        picture::write(self, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_sample_of_both_sets() {
        let inside: Vec<f64> = (0..500).map(f64::from).collect();
        let outside = [-1e9, 3.0, 1e9];
        let h = Histogram::of(&inside, &outside);
        assert_eq!((h.inside.iter().sum::<usize>(), h.outside.iter().sum::<usize>()), (500, 3));
        assert_eq!(h.edges.len(), BINS + 1);
        let flat = Histogram::of(&[2.0; 5], &[2.0; 7]);
        assert_eq!((flat.inside.iter().sum::<usize>(), flat.outside.iter().sum::<usize>()), (5, 7));
    }
}
