//! Where training samples come from.

use candle_core::Tensor;

use crate::{Batch, Columns, Domain, Key, Result};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What training sees.
    Train,
    /// What is kept back for measures.
    HeldOut,
}

/// Samples as stored (no dequantisation noise: bytes at the middle of their level), with labels.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// `(N, ...)`, f32, units of training samples.
    pub x: Tensor,
    /// Class of each sample, if known.
    pub labels: Option<Vec<u32>>,
}

/// Samples that moments of data are taken of.
pub const MOMENTS_OF: usize = 16_384;

/// The mean of training samples `(...)`, and the root mean square of their distance from it a value: the deviation `d` of data
/// whose values are alike. `None` if there are none, or they do not vary.
///
/// # Errors
/// If a file cannot be read.
pub fn centre_and_spread(data: &dyn DataSource) -> Result<Option<(Tensor, f64)>> {
    // A mean of many is as good as one of all, and images are large.
    let Some(some) = data.stored(Split::Train, MOMENTS_OF / 4)? else { return Ok(None) };
    let x = crate::host::wide(&some.x)?;
    if x.elem_count() == 0 {
        return Ok(None);
    }
    let mean = x.mean(0)?;
    let spread = crate::host::scalar(&x.broadcast_sub(&mean)?.sqr()?.mean_all()?)?.sqrt();
    Ok((spread > 0.0 && spread.is_finite()).then_some((mean, spread)))
}

// ANCHOR: data
/// A source of training samples with random access: the cursor of a run is two integers.
pub trait DataSource: Send + Sync {
    /// Number of training samples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one sample.
    fn sample_shape(&self) -> &[usize];

    /// Length of the condition vector of a batch; 0 for none.
    fn condition(&self) -> usize {
        0
    }

    /// Batch `index` of `size` samples of `epoch`; order and noise come from `key` and these numbers
    /// alone. Batches past the end of an epoch are an error; see [`DataSource::batches`].
    ///
    /// # Errors
    /// If a file cannot be read.
    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch>;

    /// Rows `first .. first + count` of [`DataSource::batch`]. A source that can make them alone overrides this, so that
    /// ranks that share a batch do not read all of it.
    ///
    /// # Errors
    /// If a file cannot be read or the rows are out of range.
    fn rows(
        &self,
        epoch: u64,
        index: usize,
        size: usize,
        first: usize,
        count: usize,
        key: Key,
    ) -> Result<Batch> {
        self.batch(epoch, index, size, key)?.narrow(first, count)
    }

    /// Whether a batch is read and decoded when it is asked for, so that the trainer does well to ask for the next one beside the step.
    fn streams(&self) -> bool {
        false
    }

    /// Number of whole batches of `size` in an epoch (at least 1 if there are samples).
    fn batches(&self, size: usize) -> usize {
        (self.len() / size.max(1)).max(usize::from(!self.is_empty()))
    }

    /// Up to `limit` samples of a split as stored, for measures and pictures; `None` if there is no such split.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn stored(&self, split: Split, limit: usize) -> Result<Option<Labelled>>;

    /// Number of held-out samples; 0 if there are none. A source that knows it without reading them overrides this.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn held_out(&self) -> Result<usize> {
        let held = self.stored(Split::HeldOut, usize::MAX)?;
        Ok(held.map_or(0, |held| held.x.dims().first().copied().unwrap_or(0)))
    }

    /// Range of sample values if bounded, such as `(0, 1)` for images.
    fn range(&self) -> Option<(f64, f64)> {
        None
    }

    /// Which values samples take; by default any in the range.
    fn domain(&self) -> Domain {
        Domain::of_range(self.range())
    }

    /// Number of grey values of dequantised images: a stored value stands in the middle of its level, and a training
    /// sample anywhere within it. `None` for samples that are used as they are.
    fn levels(&self) -> Option<u32> {
        None
    }

    /// Number of training samples of each class, if conditions are classes; else empty. A source that knows the labels without
    /// the samples overrides this.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn class_counts(&self) -> Result<Vec<u64>> {
        let stored = match self.condition() {
            0 => None,
            _ => self.stored(Split::Train, self.len())?,
        };
        let labels = stored.and_then(|s| s.labels).unwrap_or_default();
        Ok(count_classes(&labels, self.condition()))
    }

    /// Names of the classes by their number; empty if they have none.
    fn class_names(&self) -> &[String] {
        &[]
    }

    /// The columns of the table that samples were made of, with what was learnt of its training rows; `None` of samples that
    /// are in the units of their files.
    fn columns(&self) -> Option<&Columns> {
        None
    }

    /// The source's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: data

/// How often each of `classes` classes occurs; empty if none does, or a label is none of them.
pub fn count_classes(labels: &[u32], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    for label in labels {
        match counts.get_mut(*label as usize) {
            Some(count) => *count += 1,
            None => return Vec::new(),
        }
    }
    if labels.is_empty() { Vec::new() } else { counts }
}
