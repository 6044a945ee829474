//! What the check of buffers says of each broken one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Error, Key, ReplayBuffer, Result};
use ebm_testkit::check_replay;

/// Holds the last six chains, with one thing wrong.
struct Broken {
    held: Vec<Tensor>,
    wrong: &'static str,
}

const CAPACITY: usize = 6;

impl ReplayBuffer for Broken {
    fn len(&self) -> usize {
        self.held.len()
    }
    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>> {
        if self.held.len() < n || (self.wrong == "none" && !self.held.is_empty()) {
            return Ok(None);
        }
        let slots = (0..n as u64).map(|i| key.below(i, self.held.len()) as u64).collect::<Vec<_>>();
        let picked: Vec<&Tensor> = slots.iter().map(|s| &self.held[*s as usize]).collect();
        let x = Tensor::stack(&picked, 0)?;
        let x = if self.wrong == "values" { x.affine(1.0, 0.1)? } else { x };
        let slots = if self.wrong == "slots" { slots.iter().map(|s| s + 9).collect() } else { slots };
        Ok(Some((slots, if self.wrong == "shape" { x.flatten_from(1)? } else { x })))
    }
    fn put(&mut self, _: Option<&[u64]>, x: &Tensor, _: Key) -> Result<()> {
        for row in 0..x.dim(0)? {
            self.held.push(x.get(row)?);
        }
        let most = if self.wrong == "capacity" { CAPACITY + 1 } else { CAPACITY };
        self.held.drain(..self.held.len().saturating_sub(most));
        Ok(())
    }
    fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        let held = if self.wrong == "save" { &self.held[1..] } else { &self.held };
        Ok(BTreeMap::from([("held".to_string(), Tensor::stack(held, 0)?.to_device(&Device::Cpu)?)]))
    }
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let Some(all) = state.get("held") else {
            return if self.wrong == "load" { Ok(()) } else { Err(Error::config("replay", "no `held`")) };
        };
        self.held = (0..all.dim(0)?).map(|i| all.get(i)).collect::<Result<_, _>>()?;
        Ok(())
    }
    fn capacity(&self, _: usize) -> Option<usize> {
        Some(CAPACITY)
    }
    fn draws_distinct(&self) -> bool {
        self.wrong == "distinct"
    }
    fn name(&self) -> String {
        format!("buffer with wrong {}", self.wrong)
    }
}

#[test]
fn each_broken_buffer_is_told_why() {
    let check = |wrong| {
        let build = || -> Result<Box<dyn ReplayBuffer>> { Ok(Box::new(Broken { held: Vec::new(), wrong })) };
        check_replay(&build, &[2, 3], 0.0)
    };
    check("nothing").unwrap();
    for (wrong, word) in [
        ("none", "although it is full"),
        ("values", "from all that were put"),
        ("slots", "drew slots"),
        ("shape", "and samples"),
        ("capacity", "its capacity is"),
        ("distinct", "a slot twice"),
        ("save", "saved and loaded"),
        ("load", "loads a state"),
    ] {
        let text = check(wrong).unwrap_err().to_string();
        assert!(text.contains(word), "{wrong}: {text}");
    }
}
