//! Chains are appended until the buffer is full, then overwrite random slots.

use std::collections::BTreeMap;

use candle_core::Tensor;
use ebm_core::{BuildCx, Key, Param, ReplayBuffer, ReplayConfig, Result, register};
use serde::{Deserialize, Serialize};

use crate::store::{Storage, Store, capacity};

/// Once full, each new chain overwrites a uniformly random slot: the age of what is held is geometric
/// with mean `capacity` offers, between a ring's fixed age and a reservoir's growing one.
pub struct RandomOverwrite {
    store: Store,
    capacity: usize,
}

impl ReplayBuffer for RandomOverwrite {
    fn len(&self) -> usize {
        self.store.len()
    }

    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>> {
        if n == 0 || self.len() < n { Ok(None) } else { self.store.draw(n, key).map(Some) }
    }

    fn put(&mut self, _: Option<&[u64]>, x: &Tensor, key: Key) -> Result<()> {
        let (n, rows) = self.store.rows(x)?;
        let append = n.min(self.capacity - self.store.len().min(self.capacity));
        self.store.append(&rows, 0, append)?;
        let slot = |i| key.at("slot").below(i as u64, self.store.len());
        let pairs: Vec<_> = (append..n).map(|i| (slot(i), i)).collect();
        self.store.write(&pairs, &rows)
    }

    fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        self.store.save(&[])
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.store.load(state, 0).map(|_| ())
    }

    fn full_bytes(&self) -> Option<usize> {
        Some(self.store.bytes_of(self.capacity))
    }

    fn name(&self) -> String {
        format!("random-overwrite of {}", self.capacity)
    }
}

/// Settings of `random-overwrite`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomOverwriteConfig {
    /// Number of chains held.
    pub capacity: usize,
    /// As floats or bytes.
    #[serde(default)]
    pub storage: Storage,
}

#[typetag::serde(name = "random-overwrite")]
impl ReplayConfig for RandomOverwriteConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn ReplayBuffer>> {
        let capacity = capacity("random-overwrite", self.capacity, cx.shards())?;
        let store = Store::new(cx, capacity, self.storage, false, false)?;
        Ok(Box::new(RandomOverwrite { store, capacity }))
    }
}

register! {
    ReplayConfig, "random-overwrite" => RandomOverwriteConfig,
    summary: "new chains overwrite random slots once the buffer is full",
    source: "this project; like Du, Mordatch 2019",
    example: "capacity = 10_000",
    params: [
        Param::int("capacity", "number of chains held").at_least(1.0),
        Param::choice("storage", &["float", "bytes"], "how samples are kept").default("\"float\""),
    ],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_device_holds_the_same(case in crate::agreement::cases()) {
            case.check(|store| RandomOverwrite { store, capacity: case.capacity })?;
        }

        #[test]
        fn equals_the_plain_list(capacity in 1usize..12, sizes in prop::collection::vec(0usize..9, 1..9)) {
            let cx = BuildCx::new(&[1], DType::F32, &Device::Cpu, Key::root(0));
            let buffer = || {
                let store = Store::new(&cx, capacity, Storage::Float, false, false).unwrap();
                RandomOverwrite { store, capacity }
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
