//! A transition of a test inside a program that is built from its settings.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ebm_core::candle::{DType, Device};
use ebm_core::catalogue::{Component, Family, Param, ParamKind, find};
use ebm_core::{
    Batch, BuildCx, Chains, Error, Key, Result, Sampler, SamplerConfig, Settings, Transition,
    TransitionConfig, typetag,
};
use toml::{Table, Value};

use crate::sampler::check_reached;
use crate::{Failure, Verdict, toy};

/// The name under which settings have it. It stands in no catalogue: only tests know it.
const KIND: &str = "ebm-testkit-planted";

/// Transitions that wait for a program to take them, by number.
static WAITING: Mutex<BTreeMap<u64, Box<dyn Transition>>> = Mutex::new(BTreeMap::new());

/// Settings of the transition that waits under a number.
#[derive(Debug, Settings)]
struct Planted {
    /// The number.
    number: u64,
}

#[typetag::serde(name = "ebm-testkit-planted")]
impl TransitionConfig for Planted {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .remove(&self.number)
            .ok_or_else(|| Error::config(cx.path(), "is built twice; a program builds a part once"))
    }
}

/// Checks the program of settings `table` around a transition that keeps count, in each place that takes one.
pub(crate) fn spied(c: &Component, table: &Table, shape: &[usize], context: &dyn Fn() -> BuildCx) -> Verdict {
    let e = toy::mlp_on(shape, 4, 2, 1)?;
    let chains = Chains::range(7, 4);
    let x = Key::root(1).normal(&chains, shape, DType::F64, &Device::Cpu)?;
    let at = Batch::new(x)?.with_chains(chains);
    for (place, around) in places(c.params, table) {
        let build = |most: usize, t: Box<dyn Transition>| -> Result<Box<dyn Sampler>> {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            WAITING.lock().unwrap_or_else(PoisonError::into_inner).insert(number, t);
            let mut own: Table = Table::new();
            own.insert("kind".into(), Value::String(KIND.into()));
            own.insert("number".into(), Value::Integer(number as i64));
            let whole = around(Value::Table(own));
            let config: Box<dyn SamplerConfig> = Value::Table(whole)
                .try_into()
                .map_err(|e: toml::de::Error| Error::config(&place, e.to_string()))?;
            let program = config.build(&mut context())?;
            Ok(program.with_steps(program.steps().min(most)))
        };
        // Some steps show what many do, as long as the transition is among them; one that only long programs reach is left out.
        for most in [8, 32] {
            let reached = check_reached(&|t| build(most, t), &e, &at)
                .map_err(|f| Failure::new(format!("with a counting transition in `{place}`: {f}")))?;
            if reached {
                break;
            }
        }
    }
    Ok(())
}

type Around = Box<dyn Fn(Value) -> Table>;

/// Where settings take a transition: the path, and the whole with another one there.
fn places(params: &[Param], table: &Table) -> Vec<(String, Around)> {
    let mut all: Vec<(String, Around)> = Vec::new();
    for p in params {
        let Some(given) = table.get(p.name).cloned() else { continue };
        let (whole, name) = (table.clone(), p.name);
        let with = move |v: Value| {
            let mut whole = whole.clone();
            whole.insert(name.into(), v);
            whole
        };
        match (p.kind, given) {
            (ParamKind::Part(Family::Transition), _) => all.push((name.into(), Box::new(with))),
            (ParamKind::Parts(Family::Transition), Value::Array(list)) => {
                for i in 0..list.len() {
                    let (list, with) = (list.clone(), with.clone());
                    let at = move |v: Value| {
                        let mut list = list.clone();
                        list[i] = v;
                        with(Value::Array(list))
                    };
                    all.push((format!("{name}[{i}]"), Box::new(at)));
                }
            }
            (ParamKind::Part(Family::Sampler), Value::Table(inner)) => {
                let kind = inner.get("kind").and_then(Value::as_str).unwrap_or_default();
                let Some(c) = find(Family::Sampler, kind) else { continue };
                for (path, around) in places(c.params, &inner) {
                    let with = with.clone();
                    all.push((format!("{name}.{path}"), Box::new(move |v| with(Value::Table(around(v))))));
                }
            }
            _ => {}
        }
    }
    all
}
