//! Replay buffers and optimisers, with one line wrong.

use std::collections::BTreeMap;
use std::sync::Mutex;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Error, Key, Optimiser, OptimiserState, ReplayBuffer, Result, Update, Updated};
use ebm_testkit::{Verdict, laws};

use crate::{Planted, planted};

/// The newest chains, up to `CAPACITY`.
struct Newest {
    what: &'static str,
    held: Vec<Tensor>,
}

const CAPACITY: usize = 10;

impl ReplayBuffer for Newest {
    fn len(&self) -> usize {
        self.held.len()
    }
    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>> {
        if self.held.len() < n || (self.what == "never" && self.held.len() >= CAPACITY) {
            return Ok(None);
        }
        let key = if self.what == "clock" {
            Key::root(1).at(format!("{:?}", std::time::Instant::now()).as_str())
        } else {
            key
        };
        let mut slots: Vec<u64> =
            key.permutation(self.held.len()).into_iter().take(n).map(|s| s as u64).collect();
        if self.what == "twice" {
            slots = vec![slots[0]; n];
        }
        let x = Tensor::cat(&slots.iter().map(|s| self.held[*s as usize].clone()).collect::<Vec<_>>(), 0)?;
        let x = match self.what {
            "noise" => x.affine(1.0, 0.05)?,
            "flat" => x.flatten_from(1)?.unsqueeze(1)?,
            _ => x,
        };
        if self.what == "slots" {
            slots.iter_mut().for_each(|s| *s += 100);
        }
        Ok(Some((slots, x)))
    }
    fn put(&mut self, _: Option<&[u64]>, x: &Tensor, _: Key) -> Result<()> {
        if self.what != "any shape" && self.held.first().is_some_and(|h| h.dims()[1..] != x.dims()[1..]) {
            return Err(Error::shape("newest", x.dims(), "samples as they are held", "give others"));
        }
        for row in 0..x.dims()[0] {
            self.held.push(x.narrow(0, row, 1)?);
        }
        let keep = if self.what == "grows" { usize::MAX } else { CAPACITY };
        let first = self.held.len().saturating_sub(keep);
        self.held.drain(..first);
        Ok(())
    }
    fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut held = self.held.clone();
        if self.what == "forgets" {
            held.truncate(3);
        }
        if self.what == "order" {
            held.reverse();
        }
        Ok(BTreeMap::from([("held".to_string(), Tensor::cat(&held, 0)?)]))
    }
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let all = match (state.get("held"), self.what) {
            (Some(all), _) => all,
            (None, "anything") => return Ok(()),
            (None, _) => {
                return Err(Error::config("newest", "finds no `held`; the checkpoint is of another buffer"));
            }
        };
        self.held = (0..all.dims()[0]).map(|row| Ok(all.narrow(0, row, 1)?)).collect::<Result<_>>()?;
        Ok(())
    }
    fn capacity(&self, _: usize) -> Option<usize> {
        Some(CAPACITY)
    }
    fn draws_distinct(&self) -> bool {
        true
    }
    fn name(&self) -> String {
        "newest".into()
    }
}

fn newest(what: &'static str) -> Verdict {
    laws::replay(&|| Ok(Box::new(Newest { what, held: Vec::new() })), &[2, 3])
}

/// Descent with momentum.
struct Momentum {
    what: &'static str,
    hidden: Mutex<BTreeMap<String, Tensor>>,
}

impl Optimiser for Momentum {
    fn update(&self, u: &Update<'_>) -> Result<Updated> {
        let mut new = BTreeMap::new();
        let mut state = OptimiserState { step: u.state.step + 1, tensors: u.state.tensors.clone() };
        if self.what == "count" {
            state.step = 1 + u.state.step * 2;
            state.step += 1;
        }
        let grads = if self.what == "factor" { u.grads.clone() } else { u.clipped()?.into_owned() };
        let mut hidden = self.hidden.lock().map_err(|_| Error::config("momentum", "is broken"))?;
        for (name, g) in &grads {
            let Some(p) = u.params.get(name) else { continue };
            let key = format!("momentum.{name}");
            let old = if self.what == "hidden" { hidden.get(name) } else { u.state.tensors.get(&key) };
            let m = match old {
                Some(old) => (old.affine(0.9, 0.0)? + g)?,
                None => g.clone(),
            };
            if self.what == "hidden" {
                hidden.insert(name.clone(), m.clone());
            } else {
                state.tensors.insert(key, m.clone());
            }
            let m = if self.what == "divides" { m.broadcast_div(&g.sqr()?.mean_all()?.sqrt()?)? } else { m };
            let rate = match self.what {
                "uphill" => -u.rate,
                "rate" => 0.01,
                _ => u.rate,
            };
            let p = (p - m.affine(rate, 0.0)?)?;
            if self.what == "writes" {
                u.params.set(name, &p)?;
            }
            let p = if self.what == "single" { p.to_dtype(DType::F32)? } else { p };
            new.insert(name.clone(), p);
        }
        if self.what == "others" {
            for name in u.params.names().filter(|n| !grads.contains_key(*n)) {
                new.insert(
                    name.to_string(),
                    u.params.get(name).map(|t| t.affine(0.9, 0.0)).transpose()?.unwrap_or(Tensor::zeros(
                        1,
                        DType::F64,
                        &Device::Cpu,
                    )?),
                );
            }
        }
        match (self.what, u.average) {
            ("average", Some((old, _))) => Ok(Updated { params: new, state, average: Some(old.clone()) }),
            ("no average", _) => Ok(Updated { params: new, state, average: None }),
            _ => u.done(new, state),
        }
    }
    fn rate(&self, step: u64, of: u64) -> f64 {
        match self.what {
            // A quotient by the length of the run, which may be 0.
            "schedule" => 0.1 * (1.0 - step as f64 / of as f64),
            _ => 0.1,
        }
    }
    fn name(&self) -> String {
        "momentum".into()
    }
}

fn momentum(what: &'static str) -> Verdict {
    laws::optimiser(&|| Ok(Box::new(Momentum { what, hidden: Mutex::default() })))
}

pub(crate) fn all() -> Vec<Planted> {
    let r = |fault, says, run: fn() -> Verdict| planted("replay", fault, says, run);
    let o = |fault, says, run: fn() -> Verdict| planted("optimiser", fault, says, run);
    vec![
        r("sound buffer", "", || newest("")),
        r("draws by the clock", "the same key drew other chains", || newest("clock")),
        r("one slot drawn again and again", "drew a slot twice", || newest("twice")),
        r("chains changed on the way", "from all that were put", || newest("noise")),
        r("samples flattened", "drew 4 slots and samples", || newest("flat")),
        r("slots that there are not", "drew slots", || newest("slots")),
        r("grows beyond its capacity", "its capacity is", || newest("grows")),
        r("gives nothing once it is full", "gives nothing although", || newest("never")),
        r("saves three chains", "saved and loaded it is another", || newest("forgets")),
        r("saved in another order", "saved and loaded it is another", || newest("order")),
        r("loads anything", "loads a state", || newest("anything")),
        r("takes samples of another shape", "went into a buffer", || newest("any shape")),
        o("sound momentum", "", || momentum("")),
        o("writes in `update`", "was written in `update`", || momentum("writes")),
        o("momentum hidden in the optimiser", "two results", || momentum("hidden")),
        o("clipping factor ignored", "factor of ½", || momentum("factor")),
        o("counts wrongly", "counts 2 updates", || momentum("count")),
        o("goes uphill", "along the gradient", || momentum("uphill")),
        o("a rate of its own", "at rate 0", || momentum("rate")),
        o("divides by the size of the gradient", "gradients of 0", || momentum("divides")),
        o("moving average stands still", "moving average of", || momentum("average")),
        o("no moving average", "gave no moving average", || momentum("no average")),
        o("decays parameters without gradient", "gave new values of", || momentum("others")),
        o("parameters in single precision", "came back as", || momentum("single")),
        o("rate of a run without end", "the rate at step", || momentum("schedule")),
    ]
}
