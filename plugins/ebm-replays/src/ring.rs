//! A ring: the newest chains overwrite the oldest.

use ebm_core::{BuildCx, Key, ReplayBuffer, ReplayConfig, Result, Settings, plugin};

use crate::kit::{ByteSettings, Placement, Rows, Storage, Store, StoreSettings};

/// The last `capacity` chains.
///
/// `published` is the published program's ring: while it fills, its length may exceed the
/// capacity until the first wrap, and a wrap writes over everything from the cursor to the end.
pub struct Ring {
    published: bool,
    /// Slot that is written next.
    next: usize,
}

impl Placement for Ring {
    fn put(&mut self, store: &mut Store, size: usize, n: usize, rows: &Rows, _: Key) -> Result<()> {
        let next = self.next;
        if self.published {
            if next >= store.len() {
                store.append(rows, 0, n)?;
            } else if n + next < size {
                store.splice(next, next + n, rows, 0, n)?;
            } else {
                let first = (size - next).min(n);
                let end = store.len();
                store.splice(next, end, rows, 0, first)?;
                store.splice(0, n - first, rows, first, n)?;
            }
        } else {
            let mut end = store.len();
            let pair = |i: usize| {
                // A slot that there is not yet is appended.
                let slot = ((next + i) % size).min(end);
                end = end.max(slot + 1);
                (slot, i)
            };
            store.write(&(0..n).map(pair).collect::<Vec<_>>(), rows)?;
        }
        self.next = (next + n) % size;
        Ok(())
    }

    fn counters(&self) -> Vec<u64> {
        vec![self.next as u64]
    }

    fn resume(&mut self, counters: &[u64]) {
        self.next = counters[0] as usize;
    }

    fn name(&self) -> &'static str {
        "ring"
    }
}

/// Settings of `ring`.
#[derive(Debug, Clone, Settings)]
pub struct RingConfig {
    /// Capacity and storage.
    #[setting(flatten)]
    pub store: StoreSettings,
    /// The published program's ways.
    #[setting(flatten)]
    pub bytes: ByteSettings,
}

impl RingConfig {
    /// A ring of floats.
    pub fn new(capacity: usize) -> Self {
        RingConfig {
            store: StoreSettings { capacity, storage: Storage::Float },
            bytes: ByteSettings::default(),
        }
    }
}

#[plugin(
    "ring",
    summary = "the newest chains overwrite the oldest",
    source = "Du, Li, Tenenbaum, Mordatch 2021; published program",
    example = "capacity = 10_000"
)]
impl ReplayConfig for RingConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn ReplayBuffer>> {
        self.store.buffer(cx, &self.bytes, Ring { published: self.bytes.published, next: 0 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device, Tensor};
    use proptest::prelude::*;

    use super::*;
    use crate::kit::Stored;

    /// A batch of consecutive numbers from `first`.
    fn batch(first: u32, n: usize) -> (Vec<f32>, Tensor) {
        let v: Vec<f32> = (0..n).map(|i| (first as usize + i) as f32).collect();
        (v.clone(), Tensor::from_vec(v, (n, 1), &Device::Cpu).unwrap())
    }

    fn contents(ring: &Stored<Ring>) -> Vec<f32> {
        let slots: Vec<u64> = (0..ring.len() as u64).collect();
        ring.store.read(&slots, Key::root(0)).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn ring(capacity: usize, published: bool) -> Stored<Ring> {
        let cx = BuildCx::new(&[1], DType::F32, &Device::Cpu, Key::root(0));
        let store = Store::new(&cx, capacity, Storage::Float, published, false).unwrap();
        Stored::new(store, capacity, Ring { published, next: 0 })
    }

    proptest! {
        #[test]
        fn holds_the_last_ones(capacity in 1usize..12, sizes in prop::collection::vec(0usize..9, 1..12)) {
            let mut r = ring(capacity, false);
            let mut all = Vec::new();
            for n in sizes {
                let (v, x) = batch(all.len() as u32, n);
                all.extend(v);
                r.put(None, &x, Key::root(0)).unwrap();
                let mut want = all[all.len().saturating_sub(capacity)..].to_vec();
                let mut got = contents(&r);
                got.sort_by(f32::total_cmp);
                want.sort_by(f32::total_cmp);
                prop_assert_eq!(got, want);
            }
        }

        #[test]
        fn a_device_holds_the_same(case in crate::tests::cases()) {
            case.check(|store| Stored::new(store, case.capacity, Ring { published: case.published, next: 0 }))?;
        }

        /// Against the list operations of the published program, word by word.
        #[test]
        fn published_is_the_published_list(size in 1usize..12, n in 1usize..9, puts in 1usize..12) {
            let mut r = ring(size, true);
            let (mut list, mut next): (Vec<f32>, usize) = (Vec::new(), 0);
            for k in 0..puts {
                let (v, x) = batch((k * n) as u32, n);
                if next >= list.len() {
                    list.extend(&v);
                } else if n + next < size {
                    let end = (next + n).min(list.len());
                    list.splice(next..end, v);
                } else {
                    let first = (size - next).min(n);
                    list.splice(next.., v[..first].iter().copied());
                    let end = (n - first).min(list.len());
                    list.splice(..end, v[first..].iter().copied());
                }
                next = (next + n) % size;
                r.put(None, &x, Key::root(0)).unwrap();
                prop_assert_eq!(contents(&r), list.clone());
            }
        }

        #[test]
        fn saved_and_loaded_goes_on_alike(capacity in 1usize..9, puts in 0usize..5) {
            let mut a = ring(capacity, false);
            for k in 0..puts {
                a.put(None, &batch(3 * k as u32, 3).1, Key::root(0)).unwrap();
            }
            let mut b = ring(capacity, false);
            b.load(&a.save().unwrap()).unwrap();
            for r in [&mut a, &mut b] {
                r.put(None, &batch(100, 4).1, Key::root(0)).unwrap();
            }
            prop_assert_eq!(contents(&a), contents(&b));
        }
    }

    #[test]
    fn published_overflows_until_the_first_wrap() {
        let mut r = ring(10, true);
        let mut lengths = Vec::new();
        for k in 0..4 {
            r.put(None, &batch(4 * k, 4).1, Key::root(0)).unwrap();
            lengths.push(r.len());
        }
        // 12 > 10: the third batch is appended whole. The cursor is then 2, and 2 + 4 < 10.
        assert_eq!(lengths, [4, 8, 12, 12]);
    }
}
