//! How near samples are to training data, by the measure of held-out data, and how many classes those neighbours have.

use crate::distances::nearest::{effective_classes, nearest};
use crate::error::{Result, same};
use crate::numeric::quantile::quantile;
use crate::samples::Features;

/// Share of the held-out images that are `near` by definition.
pub const NEAR_QUANTILE: f64 = 0.95;

/// Training rows, with the distance up to which a sample counts as near to them.
#[derive(Debug, Clone)]
pub struct Nearness<'a> {
    train: &'a Features,
    labels: Option<&'a [u32]>,
    bound: f64,
}

impl<'a> Nearness<'a> {
    /// Near is what has a training row at most as far away as the nearest ones of [`NEAR_QUANTILE`] of the rows of `held`.
    ///
    /// Errs if widths differ, the labels do not match `train`, or `train` is empty; `held` must have a row.
    pub fn new(train: &'a Features, labels: Option<&'a [u32]>, held: &Features) -> Result<Self> {
        if let Some(labels) = labels {
            same("number of training labels", labels.len(), train.n(), "the training images")?;
        }
        let mut usual = nearest(held, train)?.distances;
        Ok(Nearness { train, labels, bound: quantile(&mut usual, NEAR_QUANTILE) })
    }

    /// Share of the rows that are near, and the exponential of the entropy of the labels of their nearest training rows
    /// (`None` without labels). Errs if the widths differ.
    pub fn of(&self, samples: &Features) -> Result<(f64, Option<f64>)> {
        let found = nearest(samples, self.train)?;
        let near = found.distances.iter().filter(|d| **d <= self.bound).count() as f64 / samples.n() as f64;
        Ok((near, self.labels.map(|labels| effective_classes(found.rows.iter().map(|&j| labels[j])))))
    }
}
