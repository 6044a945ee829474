//! Memory of earlier chains.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Key, Result};

// ANCHOR: replay
/// A buffer of chains from which training continues (persistent contrastive divergence).
///
/// Values are in the units of the data. State is a set of named tensors, so that a checkpoint holds all of it.
pub trait ReplayBuffer: Send + Sync {
    /// Number of chains held.
    fn len(&self) -> usize;

    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `n` chains with their slots, `(n, ...)`; `None` while fewer than the buffer wants to give are held.
    ///
    /// # Errors
    /// If an operation fails.
    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>>;

    /// Stores the ends of chains `x` `(n, ...)`; `slots` are those the chains were drawn from, if any.
    ///
    /// # Errors
    /// If shapes differ from what is held.
    fn put(&mut self, slots: Option<&[u64]>, x: &Tensor, key: Key) -> Result<()>;

    /// Everything the buffer holds, as named tensors.
    ///
    /// # Errors
    /// If an operation fails.
    fn save(&self) -> Result<BTreeMap<String, Tensor>>;

    /// Replaces everything the buffer holds.
    ///
    /// # Errors
    /// If the tensors are not those of [`ReplayBuffer::save`].
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;

    /// Most chains that it holds in the long run when they come `n` at a time; `None` if there is no bound. A step that
    /// draws more can never have them, which is found before the run.
    fn capacity(&self, n: usize) -> Option<usize> {
        let _ = n;
        None
    }

    /// Whether the slots of one draw differ from each other.
    fn draws_distinct(&self) -> bool {
        false
    }

    /// Bytes of the samples of a full buffer, if it has a capacity.
    fn full_bytes(&self) -> Option<usize> {
        None
    }

    /// The buffer's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: replay
