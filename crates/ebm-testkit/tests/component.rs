//! A component that keeps every law, and what the check says of each broken one.
#![allow(clippy::unwrap_used)]

use ebm_core::catalogue::{Component, Family, find};
use ebm_core::{
    BuildCx, ChainState, EnergyFn, Error, Key, Link, Param, ParamKind, Result, Sensitivity, Settings,
    Stepped, Transition, TransitionConfig, plugin, typetag,
};
use ebm_testkit::{check_component, check_components};

/// Adds a constant.
#[derive(Clone, Debug, Settings)]
struct Shift {
    /// What is added.
    by: f64,
    /// How often.
    #[setting(default = 3, at_least = 1)]
    times: usize,
    /// Largest sum.
    limit: Option<f64>,
    /// Smallest and largest, in rising order.
    ends: Option<[f64; 2]>,
    /// More of it.
    inner: Option<Inner>,
}

/// A table.
#[derive(Clone, Debug, Settings)]
struct Inner {
    /// Size of it.
    #[setting(at_least = 1, at_most = 7)]
    size: usize,
}

struct Live(f64);

impl Transition for Live {
    fn step(&self, _: &dyn EnergyFn, state: &ChainState, _: Key) -> Result<Stepped> {
        Ok(Stepped::new(state.advance(state.at.x.affine(1.0, self.0)?), Link::Identity))
    }
    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }
    fn name(&self) -> String {
        "shift".into()
    }
}

#[plugin("shift", source = "this test", example = "by = 1.0")]
impl TransitionConfig for Shift {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        if self.ends.is_some_and(|[low, high]| low > high) {
            return Err(cx.refuse("ends", "falls, must rise"));
        }
        Ok(Box::new(Live(self.by * self.times as f64)))
    }
}

/// Settings of the table `inner` with an end that nobody checks.
const BELOW: &[Param] = &[Param { high: Some((5.0, false)), ..Inner::PARAMS[0] }];

/// Refuses by its kind in place of its path.
#[derive(Clone, Debug, Settings)]
struct Stray {
    /// What is added.
    by: f64,
}

#[typetag::serde(name = "stray")]
impl TransitionConfig for Stray {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        match self.by < 0.0 {
            true => Err(Error::config("stray.by", "is negative")),
            false => Ok(Box::new(Live(self.by))),
        }
    }
}

#[test]
fn a_good_one_passes() {
    check_components(env!("CARGO_PKG_NAME")).unwrap();
    let text = check_components("no-such-crate").unwrap_err().to_string();
    assert!(text.contains("no_such_crate as _"), "{text}");
}

#[test]
fn each_broken_one_is_told_why() {
    let good = *find(Family::Transition, "shift").unwrap();
    let says = |c: Component, words: &[&str]| {
        let text = check_component(&c).unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{words:?}: {text}");
    };
    let without = |name: &str| {
        let rest: Vec<Param> = Shift::PARAMS.iter().filter(|p| p.name != name).copied().collect();
        Component { params: rest.leak(), ..good }
    };
    let with = |name: &str, change: fn(&mut Param)| {
        let mut params = Shift::PARAMS.to_vec();
        params.iter_mut().filter(|p| p.name == name).for_each(change);
        Component { params: params.leak(), ..good }
    };
    says(without("limit"), &["limit"]);
    says(with("limit", |p| p.name = "more"), &["more"]);
    says(with("times", |p| p.default = Some("2")), &["default of `times`"]);
    says(with("times", |p| p.default = None), &["example lacks `times`"]);
    says(with("by", |p| p.default = Some("1.0")), &["`by` cannot be left out"]);
    says(with("limit", |p| p.kind = ParamKind::Text), &["a value for `limit`"]);
    says(with("limit", |p| p.doc = ""), &["`limit` is not explained"]);
    says(with("by", |p| p.low = Some((0.0, false))), &["`by` is out of range, but is taken"]);
    says(
        with("inner", |p| p.kind = ParamKind::Table(BELOW)),
        &["`inner.size` is out of range, but is taken"],
    );
    says(Component { kind: "stray", params: Stray::PARAMS, ..good }, &["`by`", "`stray.by`", "cx.refuse"]);
    says(Component { example: "by = ", ..good }, &["not TOML"]);
    says(Component { example: "by = \"far\"", ..good }, &["does not parse"]);
    says(Component { summary: "", ..good }, &["summary"]);
}
