//! Energies of samples from files or from a stream, a few at a time.

use std::cell::Cell;
use std::io::Read;
use std::path::PathBuf;

use candle_core::Tensor;
use ebm_core::Batch;

use crate::error::{Error, Result};
use crate::inputs::lines::lines;
use crate::inputs::set::{Inputs, Piece};
use crate::model::energies::without_condition;
use crate::model::open::Model;
use crate::model::scorer::Scorer;
use crate::model::threshold::Threshold;

/// Energy of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRow {
    /// The file, or the name of the sample in a stream.
    pub file: PathBuf,
    /// Number of the sample in its file, or of its line in a stream, from 0.
    pub index: u64,
    /// Energy in nats: the sum of the terms.
    pub energy: f64,
    /// Terms, in the order of the energy's names.
    pub terms: Vec<f64>,
    /// The threshold's score, and whether the sample is inside; only with a threshold.
    pub verdict: Option<(f64, bool)>,
    /// `∇ₓE`, flattened; empty unless [`ScoreOptions::slope`] asks for it.
    pub slope: Vec<f64>,
    /// `∇²E·v`, flattened; empty without [`ScoreOptions::directions`].
    pub product: Vec<f64>,
}

/// How samples are scored.
#[derive(Clone, Debug, Default)]
pub struct ScoreOptions {
    /// Whether images are resized and recoloured to fit the model.
    pub fit: bool,
    /// Samples that are scored together; without it the run's batch, or of small samples from a set as many as make 256 Ki numbers, at most
    /// 256.
    pub batch: Option<usize>,
    /// What to judge samples by.
    pub threshold: Option<Threshold>,
    /// Whether rows have their slopes.
    pub slope: bool,
    /// A direction v for each sample of the set, `(n, ...)`, along which Hessians are wanted.
    pub directions: Option<Tensor>,
}

/// The names of the terms that rows of scores have: those of the model's energy, or of the marginal one where it takes a class.
///
/// # Errors
/// If the energy takes a condition that is no class.
pub fn score_terms(model: &Model) -> Result<Vec<String>> {
    Ok(without_condition(model)?.spec().terms.clone())
}

/// Numbers, and samples, that are taken from a set at once at most beyond a run's batch: enough to keep all threads at work.
const NUMBERS: usize = 1 << 18;
const TOGETHER: usize = 256;

/// Takes the rows of a piece.
pub type RowSink<'a> = dyn FnMut(&[ScoreRow]) -> Result<()> + 'a;

/// Gives the energy of every sample of `set` to `sink`, in order, a few at a time. Memory does not grow with the number
/// of samples, except for linked kinds of data, which hold theirs.
///
/// # Errors
/// If a file cannot be read, samples have another shape than the energy's or values that are not finite, or `sink` fails.
pub fn score(model: &Model, set: &Inputs, options: &ScoreOptions, sink: &mut RowSink<'_>) -> Result<()> {
    let work = Work::new(model, options)?;
    let fit = work.scorer.fit(work.fit);
    let width = model.sample_shape().iter().product::<usize>().max(1);
    let rows = if options.batch.is_some() { work.rows } else { work.rows.max(TOGETHER.min(NUMBERS / width)) };
    set.each_ahead(rows, None, &fit, &mut |piece| sink(&work.rows_of(piece)?))?;
    work.end()
}

/// As [`score`] for samples that stand on lines of a stream; see [`inputs::lines`](crate::inputs::lines).
///
/// # Errors
/// As [`score`], or if a line is wrong.
pub fn score_lines(
    model: &Model,
    from: impl Read,
    options: &ScoreOptions,
    sink: &mut RowSink<'_>,
) -> Result<()> {
    let work = Work::new(model, options)?;
    lines(from, work.rows, &work.scorer.fit(work.fit), &mut |piece| sink(&work.rows_of(piece)?))?;
    work.end()
}

/// As [`score`] for samples in memory: `values` are all samples, one after the other, in the units of training samples.
///
/// # Errors
/// As [`score`], or if `values` are no whole number of samples.
pub fn score_values(model: &Model, values: &[f64], options: &ScoreOptions) -> Result<Vec<ScoreRow>> {
    let work = Work::new(model, options)?;
    let width = model.sample_shape().iter().product::<usize>().max(1);
    if !values.len().is_multiple_of(width) {
        let wanted = format!("a multiple of {width}, the numbers of a sample");
        return Err(Error::invalid("values", values.len(), wanted));
    }
    let mut rows = Vec::with_capacity(values.len() / width);
    for (piece, values) in values.chunks(work.rows * width).enumerate() {
        let first = (piece * work.rows) as u64;
        let places = (0..values.len() / width).map(|i| ("samples".into(), first + i as u64)).collect();
        rows.extend(work.rows_of(Piece { values: values.to_vec(), places, levels: None })?);
    }
    Ok(rows)
}

struct Work<'a> {
    scorer: Scorer,
    threshold: Option<&'a Threshold>,
    rows: usize,
    fit: bool,
    slope: bool,
    directions: Option<&'a Tensor>,
    /// Samples so far.
    seen: Cell<usize>,
}

impl<'a> Work<'a> {
    fn new(model: &Model, options: &'a ScoreOptions) -> Result<Self> {
        let threshold = options.threshold.as_ref();
        let kinds: Vec<_> = threshold.iter().map(|t| t.score.clone()).collect();
        Ok(Work {
            scorer: Scorer::new(model, &kinds)?,
            threshold,
            rows: options.batch.unwrap_or(model.batch()).max(1),
            // A threshold holds for samples that are treated as those it was fitted on.
            fit: options.fit || threshold.is_some_and(|t| t.fit),
            slope: options.slope,
            directions: options.directions.as_ref(),
            seen: Cell::new(0),
        })
    }

    /// Checks that every direction had its sample.
    fn end(&self) -> Result<()> {
        match self.directions.map_or(self.seen.get(), |v| v.dims()[0]) == self.seen.get() {
            true => Ok(()),
            false => Err(self.uneven(&format!("{} samples", self.seen.get()))),
        }
    }

    fn uneven(&self, samples: &str) -> Error {
        let n = self.directions.map_or(0, |v| v.dims()[0]);
        let wanted = "wanted one for each, in the order of the samples";
        Error::unfit("hvp", format!("found {n} directions for {samples}, {wanted}"))
    }

    /// Slopes and products of the next samples, one vector a sample; empty where they are not wanted.
    fn derivatives(&self, at: &Batch) -> Result<[Vec<Vec<f64>>; 2]> {
        let (n, from) = (at.len(), self.seen.get());
        self.seen.set(from + n);
        let slopes = if self.slope { self.scorer.slopes(at)? } else { vec![Vec::new(); n] };
        let products = match self.directions {
            Some(v) if from + n > v.dims()[0] => {
                return Err(self.uneven(&format!("at least {} samples", from + n)));
            }
            Some(v) => {
                let v = v.narrow(0, from, n).map_err(ebm_core::Error::from)?;
                self.scorer.products(at, &v)?
            }
            None => vec![Vec::new(); n],
        };
        Ok([slopes, products])
    }

    fn rows_of(&self, piece: Piece) -> Result<Vec<ScoreRow>> {
        let at = self.scorer.batch(&piece)?;
        let [slopes, products] = self.derivatives(&at)?;
        let scored = self.scorer.score_at(&piece, &at)?;
        let mut verdicts = self.threshold.map(|t| t.judge(&self.scorer, &scored).into_iter());
        let rows = piece.places.into_iter().zip(scored.energy.iter().zip(scored.terms));
        let rows = rows.zip(slopes.into_iter().zip(products));
        Ok(rows
            .map(|(((file, index), (energy, terms)), (slope, product))| ScoreRow {
                slope,
                product,
                file,
                index,
                energy: *energy,
                terms,
                verdict: verdicts.as_mut().and_then(Iterator::next),
            })
            .collect())
    }
}
