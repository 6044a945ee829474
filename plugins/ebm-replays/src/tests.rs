//! Tests of buffers on a device against those of the processor, operation by operation. The device is the processor's own, so that
//! they run anywhere.

#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::host::reads;
use ebm_core::{BuildCx, Chains, Key, ReplayBuffer};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::kit::{Storage, Store};

/// Something to do with a number of chains.
#[derive(Clone, Copy, Debug)]
enum Act {
    Put,
    /// Draws chains, moves them and puts them back.
    Advance,
    /// Each goes on from what the other has saved.
    Exchange,
}

/// A random buffer and what happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub capacity: usize,
    pub published: bool,
    storage: Storage,
    inverted: bool,
    acts: Vec<(Act, usize)>,
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let storage = prop_oneof![Just(Storage::Float), Just(Storage::Bytes)];
    let act = prop_oneof![3 => Just(Act::Put), 3 => Just(Act::Advance), 1 => Just(Act::Exchange)];
    let acts = prop::collection::vec((act, 0usize..14), 1..14);
    (1usize..26, any::<bool>(), storage, any::<bool>(), acts).prop_map(
        |(capacity, published, storage, inverted, acts)| Case {
            capacity,
            published,
            storage,
            inverted,
            acts,
        },
    )
}

/// Values in and around [0, 1].
fn samples(n: usize, key: Key) -> Tensor {
    let x = key.uniform(&Chains::range(0, n), &[2, 3], DType::F32, &Device::Cpu).unwrap();
    x.affine(1.2, -0.1).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

type State = BTreeMap<String, Tensor>;

/// Names, types, shapes and numbers.
fn plain(state: &State) -> Vec<(String, DType, Vec<usize>, Vec<f64>)> {
    state.iter().map(|(k, t)| (k.clone(), t.dtype(), t.dims().to_vec(), numbers(t))).collect()
}

impl Case {
    fn store(&self) -> Store {
        let cx = BuildCx::new(&[2, 3], DType::F32, &Device::Cpu, Key::root(0));
        Store::new(&cx, self.capacity, self.storage, self.published, self.inverted).unwrap()
    }

    /// Holds a buffer made by `build` on the device against one on the processor.
    pub fn check<B: ReplayBuffer>(&self, build: impl Fn(Store) -> B) -> Result<(), TestCaseError> {
        let on_host = || build(self.store());
        let on_device = || build(self.store().on(&Device::Cpu, self.capacity).unwrap());
        let (mut host, mut there) = (on_host(), on_device());
        let mut saved = Vec::new();
        for (i, (act, n)) in self.acts.iter().enumerate() {
            let key = Key::root(i as u64);
            match act {
                Act::Put => put(&mut host, &mut there, None, &samples(*n, key), key)?,
                Act::Advance => {
                    let before = reads();
                    let drawn = there.draw(*n, key);
                    prop_assert_eq!(reads(), before, "a draw reads nothing");
                    match (host.draw(*n, key), drawn) {
                        (Ok(Some((slots, x))), Ok(Some((other, y)))) => {
                            prop_assert_eq!(&slots, &other);
                            prop_assert_eq!((numbers(&x), x.dims()), (numbers(&y), y.dims()));
                            let moved = ((x * 0.9).unwrap() + 0.03).unwrap();
                            put(&mut host, &mut there, Some(&slots), &moved, key)?;
                        }
                        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
                        _ => prop_assert!(false, "one draws, the other does not"),
                    }
                }
                Act::Exchange => {
                    let (a, b) = (host.save().unwrap(), there.save().unwrap());
                    (host, there) = (on_host(), on_device());
                    // What was there goes.
                    put(&mut host, &mut there, None, &samples(3, key), key)?;
                    host.load(&b).unwrap();
                    there.load(&a).unwrap();
                    saved.push((plain(&a), a));
                }
            }
            let state = there.save().unwrap();
            prop_assert_eq!(plain(&host.save().unwrap()), plain(&state), "after {} acts", i + 1);
            prop_assert_eq!((host.len(), host.full_bytes()), (there.len(), there.full_bytes()));
            saved.push((plain(&state), state));
        }
        for (then, state) in saved {
            prop_assert_eq!(plain(&state), then, "what was saved or loaded does not change any more");
        }
        Ok(())
    }
}

/// Puts `x` into both; the device's buffer reads no number and leaves `x` as it is.
fn put(
    host: &mut impl ReplayBuffer,
    there: &mut impl ReplayBuffer,
    slots: Option<&[u64]>,
    x: &Tensor,
    key: Key,
) -> Result<(), TestCaseError> {
    let (values, before) = (numbers(x), reads());
    there.put(slots, x, key).unwrap();
    prop_assert_eq!(reads(), before, "a put reads nothing");
    host.put(slots, x, key).unwrap();
    prop_assert_eq!(numbers(x), values);
    Ok(())
}
