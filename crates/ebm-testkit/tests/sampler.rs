//! What the check of samplers says of each broken program.
#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, ChainState, Chains, DrawRequest, Drawn, EnergyFn, Key, Link, Result, Sampler, Sensitivity,
    StepInfo, Trail, Transition,
};
use ebm_testkit::{check_sampler, toy};

/// The loop of a program, by hand, with one thing wrong.
struct Broken {
    steps: usize,
    transition: std::sync::Arc<dyn Transition>,
    wrong: &'static str,
}

impl Sampler for Broken {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let rows = if self.wrong == "rows" { from.len() } else { request.trail_rows.unwrap_or(from.len()) };
        let from = if self.wrong == "chains" {
            let n = from.len();
            from.with_chains(Chains::range(0, n))
        } else {
            from
        };
        let mut state: ChainState = self.transition.init(e, from, key.at("init"))?;
        if self.wrong != "reference" {
            state.reference = request.reference.cloned();
        }
        if self.wrong != "place" {
            state.of = self.steps.max(1);
        }
        for name in self.transition.carried().iter().filter(|_| self.wrong != "memory") {
            if let Some(t) = request.memory.get(name) {
                state.aux.insert(name.clone(), t.clone());
            }
        }
        let (mut trail, mut info) = (Trail::default(), StepInfo::new());
        for k in 0..self.steps {
            let key = if self.wrong == "probe moves" && request.probe.wants_steps() {
                key.at("other")
            } else {
                key
            };
            if self.wrong != "learning" {
                state.learning = request.learning(k);
            }
            let stepped = self.transition.step(e, &state, key.at(k))?;
            if self.wrong != "probe" || k > 0 {
                request.probe.on_step(k, &stepped)?;
            }
            let link = if self.wrong == "link" { Link::Identity } else { stepped.link.narrow(rows)? };
            if request.trail > 0 {
                trail.push(link, if self.wrong == "length" { usize::MAX } else { request.trail });
            }
            (state, info) = (stepped.state, stepped.info);
        }
        for name in self.transition.carried() {
            if let Some(t) = state.aux.get(&name) {
                request.memory.insert(name, t.clone());
            }
        }
        Ok(Drawn::new(state, trail, info))
    }
    fn sensitivity(&self, trail: usize) -> Sensitivity {
        match self.wrong {
            "vouches" => Sensitivity::Exact,
            _ if trail == 0 => Sensitivity::Exact,
            _ => self.transition.sensitivity(),
        }
    }
    fn steps(&self) -> usize {
        self.steps
    }
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        let steps = if self.wrong == "number" { steps.max(2) } else { steps };
        Box::new(Broken { steps, transition: self.transition.clone(), wrong: self.wrong })
    }
    fn name(&self) -> String {
        format!("program with wrong {}", self.wrong)
    }
}

#[test]
fn each_broken_program_is_told_why() {
    let e = toy::mlp(3, 4, 2, 1).unwrap();
    let chains = Chains::range(10, 4);
    let x: Tensor = Key::root(1).normal(&chains, &[3], DType::F64, &Device::Cpu).unwrap();
    let at = Batch::new(x).unwrap().with_chains(chains);
    let check = |wrong| {
        let build = |t: Box<dyn Transition>| -> Result<Box<dyn Sampler>> {
            Ok(Box::new(Broken { steps: 3, transition: t.into(), wrong }))
        };
        check_sampler(&build, &e, &at)
    };
    check("nothing").unwrap();
    for (wrong, word) in [
        ("rows", "a trail of one row"),
        ("chains", "chains changed"),
        ("reference", "reference samples"),
        ("place", "place and length"),
        ("learning", "one was told"),
        ("memory", "are left of what a transition carries"),
        ("probe", "a probe of 3 steps saw"),
        ("probe moves", "only looks changes samples"),
        ("link", "deviates from differences"),
        ("length", "of 3 links"),
        ("vouches", "vouches"),
        ("number", "asked for 1 steps"),
    ] {
        let text = check(wrong).unwrap_err().to_string();
        assert!(text.contains(word), "{wrong}: {text}");
    }
}
