//! A component that keeps every law, and what the check says of each broken one.
#![allow(clippy::unwrap_used)]

use ebm_core::catalogue::{Component, Family, find};
use ebm_core::{
    BuildCx, ChainState, EnergyFn, Key, Link, Param, Result, Sensitivity, Stepped, Transition,
    TransitionConfig, register,
};
use ebm_testkit::{check_component, check_components};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shift {
    by: f64,
    #[serde(default = "three")]
    times: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
}

fn three() -> usize {
    3
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

#[typetag::serde(name = "shift")]
impl TransitionConfig for Shift {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(Live(self.by * self.times as f64)))
    }
}

register! {
    TransitionConfig, "shift" => Shift,
    summary: "adds a constant",
    source: "this test",
    example: "by = 1.0",
    params: [
        Param::float("by", "what is added"),
        Param::int("times", "how often").at_least(1.0).default("3"),
        Param::float("limit", "largest sum").default("none"),
    ],
}

const BY: Param = Param::float("by", "what is added");
const TIMES: Param = Param::int("times", "how often").default("3");
const LIMIT: Param = Param::float("limit", "largest sum").default("none");

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
    let with = |params: &'static [Param]| Component { params, ..good };
    says(with(const { &[BY, TIMES] }), &["limit"]);
    says(with(const { &[BY, TIMES, LIMIT, Param::int("more", "unknown").default("1")] }), &["more"]);
    says(
        with(const { &[BY, Param::int("times", "how often").default("2"), LIMIT] }),
        &["default of `times`"],
    );
    says(with(const { &[BY, Param::int("times", "how often"), LIMIT] }), &["example lacks `times`"]);
    says(
        with(const { &[Param::float("by", "what").default("1.0"), TIMES, LIMIT] }),
        &["`by` cannot be left out"],
    );
    says(with(const { &[BY, TIMES, Param::text("limit", "sum").default("none")] }), &["a value for `limit`"]);
    says(
        with(const { &[BY, TIMES, Param::float("limit", "").default("none")] }),
        &["`limit` is not explained"],
    );
    says(Component { example: "by = ", ..good }, &["not TOML"]);
    says(Component { example: "by = \"far\"", ..good }, &["does not parse"]);
    says(Component { summary: "", ..good }, &["summary"]);
}
