//! Every kind of the catalogue in a run that it fits: where it stands there, what stands beside it, and data for it.

#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use ebm::core::candle::Device;
use ebm::core::{Component, Family};
use ebm::train::{Plan, RunConfig};
use toml::{Table, Value};

use crate::kinds::{base, beside_objective, example};

/// Samples that a kind may be made for.
pub const DATA: [&str; 11] = [
    // Without held-out images nothing is measured at the end, which takes longer than the run.
    "kind = 'npy'\npath = 'g8.npy'",
    "kind = 'digits'",
    "kind = 'toy2d'\nname = 'moons'",
    "kind = 'digits'\nlabels = true",
    "kind = 'npy'\npath = 'c16.npy'",
    "kind = 'npy'\npath = 'g28.npy'",
    "kind = 'npy'\npath = 'c32.npy'",
    "kind = 'npy'\npath = 'c64.npy'",
    "kind = 'npy'\npath = 'p10.npy'",
    "kind = 'npy'\npath = 's16.npy'\nvalues = 'spins'",
    "kind = 'npy'\npath = 's16.npy'\nvalues = 'one-hot'",
];

pub fn samples(folder: &Path) {
    for (name, shape) in [
        ("g8", [32, 1, 8, 8]),
        ("c16", [8, 3, 16, 16]),
        ("g28", [8, 1, 28, 28]),
        ("c32", [8, 3, 32, 32]),
        ("c64", [8, 3, 64, 64]),
    ] {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| (i % 97) as f32 / 96.0).collect();
        fs::write(folder.join(format!("{name}.npy")), ebm::data::npy::encode(&values, &shape).unwrap())
            .unwrap();
    }
}

/// Points of ten numbers, and spins.
pub fn points(folder: &Path) {
    for (name, shape, of) in [
        ("p10", [32, 10], (|i| (i % 7) as f32 / 7.0) as fn(usize) -> f32),
        ("s16", [32, 16], |i| if (i * 7 + i / 16) % 3 == 0 { 1.0 } else { -1.0 }),
    ] {
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(of).collect();
        fs::write(folder.join(format!("{name}.npy")), ebm::data::npy::encode(&values, &shape).unwrap())
            .unwrap();
    }
}

/// The way to a setting in a configuration.
pub type Way = Vec<Step>;

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Name(String),
    First,
}

pub fn name(n: &str) -> Step {
    Step::Name(n.into())
}

pub fn set(value: &mut Value, way: &[Step], to: &Value) {
    match (way.split_first(), value) {
        (None, value) => *value = to.clone(),
        (Some((Step::Name(n), rest)), Value::Table(table)) => {
            set(table.entry(n.clone()).or_insert_with(|| Value::Table(Table::new())), rest, to);
        }
        (Some((Step::First, rest)), Value::Array(list)) if !list.is_empty() => set(&mut list[0], rest, to),
        (Some((Step::First, rest)), value) => {
            *value = Value::Array(vec![Value::Table(Table::new())]);
            let Value::Array(list) = value else { return };
            set(&mut list[0], rest, to);
        }
        (Some(_), value) => {
            *value = Value::Table(Table::new());
            set(value, way, to);
        }
    }
}

/// A run with the example of a kind, and the way to it.
pub fn placed(c: &Component) -> (Table, Way) {
    let mut config = base();
    let mut own = example(c).unwrap();
    if c.params.iter().any(|p| p.name == "every") {
        own.insert("every".into(), Value::Integer(1));
    }
    let own = Value::Table(own);
    let section = c.family.name();
    let mut part = |section: &str, text: &str| {
        config.insert(section.into(), Value::Table(text.parse().unwrap()));
    };
    // What moves and energies of discrete samples need beside them.
    const DISCRETE: [&str; 4] = ["ising", "potts", "rbm", "deep-rbm"];
    const ON_SPINS: [&str; 7] = [
        "block-gibbs",
        "gibbs",
        "gibbs-with-gradients",
        "discrete-langevin",
        "swendsen-wang",
        "pseudo-likelihood",
        "ratio-matching",
    ];
    if DISCRETE.contains(&c.kind) || ON_SPINS.contains(&c.kind) {
        part("sampler", "kind = 'chain'\nsteps = 2\ntransition = { kind = 'gibbs' }");
        part("energy", "kind = 'ising'\nlattice = [4, 4]");
    }
    if c.kind == "probability-flow" {
        part(
            "energy",
            "kind = 'noise-conditioned'\nenergy = { kind = 'mlp', hidden = [4], conditional = true }",
        );
    }
    let way = match c.family {
        Family::Transition => {
            let sampler: Table = "kind = 'chain'\nsteps = 2".parse().unwrap();
            config.insert("sampler".into(), Value::Table(sampler));
            vec![name("sampler"), name("transition")]
        }
        Family::Entropy => {
            let objective = "kind = 'contrastive'\nentropy = { weight = 0.3, bank = 16, bank_above = 0 }";
            config.insert("objective".into(), Value::Table(objective.parse().unwrap()));
            vec![name("objective"), name("entropy"), name("estimator")]
        }
        Family::Objective => {
            beside_objective(&mut config, c.kind);
            vec![name(section)]
        }
        Family::Observer | Family::Policy => vec![name(section), Step::First],
        _ => vec![name(section)],
    };
    let mut all = Value::Table(config);
    set(&mut all, &way, &own);
    let Value::Table(config) = all else { unreachable!() };
    (config, way)
}

/// The run with the first data that it can be built with.
pub fn fitting(config: Table, family: Family, folder: &Path) -> Option<Table> {
    let data = if family == Family::Data { &DATA[..1] } else { &DATA[..] };
    data.iter().find_map(|data| {
        let mut config = config.clone();
        if family != Family::Data {
            config.insert("data".into(), Value::Table(data.parse().unwrap()));
        }
        let read = RunConfig::from_toml(&toml::to_string(&config).unwrap()).ok()?;
        Plan::build(&read, folder, &Device::Cpu, None).ok()?;
        Some(config)
    })
}
