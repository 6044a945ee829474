//! The measures of one set of samples against another.

use std::sync::Arc;

use ebm_core::{DataSource, Key, Split};
use ebm_eval::{
    EvalError, Fall, Features, Nearness, PlaneIntegral, PlaneScore, Samples, class_score, frechet,
    kernel_distance, kernel_distance_subsets, median_distance, mmd2_estimate, perfect, plane_fit,
    precision_recall, sliced_wasserstein,
};
use serde::Serialize;

use super::features::{Kind, Tables, thinned};
use crate::error::Result;
use crate::measure::likelihood::OUTSIDE;
use crate::model::energies::{POINTS, at_points, without_condition};
use crate::model::open::Model;
use crate::tensors::floats;

/// Samples and held-out images whose nearest training images are looked for, and training images, at most.
pub(super) const NEAR: usize = 2000;
const NEAR_TRAIN: usize = 4000;
/// Rows that enter MMD² at most.
const MMD_ROWS: usize = 2000;
/// Rows of which the median distance is taken.
const MEDIAN_ROWS: usize = 1000;
/// Rows of a subset of the kernel distance at most, unless asked otherwise.
const SUBSET: usize = 1000;
/// Held-out points, and exact draws of an energy of the plane, that are compared.
const PLANE_POINTS: usize = 2000;
/// The square of the held-out points with half as much again around them: mass beyond it is `mass outside`.
const AROUND: f64 = 1.5;
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
    /// Of one half of the other set against the other half, for comparison; distances that fall with the number of rows
    /// are carried to that of the samples ([`ebm_eval::perfect`]): what perfect samples get.
    pub halves: Option<Figure>,
}

/// A number, and how sure it is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// The number.
    pub value: f64,
    /// Its standard error (`Kernel`, `MMD²`), or standard deviation over subsets (`KernelSubsets`) or parts (`ClassScore`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    /// Rows of the data and of the samples that it was taken of, where these are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<(usize, usize)>,
}

impl Figure {
    fn of(value: f64, sd: Option<f64>) -> Self {
        Figure { value, sd, rows: None }
    }
}

pub(super) struct Work<'a> {
    pub(super) kinds: &'a [Kind],
    pub(super) subsets: usize,
    pub(super) subset_size: Option<usize>,
    pub(super) seed: u64,
}

impl Work<'_> {
    /// All measures of one set against another.
    pub(super) fn column(&self, real: &Tables, drawn: &Tables) -> Result<Vec<(String, Figure)>> {
        let mut column: Vec<(String, Figure)> = Vec::new();
        for (kind, ((a, _), (b, classes))) in self.kinds.iter().zip(real.all.iter().zip(&drawn.all)) {
            let label = kind.label(a.d());
            // Rows are told where they are not all of both sets.
            let mut put = |name: String, value: f64, sd: Option<f64>, of: (usize, usize)| {
                let rows = (of != (a.n(), b.n())).then_some(of);
                column.push((name, Figure { value, sd, rows }));
            };
            let all = (a.n(), b.n());
            put(kind.frechet(a.d()), frechet(a, b, 0.0)?, None, all);
            let least = a.n().min(b.n());
            let kernel = kernel_distance(a, b)?;
            put(format!("Kernel[{label}]"), kernel.value, Some(kernel.se), all);
            if self.subsets > 0 {
                let size = self.subset_size.unwrap_or(SUBSET.min(least / 2));
                let (mean, sd) = kernel_distance_subsets(a, b, size, self.subsets, self.seed)?;
                put(format!("KernelSubsets[{label}]"), mean, Some(sd), (size, size));
            }
            // Equal counts, as is customary: balls are smaller where there are more.
            let (x, y) = (thinned(a, least)?, thinned(b, least)?);
            let (few, many) =
                (precision_recall(&x, &y, NEIGHBOURS.0)?, precision_recall(&x, &y, NEIGHBOURS.1)?);
            for (name, value) in [
                ("Precision", few.precision),
                ("Recall", few.recall),
                ("Density", many.density),
                ("Coverage", many.coverage),
            ] {
                put(format!("{name}[{label}]"), value, None, (few.real_rows, few.drawn_rows));
            }
            let width = median_distance(&thinned(a, MEDIAN_ROWS)?)?;
            let (x, y) = (thinned(a, MMD_ROWS)?, thinned(b, MMD_ROWS)?);
            let (mmd, se) = match width > 0.0 {
                true => {
                    let found = mmd2_estimate(&x, &y, width)?;
                    (found.value, Some(found.se))
                }
                // More than half of the pairs are equal: no bandwidth.
                false => (f64::NAN, None),
            };
            put(format!("MMD²[{label}]"), mmd, se, (x.n(), y.n()));
            put(format!("SlicedWasserstein[{label}]"), self.sliced(a, b)?, None, all);
            if let Some(p) = classes {
                let parts = (p.n() / 500).clamp(1, 10);
                let (mean, sd) = class_score(p, parts)?;
                // One part has no spread.
                put(format!("ClassScore[{label}]"), mean, (parts > 1).then_some(sd), all);
            }
        }
        Ok(column)
    }

    /// The measures of one half of `real` against the other, as `n` perfect samples would have them.
    pub(super) fn reference(
        &self,
        real: &Tables,
        halves: (&Tables, &Tables),
        n: usize,
    ) -> Result<Vec<(String, Figure)>> {
        let mut column = self.column(halves.0, halves.1)?;
        for (kind, (features, _)) in self.kinds.iter().zip(&real.all) {
            let mut carry = |name: String, value: f64| {
                let found = column.iter_mut().filter(|(own, _)| *own == name);
                found.for_each(|(_, figure)| figure.value = value);
            };
            let carried = |fall, distance: &dyn Fn(&Features, &Features) -> ebm_eval::Result<f64>| {
                perfect(features, n, fall, self.seed, distance)
            };
            carry(kind.frechet(features.d()), carried(Fall::Inverse, &|a, b| frechet(a, b, 0.0))?);
            let sliced = carried(Fall::Root, &|a, b| self.sliced(a, b))?;
            carry(format!("SlicedWasserstein[{}]", kind.label(features.d())), sliced);
        }
        Ok(column)
    }

    fn sliced(&self, a: &Features, b: &Features) -> ebm_eval::Result<f64> {
        sliced_wasserstein(a, b, DIRECTIONS, 1.0, self.seed)
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
    let one = |value: f64| Figure::of(value, None);
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

/// The energy by quadrature, or why it has none.
pub(super) fn on_plane(
    model: &Model,
    held: &[f32],
    temperature: f64,
    seed: u64,
) -> Result<std::result::Result<(PlaneScore, PlaneIntegral), String>> {
    let own = without_condition(model)?;
    let of = model.energies_of(own.as_ref())?.at_least(POINTS);
    let energy = |points: &[f64]| -> Result<Vec<f64>> {
        let narrow: Vec<f32> = points.iter().map(|v| *v as f32).collect();
        Ok(at_points(&of, &narrow)?.into_iter().map(|e| e / temperature).collect())
    };
    let key = Key::root(seed).at("plane").word(0);
    let held = Samples::new(held, held.len() / 2, 2)?;
    match plane_fit(energy, held, (OUTSIDE, AROUND), PLANE_POINTS, key) {
        Ok(found) => Ok(Ok(found)),
        Err(e @ EvalError::Energy(_)) => Err(e.into()),
        Err(why) => Ok(Err(why.to_string())),
    }
}
