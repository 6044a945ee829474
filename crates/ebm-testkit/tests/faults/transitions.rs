//! Steps: Langevin, noise, a map, an accept test, with one line wrong.

use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Adjust, Batch, ChainState, Chains, EnergyFn, Key, Law, Link, Result, RowStep, Sensitivity, Stepped,
    Transition, per_row, row_sum,
};
use ebm_testkit::{Verdict, laws};

use crate::{Planted, planted};

/// `x′ = x − λ∇E(x) + σε`, clamped to a box if it has one.
#[derive(Clone)]
struct Langevin {
    fault: &'static str,
    step_size: f64,
    noise: f64,
    clamp: Option<(f64, f64)>,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

impl Transition for Langevin {
    fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        let _ = (e, key);
        Ok(ChainState::new(at))
    }
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, slope) = (&state.at, state.slope(e)?);
        let key = match self.fault {
            "key" => Key::root(1),
            "clock" => key.at(CALLS.fetch_add(1, Ordering::Relaxed)),
            _ => key,
        };
        let rows = match self.fault {
            "row" => Chains::range(0, at.len()),
            "shared" => Chains::from_ids(vec![7; at.len()]),
            _ => at.chains.clone(),
        };
        let eps = key.normal(&rows, at.sample_shape(), at.dtype(), at.device())?;
        let size = if self.fault == "noise" { 0.9 } else { self.noise };
        let step_size =
            if self.fault == "coupled" { self.step_size / at.len() as f64 } else { self.step_size };
        let mut x = ((&at.x - slope.grad.affine(step_size, 0.0)?)? + eps.affine(size, 0.0)?)?;
        let mut pass = None;
        if let Some((low, high)) = self.clamp {
            pass = Some(ebm_core::within(&x, low, high)?);
            x = x.clamp(low, high)?;
        }
        if self.fault == "pass" {
            pass = None;
        }
        if self.fault == "beyond" {
            x = x.affine(1.0, 5.0)?;
        }
        let mut next = state.advance(x);
        match self.fault {
            "condition" => next.at.cond = next.at.cond.as_ref().map(Tensor::zeros_like).transpose()?,
            "lost condition" => next.at.cond = None,
            "step" => next.step = 0,
            "chains" => next.at.chains = Chains::range(0, at.len()),
            "cache" => next.cache = Some(slope.clone()),
            _ => {}
        }
        let scale = if self.fault == "scale" { 2.0 * step_size } else { step_size };
        let link = match self.fault {
            "cut" => Link::Cut,
            "identity" => Link::Identity,
            // The point before the last one.
            "point" => Link::Descent { at: at.with_x(next.at.x.clone()), scale, pass, active: None },
            _ => Link::Descent { at: at.clone(), scale, pass, active: None },
        };
        let energy = if self.fault == "diagnostic" { slope.energy.mean_all()? } else { slope.energy };
        Ok(Stepped::new(next, link).with("energy", energy))
    }
    fn sensitivity(&self) -> Sensitivity {
        if self.fault == "passes" { Sensitivity::Passes } else { Sensitivity::Exact }
    }
    fn bounds(&self) -> Option<(f64, f64)> {
        self.clamp
    }
    fn row_step(&self, _: usize, _: usize) -> Option<RowStep> {
        let step_size = self.step_size;
        (self.fault == "data").then_some(RowStep {
            step_size,
            noise: self.noise,
            noise_first: true,
            clamp: None,
            move_limit: None,
        })
    }
    fn noise(&self) -> Option<f64> {
        Some(self.noise)
    }
    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let clamp = if self.fault == "adjusted" { Some((-1.0, 0.2)) } else { self.clamp };
        Some(Box::new(Langevin {
            step_size: self.step_size * by.step_size,
            noise: self.noise * by.noise,
            clamp,
            ..self.clone()
        }))
    }
    fn log_ratio(&self, e: &dyn EnergyFn, from: &ChainState, to: &ChainState) -> Result<Option<Tensor>> {
        if !["ratio", "sound ratio"].contains(&self.fault) {
            return Ok(None);
        }
        if self.fault == "ratio" {
            return Ok(Some(Tensor::zeros(from.at.len(), from.at.dtype(), from.at.device())?));
        }
        let log_q = |a: &Batch, b: &Batch| -> Result<Tensor> {
            let gap = ((&b.x - &a.x)? + e.slope(a)?.grad.affine(self.step_size, 0.0)?)?;
            Ok(row_sum(&gap.sqr()?)?.affine(-0.5 / (self.noise * self.noise), 0.0)?)
        };
        Ok(Some((log_q(&to.at, &from.at)? - log_q(&from.at, &to.at)?)?))
    }
    fn law(&self) -> Law {
        if self.fault == "claim" { Law::Invariant { temperature: 1.0 } } else { Law::Unsaid }
    }
    fn name(&self) -> String {
        "planted".into()
    }
}

fn langevin(fault: &'static str) -> Verdict {
    let clamp = ["pass", "beyond", "sound box"].contains(&fault).then_some((0.2, 0.8));
    let noise = if clamp.is_some() { 0.3 } else { 0.316 };
    laws::transition(&Langevin { fault, step_size: 0.05, noise, clamp }, &[2])
}

/// A map of the position that does not look at the energy.
struct Mapped(&'static str);

impl Transition for Mapped {
    fn step(&self, _: &dyn EnergyFn, state: &ChainState, _: Key) -> Result<Stepped> {
        let x = &state.at.x;
        let quarter = Tensor::new(&[[0.0f64, 1.0], [-1.0, 0.0]], &Device::Cpu)?;
        let (y, link) = match self.0 {
            "half" => (x.affine(0.5, 0.0)?, Link::Identity),
            "rotation" => (x.matmul(&quarter)?, Link::Identity),
            // The map itself where its transpose belongs.
            "rotation by its map" => (x.matmul(&quarter)?, Link::linear(move |u| Ok(u.matmul(&quarter)?))),
            "sound rotation" => (x.matmul(&quarter)?, Link::linear(move |u| Ok(u.matmul(&quarter.t()?)?))),
            "cut" => (x.affine(0.5, 0.0)?, Link::Cut),
            "through" => (x.affine(0.0, 0.5)?, Link::Identity),
            _ => (x.affine(0.5, 0.0)?, Link::linear(|u| Ok(u.affine(0.5, 0.0)?))),
        };
        Ok(Stepped::new(state.advance(y), link))
    }
    fn sensitivity(&self) -> Sensitivity {
        match self.0 {
            "cut" => Sensitivity::Cuts,
            "half" | "rotation" => Sensitivity::Exact,
            _ => Sensitivity::Passes,
        }
    }
    fn name(&self) -> String {
        "map".into()
    }
}

fn mapped(what: &'static str) -> Verdict {
    laws::transition(&Mapped(what), &[2])
}

/// A random walk with an accept test.
struct Walk(&'static str);

impl Transition for Walk {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let at = &state.at;
        let eps = key.at("noise").normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let eps = match self.0 {
            // Steps to the right are longer than those to the left.
            "lopsided" => ((&eps + eps.abs()?.affine(0.3, 0.0)?)?).affine(0.5, 0.0)?,
            _ => eps.affine(0.5, 0.0)?,
        };
        let mut y = at.with_x((&at.x + eps)?);
        if self.0 == "condition" {
            y = y.with_cond(None);
        }
        let here = e.energy(&if self.0 == "condition" { at.clone().with_cond(None) } else { at.clone() })?;
        let rise = (e.energy(&y)? - here)?;
        let factor = match self.0 {
            "temperature" => -0.8,
            "sign" => 1.0,
            "always" => 0.0,
            _ => -1.0,
        };
        let u = key.at("accept").uniform(&at.chains, &[], at.dtype(), at.device())?;
        let taken = u.log()?.lt(&rise.affine(factor, 0.0)?)?;
        let mask = per_row(&taken, &at.x)?.broadcast_as(at.x.shape())?;
        let x = mask.where_cond(&y.x, &at.x)?;
        let x = if self.0 == "drift" { x.affine(0.98, 0.0)? } else { x };
        let x = if self.0 == "order" { x.neg()? } else { x };
        Ok(Stepped::new(state.advance(x), Link::Identity).with("accepted", taken.to_dtype(at.dtype())?))
    }
    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }
    fn law(&self) -> Law {
        Law::Reversible { temperature: 1.0 }
    }
    fn name(&self) -> String {
        "walk".into()
    }
}

fn walk(what: &'static str) -> Verdict {
    laws::transition(&Walk(what), &[2])
}

/// A walk of one coordinate and then one of the other: the law stays, and steps back are other steps.
struct Sweep;

impl Transition for Sweep {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let mut now = state.clone();
        let mut accepted = None;
        for (k, side) in [[0.0f64, 1.0], [1.0, 0.0]].iter().enumerate() {
            let at = now.at.clone();
            let eps = key.at(k).at("noise").normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
            let eps = eps.broadcast_mul(&Tensor::new(side, &Device::Cpu)?)?;
            let y = at.with_x((&at.x + eps)?);
            let rise = (e.energy(&y)? - e.energy(&at)?)?;
            let u = key.at(k).at("accept").uniform(&at.chains, &[], at.dtype(), at.device())?;
            let taken = u.log()?.lt(&rise.neg()?)?;
            let mask = per_row(&taken, &at.x)?.broadcast_as(at.x.shape())?;
            now.at = at.with_x(mask.where_cond(&y.x, &at.x)?);
            accepted = Some(taken.to_dtype(at.dtype())?);
        }
        let out = Stepped::new(state.advance(now.at.x), Link::Identity);
        Ok(match accepted {
            Some(a) => out.with("accepted", a),
            None => out,
        })
    }
    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }
    fn law(&self) -> Law {
        Law::Reversible { temperature: 1.0 }
    }
    fn name(&self) -> String {
        "sweep".into()
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
        "underdamped".into()
    }
}

fn underdamped(what: &'static str) -> Verdict {
    laws::transition(&Underdamped(what), &[2])
}

pub(crate) fn all() -> Vec<Planted> {
    let p = |fault, says, run: fn() -> Verdict| planted("transition", fault, says, run);
    vec![
        p("sound Langevin", "", || langevin("")),
        p("sound Langevin in a box", "", || langevin("sound box")),
        p("sound ratio", "", || langevin("sound ratio")),
        p("sound rotation", "", || mapped("sound rotation")),
        p("sound half", "", || mapped("")),
        p("sound momentum", "", || underdamped("")),
        p("friction left out of the link", "link's gradient", || underdamped("friction")),
        p("kick of another size in the link", "link's gradient", || underdamped("kick")),
        p("drift of another size in the link", "link's gradient", || underdamped("drift")),
        p("sound walk", "", || walk("")),
        p("clock in the key", "two results", || langevin("clock")),
        p("key ignored", "ten keys gave the same step", || langevin("key")),
        p("noise by row", "alone deviate", || langevin("row")),
        p("all chains share their noise", "share their noise", || langevin("shared")),
        p("step size by the size of the batch", "alone deviate", || langevin("coupled")),
        p("condition zeroed", "condition got lost or changed", || langevin("condition")),
        p("condition dropped", "condition got lost or changed", || langevin("lost condition")),
        p("step index stays", "step index", || langevin("step")),
        p("chains renumbered", "shape or chains changed", || langevin("chains")),
        p("cache of the old position", "cached slope is stale", || langevin("cache")),
        p("link of twice the step", "link's gradient", || langevin("scale")),
        p("link `Cut` although it descends", "link's gradient", || langevin("cut")),
        p("link `Identity` although it descends", "link's gradient", || langevin("identity")),
        p("link at the end of the step", "link's gradient", || langevin("point")),
        p("clamp left out of the link", "link's gradient", || langevin("pass")),
        p("`Passes` although it descends", "θ does not enter", || langevin("passes")),
        p("coordinates outside of `bounds`", "`bounds` says", || langevin("beyond")),
        p("`row_step` with noise first", "`row_step` says", || langevin("data")),
        p("a clamp that `adjusted` makes up", "adjusted by factors of one", || langevin("adjusted")),
        p("noise of 0.9 in place of 0.316", "it states", || langevin("noise")),
        p("diagnostic of the batch", "diagnostic `energy`", || langevin("diagnostic")),
        p("ratio 0 of a gradient step", "log_ratio", || langevin("ratio")),
        p("a law claimed without an accept test", "law: after", || langevin("claim")),
        p("link `Identity` for x/2", "link's gradient", || mapped("half")),
        p("link `Identity` for a rotation", "link's gradient", || mapped("rotation")),
        p("a map where its transpose belongs", "link's gradient", || mapped("rotation by its map")),
        p("`Cuts` for x/2", "deviates", || mapped("cut")),
        p("`Identity` for a constant", "link's gradient", || mapped("through")),
        p("accept test at 0.8 of the energy", "law: after", || walk("temperature")),
        p("accept test with the sign turned", "law: after", || walk("sign")),
        p("every move taken", "law: after", || walk("always")),
        p("moves to the right longer than to the left", "law: after", || walk("lopsided")),
        p("shrunk by two per cent after the test", "law: after", || walk("drift")),
        p("condition left out of the energy", "rounds of data given chains", || walk("condition")),
        p("mirrored after the test", "law: after", || walk("order")),
        p("two walks in a row as `Reversible`", "detailed balance", || laws::transition(&Sweep, &[2])),
    ]
}
