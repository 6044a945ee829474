//! A buffer of slots: a store, and where in it a chain that comes is put.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Key, ReplayBuffer, Result};

use super::{Rows, Store};

/// Where chains that come are put.
pub trait Placement: Send + Sync {
    /// Puts the `n` rows into a store that is to hold `capacity` of them.
    ///
    /// # Errors
    /// If the device of the store fails.
    fn put(&mut self, store: &mut Store, capacity: usize, n: usize, rows: &Rows, key: Key) -> Result<()>;

    /// What it must know besides the store to go on, as numbers for a checkpoint; always as many.
    fn counters(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Goes on from these counters.
    fn resume(&mut self, counters: &[u64]) {
        let _ = counters;
    }

    /// Most chains it holds of a capacity when they come `n` at a time.
    fn held(&self, capacity: usize, n: usize) -> usize {
        let _ = n;
        capacity
    }

    /// Its name for messages.
    fn name(&self) -> &'static str;
}

/// A buffer that draws slots uniformly with replacement, once it holds as many chains as are asked for, and puts all
/// chains where its placement says, wherever they came from.
///
/// ```
/// use ebm_core::candle::{DType, Device, Tensor};
/// use ebm_core::{BuildCx, Key, ReplayBuffer, Result};
/// use ebm_replays::kit::{Placement, Rows, Storage, Store, Stored};
///
/// /// Holds the first chains that ever came.
/// struct First;
/// impl Placement for First {
///     fn put(&mut self, store: &mut Store, capacity: usize, n: usize, rows: &Rows, _: Key) -> Result<()> {
///         let room = n.min(capacity - store.len());
///         store.append(rows, 0, room)
///     }
///     fn name(&self) -> &'static str {
///         "first"
///     }
/// }
///
/// let cx = BuildCx::new(&[2], DType::F32, &Device::Cpu, Key::root(0));
/// let store = Store::new(&cx, 3, Storage::Float, false, false)?;
/// let mut buffer = Stored::new(store, 3, First);
/// buffer.put(None, &Tensor::ones((8, 2), DType::F32, &Device::Cpu)?, Key::root(1))?;
/// assert_eq!(buffer.len(), 3);
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub struct Stored<P> {
    pub(crate) store: Store,
    capacity: usize,
    pub(crate) placement: P,
}

impl<P> Stored<P> {
    /// An empty buffer of `capacity` chains, at least 1, in `store`.
    pub fn new(store: Store, capacity: usize, placement: P) -> Self {
        Stored { store, capacity, placement }
    }
}

impl<P: Placement> ReplayBuffer for Stored<P> {
    fn len(&self) -> usize {
        self.store.len()
    }

    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>> {
        if n == 0 || self.len() < n { Ok(None) } else { self.store.draw(n, key).map(Some) }
    }

    fn put(&mut self, _: Option<&[u64]>, x: &Tensor, key: Key) -> Result<()> {
        let (n, rows) = self.store.rows(x)?;
        self.placement.put(&mut self.store, self.capacity, n, &rows, key)
    }

    fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        self.store.save(&self.placement.counters())
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let counters = self.store.load(state, self.placement.counters().len())?;
        self.placement.resume(&counters);
        Ok(())
    }

    fn capacity(&self, n: usize) -> Option<usize> {
        Some(self.placement.held(self.capacity, n))
    }

    fn full_bytes(&self) -> Option<usize> {
        Some(self.store.bytes_of(self.capacity))
    }

    fn name(&self) -> String {
        format!("{} of {}", self.placement.name(), self.capacity)
    }
}
