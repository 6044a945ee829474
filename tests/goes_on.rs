//! Every transition, sampler and objective of the catalogue in a run that is cut in the middle and goes on, on another number of threads, and
//! that two ranks share: all of them write the bytes of a straight run.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::kinds::{Checked, base, text};
use crate::placed::{fitting, placed, points, samples};
use crate::support::{Scratch, copy};
use ebm::Source;
use ebm::core::{Family, catalogue};
use ebm::ranks::Threads;
use ebm::run::TrainOptions;
use ebm_plugins as _;
use toml::Table;

/// Runs of kinds in other settings than those of their example, by the sections that they change.
const MORE: [(&str, &str); 8] = [
    (
        "many noise levels",
        "energy = { kind = 'noise-conditioned', energy = { kind = 'mlp', hidden = [4], conditional = true } }\n\
         objective = { kind = 'denoising-score-matching', levels = {} }",
    ),
    (
        "recovery at many levels",
        "energy = { kind = 'noise-conditioned', energy = { kind = 'mlp', hidden = [4], conditional = true } }\n\
         objective = { kind = 'recovery-likelihood', levels = [0.1, 0.3, 0.9] }\n\
         sampler = { kind = 'chain', steps = 2, transition = { kind = 'mala', step_size = 0.01, target_acceptance = 0.6, per_chain = true } }",
    ),
    (
        "energy matching, then chains",
        "objective = { kind = 'sum', terms = [{ objective = { kind = 'energy-matching' } }, { on = 2, objective = { kind = 'contrast' } }] }",
    ),
    (
        "a joint model",
        "data = { kind = 'digits', labels = true }\n\
         energy = { kind = 'conv-net', layers = [{ filters = 2, stride = 2 }], hidden = [4], conditional = true }\n\
         objective = { kind = 'sum', terms = [{ objective = { kind = 'contrast' } }, { objective = { kind = 'label' } }] }",
    ),
    (
        "a ladder that adapts",
        "sampler = { kind = 'replica-exchange', rounds = 3, hottest = 9.0, rungs = 3, adapt_ladder = true, program = { kind = 'chain', steps = 2, transition = { kind = 'mala', step_size = 0.01, target_acceptance = 0.6 } } }",
    ),
    (
        "a learnt metric",
        "sampler = { kind = 'chain', steps = 2, transition = { kind = 'nuts', metric = 'dense', max_depth = 3 } }",
    ),
    (
        "numbers on schedules",
        "schedule = [{ setting = 'sampler.transition.step_size', to = 0.1, end = 4 }, { setting = 'objective.energy_l2', to = 0.5, end = 4, course = 'linear' }]",
    ),
    ("noise contrast with log Z", "objective = { kind = 'noise-contrast', log_z = true, ratio = 2 }"),
];

/// All tensors of the checkpoint of step 4.
fn tensors(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(run.join("checkpoints/step-00000004")).unwrap().map(|e| e.unwrap().path());
    let files = files.filter(|f| f.extension().is_some_and(|e| e == "safetensors"));
    files.map(|f| (f.file_name().unwrap().to_str().unwrap().into(), fs::read(&f).unwrap())).collect()
}

/// Files in which two runs differ.
fn differ(a: &Path, b: &Path) -> Vec<String> {
    let (a, b) = (tensors(a), tensors(b));
    assert!(a.keys().eq(b.keys()), "{:?} {:?}", a.keys(), b.keys());
    a.into_iter().filter(|(name, bytes)| b[name] != *bytes).map(|(name, _)| name).collect()
}

/// Four steps of two shards, with a checkpoint after each two.
fn four_steps(mut config: Table) -> Table {
    let sections = "run = { name = 'r', steps = 4, batch = 8, shards = 2, report_every = 1, guard = false }\n\
                    policy = [{ kind = 'checkpoint', every = 2 }]\n\
                    generate = { steps = 2, count = 4, measured = 0 }";
    config.extend(sections.parse::<Table>().unwrap());
    config
}

fn run(s: &Scratch, threads: &str, arguments: &[&str]) -> Checked {
    let mut command = s.command(arguments);
    command.env("EBM_THREADS", threads).env("RAYON_NUM_THREADS", threads);
    let ran = crate::support::Ran::of(command.output().unwrap());
    if ran.code == Some(0) { Ok(()) } else { Err(ran.err) }
}

/// What is wrong with a run that is cut, and with one on two ranks.
fn whole(s: &Scratch, config: &Table) -> Checked {
    for run in ["straight", "cut", "ranks"] {
        let _ = fs::remove_dir_all(s.path(run));
    }
    fs::write(s.path("run.toml"), toml::to_string(config).map_err(text)?).map_err(text)?;
    run(s, "2", &["train", "run.toml", "--out", "straight"])?;
    copy(&s.path("straight"), &s.path("cut"));
    fs::remove_dir_all(s.path("cut/checkpoints/step-00000004")).map_err(text)?;
    run(s, "1", &["resume", "cut"])?;
    let off = differ(&s.path("straight"), &s.path("cut"));
    if !off.is_empty() {
        return Err(format!("a run that goes on on one thread writes another {off:?}"));
    }
    let all = Threads::run(2, |ranks| {
        let out = Some(s.path("ranks"));
        let options = TrainOptions { out, ranks: Some(ranks), bare: true, ..TrainOptions::default() };
        let source = Source::file(s.path("run.toml")).map_err(text)?;
        ebm::run::train(&source, &options).map(|_| ()).map_err(text)
    });
    all.into_iter().collect::<Checked<Vec<()>>>()?;
    let off = differ(&s.path("straight"), &s.path("ranks"));
    if off.is_empty() { Ok(()) } else { Err(format!("two ranks write another {off:?}")) }
}

#[test]
fn every_kind_goes_on_to_the_same_bytes_on_any_number_of_threads_and_ranks() {
    let s = Scratch::with("");
    samples(&s.path(""));
    points(&s.path(""));
    let kinds = catalogue::components()
        .into_iter()
        .filter(|c| matches!(c.family, Family::Transition | Family::Sampler | Family::Objective))
        .map(|c| (format!("{} {}", c.family.name(), c.kind), fitting(placed(c).0, c.family, &s.path(""))));
    let more = MORE.map(|(name, changes)| {
        let mut config = base();
        config.insert("data".into(), toml::Value::Table("kind = 'npy'\npath = 'g8.npy'".parse().unwrap()));
        let changes: Table = changes.parse().unwrap();
        config.extend(changes);
        (name.to_string(), Some(config))
    });
    let (mut faults, mut tried) = (Vec::new(), 0);
    for (name, config) in kinds.chain(more) {
        let Some(config) = config else {
            faults.push(format!("{name}: fits no data"));
            continue;
        };
        tried += 1;
        if let Err(what) = whole(&s, &four_steps(config)) {
            println!("FAULT {name}: {what}");
            faults.push(format!("{name}: {what}"));
        }
    }
    println!("{tried} runs");
    assert!(faults.is_empty(), "{} of {tried}:\n{}", faults.len(), faults.join("\n"));
}

/// What is compared above tells runs apart at all.
#[test]
fn runs_of_two_seeds_differ() {
    let s = Scratch::with(&toml::to_string(&four_steps(base())).unwrap());
    for seed in ["0", "1"] {
        run(&s, "1", &["train", "run.toml", "--out", seed, "--seed", seed]).unwrap();
    }
    let off = differ(&s.path("0"), &s.path("1"));
    assert!(off.contains(&"state.safetensors".to_string()), "{off:?}");
}
