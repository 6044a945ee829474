//! Chains are appended until the buffer is full, then overwrite random slots.

use ebm_core::{BuildCx, Key, ReplayBuffer, ReplayConfig, Result, Settings, plugin};

use crate::kit::{ByteSettings, Placement, Rows, Store, StoreSettings};

/// Once full, each new chain overwrites a uniformly random slot: the age of what is held is geometric
/// with mean `capacity` offers, between a ring's fixed age and a reservoir's growing one.
pub struct RandomOverwrite;

impl Placement for RandomOverwrite {
    fn put(&mut self, store: &mut Store, capacity: usize, n: usize, rows: &Rows, key: Key) -> Result<()> {
        let append = n.min(capacity - store.len().min(capacity));
        store.append(rows, 0, append)?;
        let slot = |i| key.at("slot").below(i as u64, store.len());
        let pairs: Vec<_> = (append..n).map(|i| (slot(i), i)).collect();
        store.write(&pairs, rows)
    }

    fn name(&self) -> &'static str {
        "random-overwrite"
    }
}

/// Settings of `random-overwrite`.
#[derive(Debug, Clone, Settings)]
pub struct RandomOverwriteConfig {
    /// Capacity and storage.
    #[setting(flatten)]
    pub store: StoreSettings,
}

#[plugin(
    "random-overwrite",
    summary = "new chains overwrite random slots once the buffer is full",
    source = "this project; like Du, Mordatch 2019",
    example = "capacity = 10_000"
)]
impl ReplayConfig for RandomOverwriteConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn ReplayBuffer>> {
        self.store.buffer(cx, &ByteSettings::default(), RandomOverwrite)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device, Tensor};
    use proptest::prelude::*;

    use super::*;
    use crate::kit::{Storage, Stored};

    proptest! {
        #[test]
        fn a_device_holds_the_same(case in crate::tests::cases()) {
            case.check(|store| Stored::new(store, case.capacity, RandomOverwrite))?;
        }

        #[test]
        fn equals_the_plain_list(capacity in 1usize..12, sizes in prop::collection::vec(0usize..9, 1..9)) {
            let cx = BuildCx::new(&[1], DType::F32, &Device::Cpu, Key::root(0));
            let buffer = || {
                let store = Store::new(&cx, capacity, Storage::Float, false, false).unwrap();
                Stored::new(store, capacity, RandomOverwrite)
            };
            let mut b = buffer();
            let mut list: Vec<f32> = Vec::new();
            let mut next = 0f32;
            for (k, n) in sizes.into_iter().enumerate() {
                let key = Key::root(k as u64);
                let v: Vec<f32> = (0..n).map(|i| next + i as f32).collect();
                next += n as f32;
                b.put(None, &Tensor::from_vec(v.clone(), (n, 1), &Device::Cpu).unwrap(), key).unwrap();
                for (i, v) in v.into_iter().enumerate() {
                    if list.len() < capacity {
                        list.push(v);
                    } else {
                        let slot = key.at("slot").below(i as u64, capacity);
                        list[slot] = v;
                    }
                }
                let slots: Vec<u64> = (0..b.len() as u64).collect();
                let got: Vec<f32> =
                    b.store.read(&slots, Key::root(0)).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                prop_assert_eq!(&got, &list);
                let mut c = buffer();
                c.load(&b.save().unwrap()).unwrap();
                prop_assert_eq!(c.len(), list.len());
            }
        }
    }
}
