//! Arrays of numbers as a data source.

use std::path::Path;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Batch, Chains, Columns, DataSource, Domain, Error, Key, Labelled, Result, Split, count_classes,
};
use ebm_data::ArraySet;

use crate::Order;
use crate::order::Sequence;

/// A data source over an [`ArraySet`] in memory: points of the plane, feature vectors.
pub struct PointSource {
    name: String,
    train: ArraySet,
    held_out: Option<ArraySet>,
    sequence: Sequence,
    noise: f64,
    labels: Labels,
    domain: Domain,
    columns: Option<Columns>,
}

/// Classes of samples.
#[derive(Default)]
pub(crate) struct Labels {
    /// Of every training sample.
    pub train: Option<Vec<u32>>,
    /// Of every held-out sample.
    pub held_out: Option<Vec<u32>>,
    /// Number of classes if they are conditions, else 0.
    pub classes: usize,
    /// Names of the classes, if they have some.
    pub names: Vec<String>,
}

impl PointSource {
    /// The source `name`; Gaussian noise of deviation `noise` is added afresh at each draw.
    ///
    /// # Errors
    /// If there are no samples, samples are scalars, or a value is not finite.
    pub fn new(
        name: &str,
        train: ArraySet,
        held_out: Option<ArraySet>,
        order: Order,
        noise: f64,
    ) -> Result<Self> {
        if train.is_empty() {
            return Err(Error::config(name, "holds no training samples"));
        }
        if train.dims().len() < 2 {
            return Err(Error::shape(name, train.dims(), "(N, D, ...)", "put one sample a row"));
        }
        finite(Path::new(name), &train)?;
        held_out.iter().try_for_each(|set| finite(Path::new(name), set))?;
        let sequence = Sequence::new(order, train.len());
        Ok(PointSource {
            name: name.into(),
            train,
            held_out,
            sequence,
            noise,
            labels: Labels::default(),
            domain: Domain::Real,
            columns: None,
        })
    }

    /// The same source of samples of this domain.
    ///
    /// # Errors
    /// If a value is none of it.
    pub(crate) fn on(self, domain: Domain) -> Result<Self> {
        let len = self.train.sample_len();
        for (what, set) in [("training", Some(&self.train)), ("held-out", self.held_out.as_ref())] {
            let Some(set) = set else { continue };
            let bad = |row: &[f32]| domain.outside(row, len) > 0;
            if let Some(row) = set.values().chunks(len.max(1)).position(bad) {
                return Err(Error::config(
                    &self.name,
                    format!("{what} sample {row} (from 0) is not of {domain}: mend `values` or the file"),
                ));
            }
        }
        Ok(PointSource { domain, ..self })
    }

    /// The same source with classes of its samples, each as many as there are samples.
    pub(crate) fn with_labels(self, labels: Labels) -> Self {
        PointSource { labels, ..self }
    }

    /// The same source of samples that were made of these columns.
    pub(crate) fn with_columns(self, columns: Columns) -> Self {
        PointSource { columns: Some(columns), ..self }
    }
}

/// Refuses values that are not finite, by sample: one of them would spoil every batch that holds it.
///
/// # Errors
/// Names the first sample with one, and how many there are.
pub(crate) fn finite(from: &Path, set: &ArraySet) -> Result<()> {
    let len = set.sample_len().max(1);
    let bad = |row: &&[f32]| row.iter().any(|v| !v.is_finite());
    let mut rows = set.values().chunks(len).enumerate().filter(|(_, row)| bad(row));
    let Some((row, values)) = rows.next() else { return Ok(()) };
    let (at, value) = values.iter().enumerate().find(|(_, v)| !v.is_finite()).unwrap_or((0, &f32::NAN));
    let more = match rows.count() {
        0 => String::new(),
        n => format!(", and {n} more samples hold such values"),
    };
    let what = if set.dims().len() == 4 { "image" } else { "sample" };
    let message = format!(
        "{what} {row} holds the value {value} (entry {at}, both from 0){more}; values must be finite single-precision numbers: mend them or leave these samples out"
    );
    Err(Error::data(from, message))
}

impl DataSource for PointSource {
    fn len(&self) -> usize {
        self.train.len()
    }

    fn sample_shape(&self) -> &[usize] {
        &self.train.dims()[1..]
    }

    fn condition(&self) -> usize {
        self.labels.classes
    }

    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch> {
        self.rows(epoch, index, size, 0, size, key)
    }

    fn rows(
        &self,
        epoch: u64,
        index: usize,
        size: usize,
        first: usize,
        count: usize,
        key: Key,
    ) -> Result<Batch> {
        let start = index * size + first;
        let rows = self.sequence.at(epoch, start, count, key);
        let len = self.train.sample_len();
        let mut x = Vec::with_capacity(rows.len() * len);
        rows.iter().for_each(|r| x.extend_from_slice(self.train.sample(*r).unwrap_or(&[])));
        if self.noise > 0.0 {
            let (key, mut n) = (key.at("noise").at(epoch), vec![0f32; len]);
            for (position, row) in x.chunks_mut(len).enumerate() {
                key.fill_normal((start + position) as u64, &mut n);
                row.iter_mut().zip(&n).for_each(|(v, n)| *v += self.noise as f32 * n);
            }
        }
        let mut shape = vec![rows.len()];
        shape.extend_from_slice(self.sample_shape());
        let batch = Batch::new(Tensor::from_vec(x, shape, &Device::Cpu)?)?;
        let batch = batch.with_chains(Chains::range(start as u64, rows.len()));
        let Some(labels) = self.labels.train.as_ref().filter(|_| self.labels.classes > 0) else {
            return Ok(batch);
        };
        batch_with_classes(batch, rows.iter().map(|row| labels[*row]), self.labels.classes)
    }

    fn stored(&self, split: Split, limit: usize) -> Result<Option<Labelled>> {
        let set = match split {
            Split::Train => &self.train,
            Split::HeldOut => match &self.held_out {
                Some(set) => set,
                None => return Ok(None),
            },
        };
        let n = set.len().min(limit);
        let mut shape = vec![n];
        shape.extend_from_slice(self.sample_shape());
        let x = Tensor::from_vec(set.values()[..n * set.sample_len()].to_vec(), shape, &Device::Cpu)?;
        let labels = match split {
            Split::Train => &self.labels.train,
            Split::HeldOut => &self.labels.held_out,
        };
        Ok(Some(Labelled { x, labels: labels.as_ref().map(|l| l[..n].to_vec()) }))
    }

    fn class_counts(&self) -> Result<Vec<u64>> {
        Ok(count_classes(self.labels.train.as_deref().unwrap_or(&[]), self.labels.classes))
    }

    fn domain(&self) -> Domain {
        self.domain
    }

    fn range(&self) -> Option<(f64, f64)> {
        match self.domain {
            Domain::Box(low, high) => Some((low, high)),
            _ => None,
        }
    }

    fn columns(&self) -> Option<&Columns> {
        self.columns.as_ref()
    }

    fn class_names(&self) -> &[String] {
        &self.labels.names
    }

    fn held_out(&self) -> Result<usize> {
        Ok(self.held_out.as_ref().map_or(0, ArraySet::len))
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// So many classes are those of larger sets only: a number beyond it is no class but an identity, say.
const MOST_CLASSES: usize = 1 << 16;

/// Why `labels` cannot be one-hot conditions of so many `classes`, which would take memory without a use; `place` names the
/// label of a row.
pub(crate) fn too_many(labels: &[u32], classes: usize, place: impl Fn(usize) -> String) -> Option<String> {
    if classes <= MOST_CLASSES.max(labels.len()) {
        return None;
    }
    let most = labels.iter().max()?;
    let row = labels.iter().position(|l| l == most)?;
    Some(format!(
        "asks for classes as conditions, but {} is {most}: that would be {classes} classes of {} samples; number the classes from 0 without gaps, as numpy.unique(y, return_inverse=True) does, or set labels = false",
        place(row),
        labels.len()
    ))
}

/// A batch with these classes as one-hot conditions `(B, classes)`.
pub(crate) fn batch_with_classes(
    batch: Batch,
    labels: impl Iterator<Item = u32>,
    classes: usize,
) -> Result<Batch> {
    let rows = batch.x.dims().first().copied().unwrap_or(0);
    let mut hot = vec![0f32; rows * classes];
    for (i, label) in labels.enumerate() {
        hot[i * classes + label as usize] = 1.0;
    }
    Ok(batch.with_cond(Some(Tensor::from_vec(hot, (rows, classes), &Device::Cpu)?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels_that_are_no_classes_are_refused_before_memory_is_taken() {
        let place = |row| format!("y.npy, row {row}");
        let text = too_many(&[7, 1_000_000_000], 1_000_000_001, place).unwrap();
        assert!(text.contains("y.npy, row 1 is 1000000000") && text.contains("labels = false"), "{text}");
        // A few pictures of a set of many classes, and as many classes as samples.
        assert!(too_many(&[0, 21_840], 21_841, place).is_none());
        let many: Vec<u32> = (0..100_000).collect();
        assert!(too_many(&many, 100_000, place).is_none());
    }

    #[test]
    fn rows_of_a_batch_are_those_of_the_batch() {
        let set = ArraySet::new((0..20).map(|i| i as f32).collect(), vec![10, 2]).unwrap();
        let s = PointSource::new("p", set, None, Order::Shuffle, 0.1).unwrap();
        let whole = s.batch(2, 1, 5, Key::root(2)).unwrap().narrow(1, 3).unwrap();
        let part = s.rows(2, 1, 5, 1, 3, Key::root(2)).unwrap();
        assert_eq!(whole.x.to_vec2::<f32>().unwrap(), part.x.to_vec2::<f32>().unwrap());
        assert_eq!(whole.chains, part.chains);
    }

    #[test]
    fn draws_with_replacement_come_from_the_set_and_noise_from_the_key() {
        let set = ArraySet::new(vec![0.0, 1.0, 2.0, 3.0], vec![2, 2]).unwrap();
        let plain = PointSource::new("p", set.clone(), None, Order::Replacement, 0.0).unwrap();
        let x = plain.batch(0, 0, 50, Key::root(0)).unwrap().x.to_vec2::<f32>().unwrap();
        assert!(x.iter().all(|r| r == &[0.0, 1.0] || r == &[2.0, 3.0]));
        let noisy = PointSource::new("p", set, None, Order::Replacement, 0.1).unwrap();
        let y = noisy.batch(0, 0, 50, Key::root(0)).unwrap().x.to_vec2::<f32>().unwrap();
        assert!(x.iter().zip(&y).all(|(a, b)| a != b && (a[0] - b[0]).abs() < 0.6));
    }
}
