//! Persistent chains: each goes back to the slot it came from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Error, Key, ReplayBuffer, ReplayConfig, Result, Settings, plugin};

use crate::kit::{Store, StoreSettings};

/// Which chains are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Order {
    /// Every chain once, in random order, before any a second time. A set of reference samples
    /// drawn between two training steps is then the chains whose turn it is.
    #[default]
    Turns,
    /// Different random chains each time.
    Random,
}

/// Round, number of chains, their order.
type RoundOrder = (u64, usize, Arc<[usize]>);

/// A fixed number of chains that are advanced and written back (Tieleman 2008).
///
/// It gives none until it is full; chains that come without slots fill it.
pub struct InPlace {
    store: Store,
    capacity: usize,
    order: Order,
    key: Key,
    /// How often all chains had their turn, and how many had it this time.
    round: u64,
    turn: usize,
    /// The permutation of the round asked for last: one for many draws.
    kept: Mutex<Option<RoundOrder>>,
}

impl InPlace {
    /// The order of the chains in a round.
    fn order_of(&self, round: u64) -> Arc<[usize]> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((r, n, order)) if (*r, *n) == (round, self.len()) => order.clone(),
            _ => {
                let order: Arc<[usize]> = self.key.at("turns").at(round).permutation(self.len()).into();
                *kept = Some((round, self.len(), order.clone()));
                order
            }
        }
    }

    /// Round and place in it at which `n` chains stand together; chains left over at the end of a
    /// round wait for the next.
    fn place(&self, n: usize) -> (u64, usize) {
        if self.turn + n > self.len() { (self.round + 1, 0) } else { (self.round, self.turn) }
    }
}

impl ReplayBuffer for InPlace {
    fn len(&self) -> usize {
        self.store.len()
    }

    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>> {
        if n > self.capacity {
            return Err(Error::config(
                "in-place.capacity",
                format!(
                    "is {}, but a step needs {n} different chains; raise it to at least the batch size",
                    self.capacity
                ),
            ));
        }
        if n == 0 || self.len() < self.capacity {
            return Ok(None);
        }
        let order = match self.order {
            Order::Turns => {
                let (round, turn) = self.place(n);
                self.order_of(round)[turn..turn + n].to_vec()
            }
            Order::Random => distinct(n, self.len(), key.at("slots")),
        };
        let slots: Vec<u64> = order.into_iter().map(|s| s as u64).collect();
        let x = self.store.read(&slots, key)?;
        Ok(Some((slots, x)))
    }

    fn put(&mut self, slots: Option<&[u64]>, x: &Tensor, _: Key) -> Result<()> {
        let (n, rows) = self.store.rows(x)?;
        let Some(slots) = slots else {
            let room = n.min(self.capacity.saturating_sub(self.len()));
            return self.store.append(&rows, 0, room);
        };
        if slots.len() != n || slots.iter().any(|s| *s as usize >= self.len()) {
            return Err(Error::config(
                "in-place",
                format!(
                    "got {n} chains for {} slots of {}; write back what was drawn",
                    slots.len(),
                    self.len()
                ),
            ));
        }
        let pairs: Vec<_> = slots.iter().enumerate().map(|(i, slot)| (*slot as usize, i)).collect();
        self.store.write(&pairs, &rows)?;
        if self.order == Order::Turns {
            let (round, turn) = self.place(n);
            (self.round, self.turn) = (round, turn + n);
        }
        Ok(())
    }

    fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        self.store.save(&[self.round, self.turn as u64])
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let counters = self.store.load(state, 2)?;
        (self.round, self.turn) = (counters[0], counters[1] as usize);
        Ok(())
    }

    fn capacity(&self, _: usize) -> Option<usize> {
        Some(self.capacity)
    }

    fn draws_distinct(&self) -> bool {
        true
    }

    fn full_bytes(&self) -> Option<usize> {
        Some(self.store.bytes_of(self.capacity))
    }

    fn name(&self) -> String {
        format!("in-place, {} chains", self.capacity)
    }
}

/// `n` different numbers below `len` (Floyd's algorithm), each set equally likely.
fn distinct(n: usize, len: usize, key: Key) -> Vec<usize> {
    let mut seen = std::collections::HashSet::with_capacity(n);
    let mut out = Vec::with_capacity(n);
    for (i, top) in (len - n..len).enumerate() {
        let pick = key.below(i as u64, top + 1);
        let pick = if seen.insert(pick) { pick } else { top };
        seen.insert(pick);
        out.push(pick);
    }
    out
}

/// Settings of `in-place`.
#[derive(Debug, Clone, Settings)]
pub struct InPlaceConfig {
    /// Capacity and storage; bytes add noise to chains at every trip.
    #[setting(flatten)]
    pub store: StoreSettings,
    /// Every chain in its turn, or random ones.
    #[setting(default = Order::Turns)]
    pub order: Order,
}

#[plugin(
    "in-place",
    summary = "persistent chains: each goes back to the slot it came from",
    source = "Tieleman 2008",
    example = "capacity = 8192"
)]
impl ReplayConfig for InPlaceConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn ReplayBuffer>> {
        let capacity = self.store.share(cx)?;
        Ok(Box::new(InPlace {
            store: Store::new(cx, capacity, self.store.storage, false, false)?,
            capacity,
            order: self.order,
            key: cx.key(),
            round: 0,
            turn: 0,
            kept: Mutex::default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use ebm_core::candle::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::kit::Storage;

    fn chains(capacity: usize, order: Order) -> InPlace {
        let cx = BuildCx::new(&[1], DType::F32, &Device::Cpu, Key::root(0));
        let store = Store::new(&cx, capacity, Storage::Float, false, false).unwrap();
        InPlace { store, capacity, order, key: Key::root(5), round: 0, turn: 0, kept: Mutex::default() }
    }

    fn column(v: Vec<f32>) -> Tensor {
        let n = v.len();
        Tensor::from_vec(v, (n, 1), &Device::Cpu).unwrap()
    }

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn a_device_holds_the_same(case in crate::tests::cases()) {
            case.check(|store| {
                let (order, key) = (if case.published { Order::Random } else { Order::Turns }, Key::root(5));
                InPlace { store, capacity: case.capacity, order, key, round: 0, turn: 0, kept: Mutex::default() }
            })?;
        }

        #[test]
        fn slots_are_those_written_back(capacity in 1usize..12, n in 1usize..12, turns: bool, puts in 1usize..9) {
            let n = n.min(capacity);
            let mut b = chains(capacity, if turns { Order::Turns } else { Order::Random });
            let mut list: Vec<f32> = (0..capacity).map(|i| i as f32).collect();
            b.put(None, &column(list.clone()), Key::root(0)).unwrap();
            for k in 0..puts {
                let (slots, x) = b.draw(n, Key::root(k as u64)).unwrap().unwrap();
                prop_assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), n, "slots are different");
                let want: Vec<f32> = slots.iter().map(|s| list[*s as usize]).collect();
                prop_assert_eq!(numbers(&x), want);
                let moved: Vec<f32> = numbers(&x).iter().map(|v| v + 100.0).collect();
                slots.iter().zip(&moved).for_each(|(s, v)| list[*s as usize] = *v);
                b.put(Some(&slots), &column(moved), Key::root(0)).unwrap();
                let all: Vec<u64> = (0..capacity as u64).collect();
                prop_assert_eq!(numbers(&b.store.read(&all, Key::root(0)).unwrap()), list.clone());
                let mut c = chains(capacity, b.order);
                c.load(&b.save().unwrap()).unwrap();
                let (next, again) = (b.draw(n, Key::root(99)).unwrap().unwrap().0, c.draw(n, Key::root(99)).unwrap());
                prop_assert_eq!(next, again.unwrap().0);
            }
        }
    }

    #[test]
    fn every_chain_has_its_turn() {
        let mut b = chains(6, Order::Turns);
        b.put(None, &column((0..9).map(|i| i as f32).collect()), Key::root(0)).unwrap();
        assert_eq!(b.len(), 6);
        for round in 0..3 {
            let mut seen = BTreeSet::new();
            for _ in 0..3 {
                let (slots, x) = b.draw(2, Key::root(1)).unwrap().unwrap();
                seen.extend(slots.iter().copied());
                b.put(Some(&slots), &x, Key::root(0)).unwrap();
            }
            assert_eq!(seen.len(), 6, "round {round}");
        }
    }

    #[test]
    fn gives_none_before_it_is_full_and_says_when_it_never_can() {
        let mut b = chains(6, Order::Turns);
        b.put(None, &column(vec![0.0; 4]), Key::root(0)).unwrap();
        assert!(b.draw(3, Key::root(0)).unwrap().is_none());
        assert!(b.draw(7, Key::root(0)).unwrap_err().to_string().contains("capacity"));
        assert!(b.put(Some(&[5]), &column(vec![0.0]), Key::root(0)).is_err());
    }

    #[test]
    fn floyd_draws_every_set_alike() {
        let mut counts = BTreeMap::new();
        for i in 0..6000u64 {
            let mut s = distinct(2, 4, Key::root(i));
            s.sort_unstable();
            *counts.entry(s).or_insert(0u32) += 1;
        }
        // Six sets of 1000 each; four standard deviations.
        assert!(counts.len() == 6 && counts.values().all(|c| c.abs_diff(1000) < 116), "{counts:?}");
    }
}
