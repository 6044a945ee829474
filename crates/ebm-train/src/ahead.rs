//! The next batch of a source that decodes is made beside the step.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use ebm_core::{Batch, DataSource, Key, Result};

/// Rows `first .. first + count` of a batch, by everything they are a function of.
#[derive(Clone, Copy, PartialEq)]
struct Rows {
    epoch: u64,
    index: usize,
    size: usize,
    first: usize,
    count: usize,
    key: Key,
}

impl Rows {
    fn read(self, data: &dyn DataSource) -> Result<Batch> {
        let Rows { epoch, index, size, first, count, key } = self;
        if (first, count) == (0, size) {
            return data.batch(epoch, index, size, key);
        }
        data.rows(epoch, index, size, first, count, key)
    }

    /// The same rows of the batch after this one.
    fn next(self, data: &dyn DataSource) -> Rows {
        if self.index + 1 < data.batches(self.size) {
            Rows { index: self.index + 1, ..self }
        } else {
            Rows { epoch: self.epoch + 1, index: 0, ..self }
        }
    }
}

/// Rows and the thread that makes them.
type Making = (Rows, JoinHandle<Result<Batch>>);

/// Batches being made, by their first row: a share of a batch is followed by the same share of the next.
#[derive(Default)]
pub(crate) struct Ahead(Mutex<HashMap<usize, Making>>);

impl Ahead {
    /// The rows `first .. first + count` of batch `index`. If the source [streams](DataSource::streams), those of the next batch are
    /// begun on a thread of their own; what they are does not depend on when they are made.
    ///
    /// # Errors
    /// As [`DataSource::rows`]; a batch that cannot be read is an error only when it is asked for.
    pub(crate) fn rows(
        &self,
        data: &Arc<dyn DataSource>,
        (epoch, index): (u64, usize),
        size: usize,
        (first, count): (usize, usize),
        key: Key,
    ) -> Result<Batch> {
        let wanted = Rows { epoch, index, size, first, count, key };
        if !data.streams() {
            return wanted.read(data.as_ref());
        }
        // A poisoned lock means that a thread stopped between two batches; the map is whole.
        let mut making = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = match making.remove(&first) {
            Some((rows, thread)) if rows == wanted => {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            }
            // Of a place that was left, such as that before a run went back.
            _ => wanted.read(data.as_ref()),
        }?;
        let (next, data) = (wanted.next(data.as_ref()), data.clone());
        // Without a thread the next batch is read when it is asked for.
        if let Ok(thread) = Builder::new().name("data".into()).spawn(move || next.read(data.as_ref())) {
            making.insert(first, (next, thread));
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ebm_core::candle::{Device, Tensor};
    use ebm_core::{Error, Labelled, Split};

    use super::*;

    /// Seven numbers in three batches of two; counts what is read on a thread of its own, and cannot read the last batch of the second epoch.
    #[derive(Default)]
    struct Source {
        ahead: AtomicUsize,
        streams: bool,
    }

    impl DataSource for Source {
        fn len(&self) -> usize {
            7
        }
        fn sample_shape(&self) -> &[usize] {
            &[1]
        }
        fn batch(&self, epoch: u64, index: usize, size: usize, _: Key) -> Result<Batch> {
            let ahead = std::thread::current().name() == Some("data");
            self.ahead.fetch_add(usize::from(ahead), Ordering::SeqCst);
            if (epoch, index) == (1, 2) {
                return Err(Error::config("source", "the last batch"));
            }
            let x: Vec<f32> = (0..size).map(|i| (10 * epoch + (index * size + i) as u64) as f32).collect();
            Batch::new(Tensor::from_vec(x, (size, 1), &Device::Cpu)?)
        }
        fn streams(&self) -> bool {
            self.streams
        }
        fn stored(&self, _: Split, _: usize) -> Result<Option<Labelled>> {
            Ok(None)
        }
        fn name(&self) -> String {
            "source".into()
        }
    }

    fn values(batch: Batch) -> Vec<f32> {
        batch.x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn what_is_made_ahead_is_what_is_asked_for_and_fails_when_it_is_asked_for() {
        for streams in [false, true] {
            let source = Arc::new(Source { streams, ..Source::default() });
            let data: Arc<dyn DataSource> = source.clone();
            let ahead = Ahead::default();
            let at = |place, of| ahead.rows(&data, place, 2, of, Key::root(0));
            assert_eq!(values(at((0, 0), (0, 2)).unwrap()), [0.0, 1.0]);
            assert_eq!(values(at((0, 1), (0, 2)).unwrap()), [2.0, 3.0]);
            assert_eq!(values(at((0, 2), (0, 2)).unwrap()), [4.0, 5.0]);
            assert_eq!(values(at((1, 0), (0, 2)).unwrap()), [10.0, 11.0]);
            // Half a batch, beside the whole ones; and back, as a run that goes back does.
            assert_eq!(values(at((0, 1), (1, 1)).unwrap()), [3.0]);
            assert_eq!(values(at((0, 0), (0, 2)).unwrap()), [0.0, 1.0]);
            assert_eq!(values(at((1, 1), (0, 2)).unwrap()), [12.0, 13.0]);
            assert!(at((1, 2), (0, 2)).unwrap_err().to_string().contains("the last batch"));
            drop(ahead);
            // Four of the eight followed one another, and were waited for.
            let read = source.ahead.load(Ordering::SeqCst);
            assert!(if streams { read >= 4 } else { read == 0 }, "{read} read ahead");
        }
    }
}
