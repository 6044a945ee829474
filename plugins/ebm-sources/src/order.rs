//! Which sample stands at which place of an epoch: what all sources share.

use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::Key;
use serde::{Deserialize, Serialize};

/// Which sample stands at `position` of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A new permutation each epoch.
    #[default]
    Shuffle,
    /// Drawn with replacement.
    Replacement,
}

/// The order of one epoch under one key.
type Permutation = (Key, u64, Arc<Vec<usize>>);

/// Sample indices by batch, a function of (key, epoch, index). The permutation asked for last is kept:
/// drawing it anew for every batch would cost more than reading the batch.
pub(crate) struct Sequence {
    order: Order,
    len: usize,
    kept: Mutex<Option<Permutation>>,
}

impl Sequence {
    /// The order of `len` samples, at least 1.
    pub fn new(order: Order, len: usize) -> Self {
        Sequence { order, len, kept: Mutex::new(None) }
    }

    /// Sample indices of batch `index` of `size` of an epoch.
    pub fn rows(&self, epoch: u64, index: usize, size: usize, key: Key) -> Vec<usize> {
        let positions = index * size..(index + 1) * size;
        match self.order {
            Order::Shuffle => {
                let permutation = self.permutation(epoch, key);
                positions.map(|p| permutation[p % permutation.len()]).collect()
            }
            Order::Replacement => {
                let draws = key.at("replacement").at(epoch);
                positions.map(|p| draws.below(p as u64, self.len)).collect()
            }
        }
    }

    fn permutation(&self, epoch: u64, key: Key) -> Arc<Vec<usize>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((k, e, p)) if (*k, *e) == (key, epoch) => p.clone(),
            _ => {
                let p = Arc::new(key.at("shuffle").at(epoch).permutation(self.len));
                *kept = Some((key, epoch, p.clone()));
                p
            }
        }
    }
}
