//! Programs of their own loop, with one line wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::{
    Batch, ChainState, Chains, DrawRequest, Drawn, EnergyFn, Key, Link, Result, Sampler, Sensitivity,
    Stepped, Trail, Transition,
};
use ebm_testkit::{Verdict, check_sampler, laws, toy};

use crate::{Planted, planted};

struct Step;

impl Transition for Step {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, slope) = (&state.at, state.slope(e)?);
        let eps = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let x = ((&at.x - slope.grad.affine(0.1, 0.0)?)? + eps.affine(0.1, 0.0)?)?;
        Ok(Stepped::new(
            state.advance(x),
            Link::Descent { at: at.clone(), scale: 0.1, pass: None, active: None },
        ))
    }
    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }
    fn name(&self) -> String {
        "step".into()
    }
}

/// A loop of one transition.
#[derive(Clone)]
struct Loop {
    what: &'static str,
    steps: usize,
    inner: Arc<dyn Transition>,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

impl Sampler for Loop {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let key = match self.what {
            "clock" => key.at(CALLS.fetch_add(1, Ordering::Relaxed)),
            "key" => Key::root(1),
            _ => key,
        };
        let from = match self.what {
            "rows" => from.clone().with_chains(Chains::range(0, from.len())),
            "condition" => from.with_cond(None),
            "coupled" => {
                let middle = from.x.mean_keepdim(0)?;
                from.with_x(from.x.broadcast_sub(&middle)?)
            }
            _ => from,
        };
        let mut state = self.inner.init(e, from, key.at("init"))?;
        if self.what != "memory" {
            let own = |name: String| Some((name.clone(), request.memory.get(&name)?.clone()));
            state.aux.extend(self.inner.carried().into_iter().filter_map(own));
        }
        if self.what != "place" {
            state.of = self.steps.max(1);
        }
        if self.what != "reference" {
            state.reference = request.reference.cloned();
        }
        let mut links = Vec::new();
        let mut info = BTreeMap::new();
        for k in 0..self.steps {
            if self.what != "learning" {
                state.learning = request.learning(k);
            }
            let own = if self.what == "probe moves" && request.probe.wants_steps() {
                key.at("other").at(k)
            } else {
                key.at(k)
            };
            let out = self.inner.step(e, &state, own)?;
            if self.what != "probe" || k > 0 {
                let index = if self.what == "index" { k + 1 } else { k };
                request.probe.on_step(index, &out)?;
            }
            links.push(out.link);
            info = out.info;
            state = out.state;
        }
        for name in self.inner.carried() {
            if let Some(t) = state.aux.get(&name) {
                request.memory.insert(name, t.clone());
            }
        }
        let keep = match self.what {
            "trail" => 1,
            "all links" => usize::MAX,
            _ => request.trail,
        };
        let rows = request.trail_rows.unwrap_or(usize::MAX);
        let first = links.len().saturating_sub(keep);
        let mut kept: Vec<Link> = links
            .into_iter()
            .skip(first)
            .map(|l| if self.what == "trail rows" { Ok(l) } else { l.narrow(rows) })
            .collect::<Result<_>>()?;
        if self.what == "reversed" {
            kept.reverse();
        }
        if self.what == "identity" {
            kept.iter_mut().for_each(|l| *l = Link::Identity);
        }
        Ok(Drawn::new(state, Trail::of(kept), info))
    }
    fn sensitivity(&self, trail: usize) -> Sensitivity {
        match self.what {
            "vouches" => Sensitivity::Exact,
            _ if trail == 0 => Sensitivity::Exact,
            _ => self.inner.sensitivity(),
        }
    }
    fn steps(&self) -> usize {
        self.steps
    }
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        let steps = if self.what == "steps" { self.steps } else { steps };
        Box::new(Loop { steps, ..self.clone() })
    }
    fn name(&self) -> String {
        "loop".into()
    }
}

/// The laws of a program as it stands.
fn whole(what: &'static str) -> Verdict {
    laws::sampler(&Loop { what, steps: 4, inner: Arc::new(Step) }, &[3])
}

/// What it owes its transition.
fn around(what: &'static str) -> Verdict {
    let e = toy::mlp(3, 4, 2, 1)?;
    let chains = Chains::range(7, 4);
    let x =
        Key::root(1).normal(&chains, &[3], ebm_core::candle::DType::F64, &ebm_core::candle::Device::Cpu)?;
    let build = |t: Box<dyn Transition>| -> Result<Box<dyn Sampler>> {
        Ok(Box::new(Loop { what, steps: 4, inner: t.into() }))
    };
    check_sampler(&build, &e, &Batch::new(x)?.with_chains(chains))
}

pub(crate) fn all() -> Vec<Planted> {
    let p = |fault, says, run: fn() -> Verdict| planted("sampler", fault, says, run);
    vec![
        p("sound loop", "", || whole("")),
        p("sound loop around a transition", "", || around("")),
        p("counts its calls", "two results", || whole("clock")),
        p("key ignored", "six keys gave the same draw", || whole("key")),
        p("chains by row", "chains", || whole("rows")),
        p("condition dropped", "condition", || whole("condition")),
        p("rows coupled", "alone deviate", || whole("coupled")),
        p("first step not shown", "a probe of", || whole("probe")),
        p("probe counts from one", "a probe of", || whole("index")),
        p("a probe that looks moves the chains", "only looks changes samples", || whole("probe moves")),
        p("number of steps ignored", "asked for", || whole("steps")),
        p("trail of one link whatever is asked", "links, it kept", || whole("trail")),
        p("whole trail whatever is asked", "links, it kept", || whole("all links")),
        p("trail in reverse", "links deviates", || whole("reversed")),
        p("links of a program `Identity`", "links deviates", || whole("identity")),
        p("length of the program not told", "place and length", || around("place")),
        p("memory not read", "are left of what", || around("memory")),
        p("reference samples not passed on", "reference samples", || around("reference")),
        p("steps not told what they may learn", "with a warm-up", || around("learning")),
        p("trail of all rows where one is asked", "a trail of one row", || around("trail rows")),
        p("vouches for what cannot tell", "vouches for", || around("vouches")),
    ]
}
