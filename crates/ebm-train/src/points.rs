//! Samples in memory as a data source.

use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::candle::Tensor;
use ebm_core::{Batch, Chains, DataSource, Error, Key, Labelled, Result, Split};

/// Key and epoch with the permutation that they give.
type Permutation = (Key, u64, Arc<Vec<usize>>);

/// Samples `(N, ...)` in memory, in a new order each epoch.
pub(crate) struct Points {
    x: Tensor,
    /// The permutation asked for last.
    order: Mutex<Option<Permutation>>,
}

impl Points {
    /// # Errors
    /// If there are no samples, or they are no floating-point numbers.
    pub fn new(x: Tensor) -> Result<Self> {
        match x.dims() {
            [] | [0, ..] => {
                let hint = "give at least one sample, along the first axis";
                Err(Error::shape("training samples", x.dims(), "(N, ...)", hint))
            }
            _ if !x.dtype().is_float() => {
                let message = format!("are of the type {}, wanted f32 or f64", x.dtype().as_str());
                Err(Error::config("training samples", message))
            }
            _ => Ok(Points { x, order: Mutex::default() }),
        }
    }

    fn permutation(&self, epoch: u64, key: Key) -> Arc<Vec<usize>> {
        let mut kept = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((k, e, order)) if (*k, *e) == (key, epoch) => order.clone(),
            _ => {
                let order = Arc::new(key.at("shuffle").at(epoch).permutation(self.len()));
                *kept = Some((key, epoch, order.clone()));
                order
            }
        }
    }
}

impl DataSource for Points {
    fn len(&self) -> usize {
        self.x.dims()[0]
    }

    fn sample_shape(&self) -> &[usize] {
        &self.x.dims()[1..]
    }

    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch> {
        let order = self.permutation(epoch, key);
        // An epoch shorter than a batch begins again.
        let rows = (index * size..(index + 1) * size).map(|place| order[place % order.len()] as u32);
        let rows = Tensor::from_iter(rows, self.x.device())?;
        let chains = Chains::range((index * size) as u64, size);
        Ok(Batch::new(self.x.index_select(&rows, 0)?)?.with_chains(chains))
    }

    fn stored(&self, split: Split, limit: usize) -> Result<Option<Labelled>> {
        match split {
            Split::Train => {
                let x = self.x.narrow(0, 0, limit.min(self.len()))?;
                Ok(Some(Labelled { x: x.to_dtype(ebm_core::candle::DType::F32)?, labels: None }))
            }
            Split::HeldOut => Ok(None),
        }
    }

    fn name(&self) -> String {
        format!("{} samples in memory", self.len())
    }
}
