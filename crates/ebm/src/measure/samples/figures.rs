//! The measures of one set of samples against another.

use std::sync::Arc;

use ebm_core::{DataSource, Key, Split};
use ebm_eval::{
    Features, Nearness, PlaneScore, PlaneSettings, Samples, class_score, frechet, kernel_distance_subsets,
    median_distance, mmd2, plane_score, precision_recall, sliced_wasserstein,
};
use serde::Serialize;

use super::features::{Kind, Tables, thinned};
use crate::error::Result;
use crate::model::energies::{POINTS, at_points};
use crate::model::open::Model;
use crate::tensors::floats;

/// Samples and held-out images whose nearest training images are looked for, and training images, at most.
pub(super) const NEAR: usize = 2000;
const NEAR_TRAIN: usize = 4000;
/// Rows that enter MMD² at most.
const MMD_ROWS: usize = 2000;
/// Rows of which the median distance is taken.
const MEDIAN_ROWS: usize = 1000;
/// Rows of a subset of the kernel distance at most.
const SUBSET: usize = 1000;
/// Directions of the sliced Wasserstein distance.
const DIRECTIONS: usize = 128;
/// Neighbours of precision and recall (Kynkäänniemi et al. 2019), and of density and coverage (Naeem et al. 2020).
const NEIGHBOURS: (usize, usize) = (3, 5);

/// One measure on one kind of features.
#[derive(Clone, Debug, Serialize)]
pub struct MeasureRow {
    /// The measure, with its features in brackets.
    pub name: String,
    /// Of the samples.
    pub samples: Figure,
    /// Of as many training samples, for comparison.
    pub training: Option<Figure>,
    /// Of one half of the other set against the other half, for comparison.
    pub halves: Option<Figure>,
}

/// A number, and how far it is spread over subsets.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// The number.
    pub value: f64,
    /// Standard deviation over subsets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
}

pub(super) struct Work<'a> {
    pub(super) kinds: &'a [Kind],
    pub(super) subsets: usize,
    pub(super) seed: u64,
}

impl Work<'_> {
    /// All measures of one set against another.
    pub(super) fn column(&self, real: &Tables, drawn: &Tables) -> Result<Vec<(String, Figure)>> {
        let mut column = Vec::new();
        for (kind, ((a, _), (b, classes))) in self.kinds.iter().zip(real.all.iter().zip(&drawn.all)) {
            let label = kind.label(a.d());
            let mut put =
                |name: String, value: f64, sd: Option<f64>| column.push((name, Figure { value, sd }));
            put(kind.frechet(a.d()), frechet(a, b, 0.0)?, None);
            let least = a.n().min(b.n());
            let (mean, sd) = kernel_distance_subsets(a, b, SUBSET.min(least / 2), self.subsets, self.seed)?;
            put(format!("Kernel[{label}]"), mean, Some(sd));
            // Equal counts, as is customary: balls are smaller where there are more.
            let (x, y) = (thinned(a, least)?, thinned(b, least)?);
            let (few, many) =
                (precision_recall(&x, &y, NEIGHBOURS.0)?, precision_recall(&x, &y, NEIGHBOURS.1)?);
            put(format!("Precision[{label}]"), few.precision, None);
            put(format!("Recall[{label}]"), few.recall, None);
            put(format!("Density[{label}]"), many.density, None);
            put(format!("Coverage[{label}]"), many.coverage, None);
            let width = median_distance(&thinned(a, MEDIAN_ROWS)?)?;
            let mmd = match width > 0.0 {
                true => mmd2(&thinned(a, MMD_ROWS)?, &thinned(b, MMD_ROWS)?, width)?,
                // More than half of the pairs are equal: no bandwidth.
                false => f64::NAN,
            };
            put(format!("MMD²[{label}]"), mmd, None);
            put(
                format!("SlicedWasserstein[{label}]"),
                sliced_wasserstein(a, b, DIRECTIONS, 1.0, self.seed)?,
                None,
            );
            if let Some(p) = classes {
                let parts = (p.n() / 500).clamp(1, 10);
                let (mean, sd) = class_score(p, parts)?;
                // One part has no spread.
                put(format!("ClassScore[{label}]"), mean, (parts > 1).then_some(sd));
            }
        }
        Ok(column)
    }
}

/// How near samples are to training images, and how many classes these have.
pub(super) fn near(
    source: &Arc<dyn DataSource>,
    real: &Tables,
    drawn: &Tables,
    half: &Tables,
) -> Result<Vec<MeasureRow>> {
    let Some(train) = source.stored(Split::Train, NEAR_TRAIN)? else { return Ok(Vec::new()) };
    let d: usize = real.shape.iter().product();
    let flat = floats(&train.x)?;
    if flat.len() != train.x.dims()[0] * d {
        // Samples were made to fit; the training images were not.
        return Ok(Vec::new());
    }
    let reference = Samples::new(&flat, flat.len() / d, d)?.features();
    let table = |t: &Tables| -> Result<Features> {
        Ok(Samples::new(&t.pictures, t.pictures.len() / d, d)?.features())
    };
    let near = Nearness::new(&reference, train.labels.as_deref(), &table(real)?)?;
    let (samples, halves) = (near.of(&table(drawn)?)?, near.of(&table(half)?)?);
    let one = |value: f64| Figure { value, sd: None };
    let row = |name: &str, a: f64, b: Option<f64>| MeasureRow {
        name: format!("{name}[values {d}]"),
        samples: one(a),
        training: None,
        halves: b.map(one),
    };
    let mut rows = vec![row("Near", samples.0, Some(halves.0))];
    if let Some(classes) = samples.1 {
        rows.push(row("Classes", classes, halves.1));
    }
    Ok(rows)
}

/// The energy by quadrature over a square that holds the held-out points with half as much again around them.
pub(super) fn on_plane(model: &Model, held: &[f32], temperature: f64, seed: u64) -> Result<PlaneScore> {
    let farthest = held.iter().fold(0f32, |m, v| m.max(v.abs()));
    let half = f64::from(1.5 * farthest).max(1e-3);
    let settings = PlaneSettings { half, wide: 2.0 * half, cells: 400, ..Default::default() };
    let of = model.energies()?.at_least(POINTS);
    let energy = |points: &[f32]| -> Result<Vec<f32>> {
        Ok(at_points(&of, points)?.into_iter().map(|e| (e / temperature) as f32).collect())
    };
    let key = Key::root(seed).at("plane").word(0);
    Ok(plane_score(energy, Samples::new(held, held.len() / 2, 2)?, &settings, key)?)
}
