//! Trainings on several ranks, as far as that needs no MPI: ranks as threads of a process, and what a program says that
//! was launched as several and cannot reach the others. `scripts/check-ranks.sh` has the rest.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ebm::ranks::Threads;
use ebm::{Source, TrainOptions};
use ebm_plugins as _;
use support::{SMALL, Scratch, logged};

/// The files of the last checkpoint but for the manifest, which names folders.
fn checkpoint(run: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let folder = run.join("checkpoints/step-00000006");
    let read = |name| (name, fs::read(folder.join(name)).unwrap());
    ["state.safetensors", "replay.safetensors", "config.toml"].into_iter().map(read).collect()
}

fn source(s: &Scratch) -> Source {
    Source::file(s.path("run.toml")).unwrap().with(["run.shards=4"]).unwrap()
}

#[test]
fn one_rank_writes_what_a_run_alone_writes() {
    let s = Scratch::with(SMALL);
    let mut want = None;
    for size in [1, 2, 4] {
        let runs = s.path(&format!("on-{size}"));
        let all = Threads::run(size, |ranks| {
            let options =
                TrainOptions { runs: Some(runs.clone()), ranks: Some(ranks), ..TrainOptions::default() };
            ebm::train(&source(&s), &options).map_err(|e| e.to_string())
        });
        let run = runs.join("small-0-1");
        for (rank, trained) in all.into_iter().enumerate() {
            let trained = trained.unwrap();
            assert_eq!((trained.directory.as_path(), trained.summary.step), (run.as_path(), 6));
            assert_eq!(trained.samples.is_some(), rank == 0, "the first rank draws");
        }
        assert_eq!(fs::read_dir(&runs).unwrap().count(), 1, "one run directory");
        assert_eq!(logged(&run), [1, 2, 3, 4, 5, 6], "one rank observes");
        let got = checkpoint(&run);
        // Each rank has shards of its own, so sums have one order.
        assert!(*want.get_or_insert_with(|| got.clone()) == got, "{size} ranks write other bytes");
    }
}

#[test]
fn a_run_goes_on_on_other_numbers_of_ranks() {
    let s = Scratch::with(SMALL);
    let (straight, cut) = (s.path("straight"), s.path("cut"));
    let train = |size, out: &Path, steps: u64| {
        let all = Threads::run(size, |ranks| {
            let options =
                TrainOptions { out: Some(out.into()), ranks: Some(ranks), bare: true, ..Default::default() };
            let source = source(&s).with([format!("run.steps={steps}").as_str()])?;
            ebm::train(&source, &options)
        });
        all.into_iter().for_each(|r| assert!(r.is_ok()));
    };
    train(1, &straight, 6);
    train(2, &cut, 2);
    for (size, steps) in [(4, 4), (1, 6)] {
        let changes = ebm::config::Override::parse(&format!("run.steps={steps}")).unwrap();
        let all = Threads::run(size, |ranks| {
            let options = TrainOptions { ranks: Some(ranks), bare: true, ..Default::default() };
            ebm::resume(&cut, std::slice::from_ref(&changes), &options)
        });
        all.into_iter().for_each(|r| assert_eq!(r.unwrap().summary.step, steps));
    }
    let tensors = |run| {
        let mut files = checkpoint(run);
        files.remove("config.toml");
        files
    };
    assert!(tensors(&cut) == tensors(&straight), "2, then 4, then 1 rank are not 1 rank");
}

#[test]
fn the_error_of_the_first_rank_reaches_all() {
    let s = Scratch::with(SMALL);
    let all = Threads::run(2, |ranks| {
        let options = TrainOptions { out: Some(s.path("")), ranks: Some(ranks), ..Default::default() };
        ebm::train(&source(&s), &options).unwrap_err().to_string()
    });
    assert!(all[0].starts_with("--out") && all[1] == format!("rank 0 failed: {}", all[0]), "{all:?}");
}

#[test]
fn without_a_way_to_the_others_a_launched_program_refuses() {
    let s = Scratch::with(SMALL);
    let of = |arguments: &[&str], rank: &str, size: &str| {
        let mut command = s.command(arguments);
        command.env("OMPI_COMM_WORLD_RANK", rank).env("OMPI_COMM_WORLD_SIZE", size);
        command.output().unwrap()
    };
    for rank in ["0", "3"] {
        let ran = of(&["train", "run.toml"], rank, "4");
        let text = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{text}");
        // Which words follow depends on whether this build has the feature.
        assert!(text.contains(&format!("as rank {rank} of 4, but")), "{text}");
        assert!(text.contains("mpi") && !s.path("runs").exists(), "{text}");
    }
    assert!(of(&["train", "run.toml"], "0", "1").status.success(), "one process is no group");
    // What is no training does not care.
    assert!(of(&["check", "run.toml", "--no-timing"], "0", "4").status.success());
}
