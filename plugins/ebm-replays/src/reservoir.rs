//! A reservoir: a uniform sample of all chains there ever were.

use ebm_core::{BuildCx, Key, ReplayBuffer, ReplayConfig, Result, Settings, plugin};

use crate::kit::{ByteSettings, Placement, Rows, Store, StoreSettings};

/// Each chain ever offered is held with the same probability (Vitter 1985, algorithm R): once full,
/// offer number `n` goes to slot `i`, uniform in `0..n`, if there is such a slot.
///
/// `published` appends whole batches while the published cursor is past the end, so that the
/// capacity is the first multiple of the batch size that is not smaller.
pub struct Reservoir {
    published: bool,
    /// Chains ever offered.
    offered: u64,
    /// The published program's cursor.
    next: usize,
}

impl Placement for Reservoir {
    fn put(&mut self, store: &mut Store, capacity: usize, n: usize, rows: &Rows, key: Key) -> Result<()> {
        let append = match self.published {
            true if self.next >= store.len() => n,
            true => 0,
            false => n.min(capacity.saturating_sub(store.len())),
        };
        store.append(rows, 0, append)?;
        let (len, first) = (store.len(), self.offered + 1);
        let slot = |i: usize| {
            // The number of the offer, not of the row, selects the random stream: it never repeats.
            let offered = first + i as u64;
            key.at("slot").below(offered, usize::try_from(offered).unwrap_or(usize::MAX))
        };
        let pairs: Vec<_> = (append..n).map(|i| (slot(i), i)).filter(|(slot, _)| *slot < len).collect();
        store.write(&pairs, rows)?;
        self.offered += n as u64;
        self.next = (self.next + n) % capacity;
        Ok(())
    }

    fn counters(&self) -> Vec<u64> {
        vec![self.offered, self.next as u64]
    }

    fn resume(&mut self, counters: &[u64]) {
        (self.offered, self.next) = (counters[0], counters[1] as usize);
    }

    fn held(&self, capacity: usize, n: usize) -> usize {
        if self.published { capacity.div_ceil(n.max(1)).saturating_mul(n) } else { capacity }
    }

    fn name(&self) -> &'static str {
        "reservoir"
    }
}

/// Settings of `reservoir`.
#[derive(Debug, Clone, Settings)]
pub struct ReservoirConfig {
    /// Capacity and storage.
    #[setting(flatten)]
    pub store: StoreSettings,
    /// The published program's ways.
    #[setting(flatten)]
    pub bytes: ByteSettings,
}

#[plugin(
    "reservoir",
    summary = "a uniform sample of all chains there ever were",
    source = "Vitter 1985; Du, Li, Tenenbaum, Mordatch 2021, published program",
    example = "capacity = 10_000\nstorage = \"bytes\""
)]
impl ReplayConfig for ReservoirConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn ReplayBuffer>> {
        self.store.buffer(cx, &self.bytes, Reservoir { published: self.bytes.published, offered: 0, next: 0 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device, Tensor};
    use proptest::prelude::*;

    use super::*;
    use crate::kit::{Storage, Stored};

    fn reservoir(capacity: usize, published: bool) -> Stored<Reservoir> {
        let cx = BuildCx::new(&[1], DType::F32, &Device::Cpu, Key::root(0));
        let store = Store::new(&cx, capacity, Storage::Float, published, false).unwrap();
        Stored::new(store, capacity, Reservoir { published, offered: 0, next: 0 })
    }

    fn put(r: &mut Stored<Reservoir>, first: usize, n: usize, key: Key) {
        let v: Vec<f32> = (first..first + n).map(|i| i as f32).collect();
        r.put(None, &Tensor::from_vec(v, (n, 1), &Device::Cpu).unwrap(), key).unwrap();
    }

    fn contents(r: &Stored<Reservoir>) -> Vec<f32> {
        let slots: Vec<u64> = (0..r.len() as u64).collect();
        r.store.read(&slots, Key::root(0)).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn the_capacity_holds(capacity in 1usize..20, n in 1usize..9, puts in 1usize..20) {
            let (mut sane, mut published) = (reservoir(capacity, false), reservoir(capacity, true));
            for k in 0..puts {
                put(&mut sane, k * n, n, Key::root(k as u64));
                put(&mut published, k * n, n, Key::root(k as u64));
            }
            prop_assert_eq!(sane.len(), capacity.min(n * puts));
            prop_assert_eq!(sane.placement.offered, (n * puts) as u64);
            // Trap 10: the first multiple of the batch size that is not below the capacity.
            prop_assert_eq!(published.len(), (capacity.div_ceil(n) * n).min(n * puts));
            // Nobody is held twice.
            let mut all = contents(&sane);
            all.sort_by(f32::total_cmp);
            all.dedup();
            prop_assert_eq!(all.len(), sane.len());
        }

        #[test]
        fn a_device_holds_the_same(case in crate::tests::cases()) {
            let placement = || Reservoir { published: case.published, offered: 0, next: 0 };
            case.check(|store| Stored::new(store, case.capacity, placement()))?;
        }

        #[test]
        fn saved_and_loaded_goes_on_alike(capacity in 1usize..9, puts in 0usize..5, published: bool) {
            let mut a = reservoir(capacity, published);
            for k in 0..puts {
                put(&mut a, 3 * k, 3, Key::root(k as u64));
            }
            let mut b = reservoir(capacity, published);
            b.load(&a.save().unwrap()).unwrap();
            put(&mut a, 100, 4, Key::root(9));
            put(&mut b, 100, 4, Key::root(9));
            prop_assert_eq!(contents(&a), contents(&b));
        }
    }

    #[test]
    fn early_and_late_offers_are_held_alike() {
        // 4 of 12 offers are held: each with probability ⅓.
        let mut held = [0u32; 12];
        let runs = 3000;
        for run in 0..runs {
            let mut r = reservoir(4, false);
            for k in 0..4 {
                put(&mut r, 3 * k, 3, Key::root(run).at(k));
            }
            contents(&r).iter().for_each(|i| held[*i as usize] += 1);
        }
        // Four standard deviations of a binomial count.
        let sd = (runs as f64 * 2.0 / 9.0).sqrt();
        assert!(held.iter().all(|h| (f64::from(*h) - runs as f64 / 3.0).abs() < 4.0 * sd), "{held:?}");
    }
}
