//! Absurd values of every setting of every kind in the catalogue: each ends in a refusal, in a sound run, or in a run that says
//! what is wrong, and none in a panic, an abort, a hang or in numbers that are not finite and nobody told of.
//!
//! A share of the cases runs with the tests; `EBM_SWEEP=1` runs all, `EBM_SWEEP=7` every seventh, and `EBM_CROSSINGS=2000` so many
//! pairs of them at once (`scripts/soak.sh`).

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::kinds::{base, files};
use crate::placed::{DATA, Step, Way, fitting, name, placed, points, samples, set};
use crate::support::Scratch;
use ebm::core::{Param, ParamKind, Settings as _, catalogue};
use ebm::train::config::{ChainsSection, GenerateSection, RunSection};
use ebm_plugins as _;
use toml::{Table, Value};

/// Every so manyth case runs with the tests.
const SHARE: usize = 97;
/// So many pairs of them do.
const CROSSINGS: usize = 8;
/// A run that takes longer is asked to stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time that it has then, to hear of it and to save up to a gigabyte.
const GRACE: Duration = Duration::from_secs(20);
/// Address space of a run, in kilobytes: more than any sound one here takes.
const MEMORY: u64 = 6 << 20;

fn shown(way: &[Step]) -> String {
    let step = |s: &Step| match s {
        Step::Name(n) => format!(".{n}"),
        Step::First => "[0]".into(),
    };
    way.iter().map(step).collect::<String>()[1..].to_string()
}

/// Absurd values, and the ends of what a number can be.
fn absurd(kind: ParamKind) -> Vec<Value> {
    let ints = [0, -1, 1, 1000, (1 << 31) - 1, 1 << 31, 1_000_000_000_000, i64::MAX, i64::MIN];
    let floats = [0.0, -1.0, 1e-300, 1e6, 9e18, 1e308, -1e308, f64::NAN, f64::INFINITY, -f64::INFINITY];
    let int = |v: i64| Value::Integer(v);
    let text = |t: &str| Value::String(t.into());
    match kind {
        ParamKind::Bool => vec![Value::Boolean(true), Value::Boolean(false), int(1)],
        ParamKind::Int => ints.map(int).into_iter().chain([Value::Float(1.5), text("many")]).collect(),
        ParamKind::Float => floats.map(Value::Float).into_iter().chain([text("much")]).collect(),
        ParamKind::Text => vec![text(""), text("\0"), text("../x"), text(&"x".repeat(5000)), int(1)],
        ParamKind::Choice(_) => vec![text(""), text("nothing of the kind"), int(0)],
        ParamKind::Ints => {
            let of = |v: i64| Value::Array(vec![int(v); 2]);
            let long = Value::Array(vec![int(2); 5000]);
            ints.map(of).into_iter().chain([Value::Array(vec![]), long, text("x")]).collect()
        }
        ParamKind::Floats => {
            let of = |v: f64| Value::Array(vec![Value::Float(v); 2]);
            let long = Value::Array(vec![Value::Float(0.5); 5000]);
            floats.map(of).into_iter().chain([Value::Array(vec![]), long]).collect()
        }
        ParamKind::Texts => vec![Value::Array(vec![]), Value::Array(vec![text(""); 2]), int(1)],
        ParamKind::Given => {
            vec![int(-1), text(""), Value::Array(vec![Value::Float(f64::NAN)]), int(i64::MAX)]
        }
        ParamKind::Part(_) | ParamKind::Parts(_) | ParamKind::Table(_) | ParamKind::Tables(_) => {
            let none: Table = "kind = 'nothing of the kind'".parse().unwrap();
            vec![int(1), Value::Table(Table::new()), Value::Table(none), Value::Array(vec![])]
        }
    }
}

/// Every setting with every absurd value.
fn cases(params: &[Param], way: &Way, out: &mut Vec<(Way, Value)>) {
    for p in params {
        let here = [&way[..], &[name(p.name)]].concat();
        out.extend(absurd(p.kind).into_iter().map(|v| (here.clone(), v)));
        match p.kind {
            ParamKind::Table(inner) => cases(inner, &here, out),
            ParamKind::Tables(inner) => cases(inner, &[&here[..], &[Step::First]].concat(), out),
            _ => {}
        }
    }
}

/// How a run ended, in a word or two, and whether that is how one may end.
fn ended(s: &Scratch, config: &Value) -> (String, bool) {
    let _ = fs::remove_dir_all(s.path("r"));
    fs::write(s.path("run.toml"), toml::to_string(config).unwrap()).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" train run.toml --out r")])
        .arg(env!("CARGO_BIN_EXE_ebm-under-test"))
        .current_dir(s.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(s.path("said")).unwrap())
        .spawn()
        .unwrap();
    let wait = |child: &mut std::process::Child, time: Duration| {
        let began = Instant::now();
        while began.elapsed() < time {
            if let Some(status) = child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    };
    let mut long = "";
    let status = wait(&mut child, PATIENCE).or_else(|| {
        long = "long, ";
        let asked = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(asked.success());
        wait(&mut child, GRACE)
    });
    let Some(status) = status else {
        child.kill().unwrap();
        child.wait().unwrap();
        return ("does not end when told to".into(), false);
    };
    let said = String::from_utf8_lossy(&fs::read(s.path("said")).unwrap()).into_owned();
    let last = said.lines().next_back().unwrap_or_default();
    match (status.code(), status.signal()) {
        _ if said.contains("panicked") || said.contains("a fault of this program") => {
            (format!("panic: {last}"), false)
        }
        (_, Some(signal)) if long.is_empty() => (format!("signal {signal}: {last}"), false),
        (_, Some(_)) => (format!("{long}killed before it could hear"), true),
        (Some(0), _) => sound(s),
        (Some(4), _) => ("diverged".into(), true),
        (Some(130), _) => (format!("{long}stopped"), true),
        (Some(code), _) if s.path("r").exists() => (format!("exit {code} leaves a directory: {last}"), false),
        (Some(1..=3 | 5), _) if last.starts_with("error: ") || said.contains("error: ") => {
            ("refused".into(), true)
        }
        (code, _) => (format!("exit {code:?}: {last}"), false),
    }
}

/// Whether a run that ended well has finite numbers, or told that it has not.
fn sound(s: &Scratch) -> (String, bool) {
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(s.path("r/summary.json")).unwrap()).unwrap();
    let bad = summary["last"]["values"].as_object().unwrap().iter().find(|(_, v)| v.is_null());
    if let Some((name, _)) = bad {
        return (format!("ends well with {name} not finite"), false);
    }
    let newest = fs::read_dir(s.path("r/checkpoints")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    for file in ["state.safetensors", "optimiser.safetensors"] {
        let bytes = fs::read(newest.join(file)).unwrap();
        for (name, t) in safetensors::SafeTensors::deserialize(&bytes).unwrap().iter() {
            let floats = t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            if t.dtype() == safetensors::Dtype::F32 && floats.into_iter().any(|v| !v.is_finite()) {
                return (format!("ends well with {name} not finite"), false);
            }
        }
    }
    ("runs".into(), true)
}

#[test]
fn no_value_of_any_setting_brings_the_program_down() {
    let every = std::env::var("EBM_SWEEP").ok().and_then(|n| n.parse().ok()).unwrap_or(SHARE);
    let s = Scratch::with("");
    files(&s.path(""));
    samples(&s.path(""));
    points(&s.path(""));
    let only = std::env::var("EBM_SWEEP_KIND").unwrap_or_default();
    let mut all: Vec<(Table, Way, Value)> = Vec::new();
    let mut unfit = Vec::new();
    for c in catalogue::components() {
        let (config, way) = placed(c);
        match fitting(config, c.family, &s.path("")) {
            None => unfit.push(format!("{}/{}", c.family.name(), c.kind)),
            Some(config) => {
                let mut own = Vec::new();
                cases(c.params, &way, &mut own);
                own.retain(|_| only.is_empty() || only == c.kind);
                all.extend(own.into_iter().map(|(way, v)| (config.clone(), way, v)));
            }
        }
    }
    for (section, params) in [
        ("run", RunSection::PARAMS),
        ("chains", ChainsSection::PARAMS),
        ("generate", GenerateSection::PARAMS),
    ] {
        let mut own = Vec::new();
        cases(params, &vec![name(section)], &mut own);
        own.retain(|_| only.is_empty() || only == section);
        let mut plain = base();
        plain.insert("data".into(), Value::Table(DATA[0].parse().unwrap()));
        all.extend(own.into_iter().map(|(way, v)| (plain.clone(), way, v)));
    }
    assert!(unfit.len() < 5, "kinds whose example is part of no run here: {unfit:?}");
    let of_sections = all.iter().rev().take_while(|c| c.0 == all[all.len() - 1].0).count();
    let tried: Vec<Tried> = all
        .iter()
        .step_by(every)
        .map(|(config, way, v)| (config, vec![(way, v)]))
        .chain(crossings(&all, of_sections))
        .collect();
    let (mut counts, mut faults) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (config, settings) in &tried {
        let mut config = Value::Table((*config).clone());
        settings.iter().for_each(|(way, value)| set(&mut config, way, value));
        let kind = config.get("energy").and_then(|e| e.get("kind")).map(ToString::to_string);
        let (how, fine) = ended(&s, &config);
        if fine {
            *counts.entry(how).or_default() += 1;
        } else {
            let all = settings.iter().map(|(way, v)| format!("{} = {:.60}", shown(way), v.to_string()));
            let all = all.collect::<Vec<_>>().join(", ");
            let shown = format!("{all} ({}): {how}", kind.unwrap_or_default());
            println!("FAULT {shown}");
            faults.push(shown);
        }
    }
    println!(
        "settings: {} of {} cases and {} pairs, {counts:?}, {} faults; no run for {unfit:?}",
        all.len().div_ceil(every),
        all.len(),
        tried.len() - all.len().div_ceil(every),
        faults.len()
    );
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// A run and what is changed in it.
type Tried<'a> = (&'a Table, Vec<(&'a Way, &'a Value)>);

/// Pairs of settings: of one kind, or of one and a section; the last `of_sections` cases are those of sections.
fn crossings(all: &[(Table, Way, Value)], of_sections: usize) -> Vec<Tried<'_>> {
    let count = std::env::var("EBM_CROSSINGS").ok().and_then(|n| n.parse().ok()).unwrap_or(CROSSINGS);
    let draws =
        ebm::core::Key::root(std::env::var("EBM_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0));
    let mut next = 0;
    let mut below = |n: usize| {
        next += 1;
        draws.below(next, n)
    };
    let mut pairs = Vec::new();
    while pairs.len() < count {
        let at = below(all.len());
        let (config, way, value) = &all[at];
        // Cases of a kind stand together.
        let near: Vec<_> = all[at.saturating_sub(60)..].iter().take(120).filter(|c| c.0 == *config).collect();
        let other = match below(2) {
            0 => near[below(near.len())],
            _ => &all[all.len() - 1 - below(of_sections)],
        };
        if other.1 != *way {
            pairs.push((config, vec![(way, value), (&other.1, &other.2)]));
        }
    }
    pairs
}
