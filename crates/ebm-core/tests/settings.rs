//! What a struct that derives `Settings` does: defaults, ranges, words, serde, the catalogue's table.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ebm_core::candle::{DType, Device};
use ebm_core::catalogue::{Family, find};
use ebm_core::settings::{Check, Choice};
use ebm_core::{
    BuildCx, Key, Param, ParamKind, Policy, PolicyConfig, Report, Result, Settings, TransitionConfig, plugin,
};
use serde_json::{Value, json};

/// Which of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Settings)]
enum Which {
    /// This.
    #[default]
    FirstOne,
    /// That.
    Tf32,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Settings)]
struct Layer {
    /// Its width.
    #[setting(at_least = 1)]
    width: usize,
    /// Its factor.
    #[setting(default = 1.0, above = 0.0, at_most = 2.0)]
    factor: f64,
}

/// What several kinds share.
#[derive(Clone, Debug, PartialEq, Settings)]
struct Common {
    /// Rate of it.
    #[setting(default = 1e-3, above = 0.0, unit = "1/update")]
    rate: f64,
    /// Largest of it.
    #[setting(above = 0.0)]
    limit: Option<f64>,
}

/// All kinds of settings at once.
///
/// More is said here that no list shows.
#[derive(Debug, Settings)]
struct All {
    /// A number below one.
    #[setting(default = 0.5, at_least = 0.0, below = 1.0)]
    share: f64,
    /// Whether.
    #[setting(default)]
    flag: bool,
    /// A name.
    #[setting(default = "run")]
    name: String,
    /// A folder.
    #[setting(default = "data/here")]
    folder: PathBuf,
    /// Two numbers.
    #[setting(default = [0.0, 0.9], below = 1.0)]
    pair: [f64; 2],
    #[setting(flatten, default)]
    common: Common,
    /// Which one.
    #[setting(default = Which::FirstOne)]
    which: Which,
    /// One of some words.
    #[setting(default = "moons", words = &["moons", "rings"])]
    density: String,
    /// Layers in their order.
    #[setting(default = [Layer { width: 3, factor: 1.0 }])]
    layers: Vec<Layer>,
    /// One more.
    last: Option<Layer>,
    /// What is done first.
    first: Option<Box<dyn TransitionConfig>>,
    /// What is done then.
    #[setting(default)]
    then: Vec<Box<dyn TransitionConfig>>,
    /// The type of it.
    #[setting(name = "type", default = 7)]
    kind_of_it: u64,
}

fn read(value: Value) -> Result<All, String> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}

fn misfit(value: Value) -> String {
    read(value).unwrap().check().unwrap_err().under("sampler").to_string()
}

#[test]
fn what_is_not_given_has_its_default_wherever_it_is_made() {
    let (given, made) = (read(json!({})).unwrap(), All::default());
    for all in [&given, &made] {
        assert_eq!((all.share, all.flag, all.name.as_str()), (0.5, false, "run"));
        assert_eq!((all.folder.to_str(), all.pair), (Some("data/here"), [0.0, 0.9]));
        assert_eq!(all.common, Common { rate: 1e-3, limit: None });
        assert_eq!((all.which, all.density.as_str()), (Which::FirstOne, "moons"));
        assert_eq!(all.layers, [Layer { width: 3, factor: 1.0 }]);
        assert!(all.last.is_none() && all.first.is_none() && all.then.is_empty());
        assert_eq!(all.kind_of_it, 7);
        all.check().unwrap();
    }
    assert_eq!(read(json!({ "last": {} })).unwrap_err(), "missing field `width`");
}

#[test]
fn what_is_written_reads_back() {
    let given = json!({
        "share": 0.25, "flag": true, "name": "a", "folder": "b", "pair": [0.1, 0.2], "rate": 0.5, "limit": 2.0,
        "which": "tf32", "density": "rings", "layers": [{ "width": 9, "factor": 0.5 }],
        "last": { "width": 1, "factor": 2.0 }, "then": [], "type": 8,
    });
    assert_eq!(serde_json::to_value(read(given.clone()).unwrap()).unwrap(), given);
    // An absent setting is not written: TOML has no word for it.
    let text = toml::to_string(&All::default()).unwrap();
    assert!(!text.contains("limit") && !text.contains("last"), "{text}");
    assert_eq!(toml::to_string(&toml::from_str::<All>(&text).unwrap()).unwrap(), text);
}

#[test]
fn unknown_doubled_and_foreign_settings_are_refused() {
    let text = read(json!({ "shares": 1 })).unwrap_err();
    assert!(text.starts_with("unknown setting `shares`, expected one of `share`, `flag`"), "{text}");
    assert!(text.contains("`rate`, `limit`, `which`"), "flattened ones are known: {text}");
    let twice = serde_json::from_str::<Layer>(r#"{ "width": 1, "width": 2 }"#).unwrap_err().to_string();
    assert!(twice.contains("duplicate field `width`"), "{twice}");
    let text = read(json!({ "which": "second" })).unwrap_err();
    assert!(text.contains("unknown variant `second`, expected `first-one` or `tf32`"), "{text}");
    assert!(read(json!({ "pair": [1.0] })).unwrap_err().contains("array of length 2"));
    assert!(read(json!([0.5])).unwrap_err().contains("a table of settings"));
}

#[test]
fn a_range_has_open_and_closed_ends() {
    for share in [0.0, 0.5, 0.999] {
        read(json!({ "share": share })).unwrap().check().unwrap();
    }
    assert_eq!(misfit(json!({ "share": 1.0 })), "sampler.share: is 1, must be ≥ 0 and < 1");
    assert_eq!(misfit(json!({ "share": -0.5 })), "sampler.share: is -0.5, must be ≥ 0 and < 1");
    assert_eq!(misfit(json!({ "rate": 0.0 })), "sampler.rate: is 0, must be > 0");
    assert_eq!(misfit(json!({ "limit": -1.0 })), "sampler.limit: is -1, must be > 0");
    read(json!({ "last": { "width": 1, "factor": 2.0 } })).unwrap().check().unwrap();
    // What is not a number fits no range, and none without ends either.
    let all = All { share: f64::NAN, ..All::default() };
    assert_eq!(all.check().unwrap_err().under("").to_string(), "share: is NaN, must be ≥ 0 and < 1");
}

#[test]
fn a_misfit_names_its_place_in_lists_and_tables() {
    assert_eq!(misfit(json!({ "pair": [0.0, 1.0] })), "sampler.pair[1]: is 1, must be < 1");
    let layers = json!({ "layers": [{ "width": 1 }, { "width": 1, "factor": 3.0 }] });
    assert_eq!(misfit(layers), "sampler.layers[1].factor: is 3, must be > 0 and ≤ 2");
    assert_eq!(misfit(json!({ "last": { "width": 0 } })), "sampler.last.width: is 0, must be ≥ 1");
    let text = misfit(json!({ "density": "moon" }));
    assert_eq!(text, "sampler.density: is \"moon\", must be one of \"moons\", \"rings\"");
}

#[test]
fn the_table_is_that_of_the_fields() {
    let named = |name: &str| *All::PARAMS.iter().find(|p| p.name == name).unwrap();
    assert_eq!(All::SUMMARY, "All kinds of settings at once");
    let names: Vec<&str> = All::PARAMS.iter().map(|p| p.name).collect();
    assert_eq!(names[4..8], ["pair", "rate", "limit", "which"]);
    let share = Param {
        name: "share",
        kind: ParamKind::Float,
        doc: "A number below one",
        default: Some("0.5"),
        low: Some((0.0, false)),
        high: Some((1.0, true)),
        unit: None,
    };
    assert_eq!(named("share"), share);
    // A type without negative numbers says so by itself.
    assert_eq!(named("type").low, Some((0.0, false)));
    assert_eq!((named("rate").unit, named("rate").default), (Some("1/update"), Some("1e-3")));
    assert_eq!((named("limit").kind, named("limit").default), (ParamKind::Float, Some("none")));
    assert_eq!((named("pair").kind, named("pair").default), (ParamKind::Floats, Some("[0.0, 0.9]")));
    assert_eq!((named("flag").default, named("folder").default), (Some("false"), Some("\"data/here\"")));
    assert_eq!(named("which").kind, ParamKind::Choice(&["first-one", "tf32"]));
    assert_eq!((named("which").default, Which::Tf32.word()), (Some("\"first-one\""), "tf32"));
    assert_eq!(named("density").kind, ParamKind::Choice(&["moons", "rings"]));
    assert_eq!(named("layers").kind, ParamKind::Tables(Layer::PARAMS));
    assert_eq!(named("layers").default, Some("[{ width = 3, factor = 1.0 }]"));
    assert_eq!(named("last").kind, ParamKind::Table(Layer::PARAMS));
    assert_eq!(named("first").kind, ParamKind::Part(Family::Transition));
    assert_eq!(
        (named("then").kind, named("then").default),
        (ParamKind::Parts(Family::Transition), Some("[]"))
    );
    assert_eq!(named("type").default, Some("7"));
    assert_eq!(Layer::PARAMS[0].default, None);
}

/// A policy that decides nothing.
#[derive(Clone, Debug, Settings)]
struct Idle {
    /// Steps between decisions.
    #[setting(at_least = 1)]
    every: u64,
    /// What it refuses by itself.
    #[setting(default)]
    odd: bool,
}

impl Policy for Idle {
    fn decide(&self, _: &mut Value, _: &Report) -> Result<Vec<ebm_core::Action>> {
        Ok(Vec::new())
    }
    fn name(&self) -> String {
        "idle".into()
    }
}

#[plugin("idle", source = "this test", example = "every = 2")]
impl PolicyConfig for Idle {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Policy>> {
        if self.odd {
            return Err(cx.refuse("odd", "is true, must be false"));
        }
        Ok(Box::new(self.clone()))
    }
}

#[test]
fn a_kind_is_checked_whoever_builds_it_and_found_by_its_name() {
    let found = find(Family::Policy, "idle").unwrap();
    assert_eq!((found.summary, found.origin), ("A policy that decides nothing", "ebm-core"));
    let config: Vec<Box<dyn PolicyConfig>> = serde_json::from_value(json!([
        { "kind": "idle", "every": 1 }, { "kind": "idle", "every": 0 }, { "kind": "idle", "every": 1, "odd": true },
    ]))
    .unwrap();
    let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_path("");
    let text = cx.each("policy", &config, |p, cx| p.build(cx)).err().unwrap().to_string();
    assert_eq!(text, "policy[1].every: is 0, must be ≥ 1");
    let text = config[2].build_at("run", &mut cx.with_path("a")).err().unwrap().to_string();
    assert_eq!(text, "a.run.odd: is true, must be false");
}
