//! What the check of transitions says of each broken kernel.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, ChainState, Chains, EnergyFn, Key, Link, Result, Sensitivity, Stepped, Transition};
use ebm_testkit::{check_transition, toy};

/// A gradient step `x − 0.2∇E + 0.1ε` with one thing wrong.
struct Broken(&'static str);

static CALLS: AtomicU64 = AtomicU64::new(0);

impl Transition for Broken {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let at = &state.at;
        let key = if self.0 == "bits" { key.at(CALLS.fetch_add(1, Ordering::Relaxed)) } else { key };
        // Noise by row, not by chain: a part of the batch would see another.
        let chains = if self.0 == "rows" { Chains::range(0, at.len()) } else { at.chains.clone() };
        let eps = key.normal(&chains, at.sample_shape(), at.dtype(), at.device())?;
        let slope = state.slope(e)?;
        let x = ((&at.x - slope.grad.affine(0.2, 0.0)?)? + eps.affine(0.1, 0.0)?)?;
        let scale = if self.0 == "link" { 0.21 } else { 0.2 };
        let link = match self.0 {
            "cut" => Link::Cut,
            "identity" => Link::Identity,
            _ => Link::Descent { at: at.clone(), scale, pass: None, active: None },
        };
        let mut next = state.advance(x);
        match self.0 {
            "cache" => next.cache = Some(slope),
            "index" => next.step = state.step,
            "chains" => next.at = next.at.with_chains(Chains::range(0, at.len())),
            _ => {}
        }
        let info = if self.0 == "info" { Tensor::zeros(1, DType::F64, &Device::Cpu)? } else { e.energy(at)? };
        Ok(Stepped::new(next, link).with("energy", info))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }

    fn name(&self) -> String {
        format!("kernel with wrong {}", self.0)
    }
}

#[test]
fn each_broken_kernel_is_told_why() {
    let e = toy::mlp(3, 5, 2, 1).unwrap();
    let chains = Chains::range(10, 4);
    let x = Key::root(1).normal(&chains, &[3], DType::F64, &Device::Cpu).unwrap();
    let at = Batch::new(x).unwrap().with_chains(chains);
    check_transition(&Broken("nothing"), &e, &at, true).unwrap();
    for (what, word) in [
        ("bits", "two results"),
        ("rows", "alone deviate"),
        ("link", "link's gradient"),
        ("cut", "link's gradient"),
        ("identity", "link's gradient"),
        ("cache", "stale"),
        ("index", "step index"),
        ("chains", "chains changed"),
        ("info", "diagnostic `energy`"),
    ] {
        let text = check_transition(&Broken(what), &e, &at, true).unwrap_err().to_string();
        assert!(text.contains(word), "{what}: {text}");
    }
}

/// Underdamped steps `v′ = ½v − 0.2∇E(x) + 0.1ε, x′ = x + 0.3v′`, with one thing wrong in their link.
struct Underdamped(&'static str);

impl Transition for Underdamped {
    fn init(&self, _: &dyn EnergyFn, at: Batch, _: Key) -> Result<ChainState> {
        let mut state = ChainState::new(at);
        state.aux.insert("momentum".into(), state.at.x.zeros_like()?);
        Ok(state)
    }

    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let at = &state.at;
        let eps = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let kick = (eps.affine(0.1, 0.0)? - e.slope(at)?.grad.affine(0.2, 0.0)?)?;
        let v = (state.aux["momentum"].affine(0.5, 0.0)? + kick)?;
        let mut next = state.advance((&at.x + v.affine(0.3, 0.0)?)?);
        next.aux.insert("momentum".into(), v);
        let links = vec![
            Link::Damp { keep: if self.0 == "friction" { 0.0 } else { 0.5 } },
            Link::Kick { at: at.clone(), scale: if self.0 == "kick" { 0.3 } else { 0.2 }, active: None },
            Link::Drift { scale: if self.0 == "drift" { 0.2 } else { 0.3 }, active: None },
        ];
        Ok(Stepped::new(next, Link::Sequence(links)))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }

    fn name(&self) -> String {
        format!("underdamped steps with wrong {}", self.0)
    }
}

#[test]
fn momenta_are_pulled_back() {
    let e = toy::mlp(3, 5, 2, 1).unwrap();
    let x = Key::root(1).normal(&Chains::range(0, 4), &[3], DType::F64, &Device::Cpu).unwrap();
    let at = Batch::new(x).unwrap();
    check_transition(&Underdamped("nothing"), &e, &at, true).unwrap();
    for wrong in ["friction", "kick", "drift"] {
        let text = check_transition(&Underdamped(wrong), &e, &at, true).unwrap_err().to_string();
        assert!(text.contains("link's gradient"), "{wrong}: {text}");
    }
}
