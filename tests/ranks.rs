//! Trainings on several ranks, as far as that needs no MPI: ranks as threads of a process, and what a program says that
//! was launched as several and cannot reach the others. `scripts/check-ranks.sh` has the rest.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{SMALL, Scratch, logged};
use ebm::Source;
use ebm::ranks::Threads;
use ebm::run::TrainOptions;
use ebm_plugins as _;

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
            ebm::run::train(&source(&s), &options).map_err(|e| e.to_string())
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
            ebm::run::train(&source, &options)
        });
        all.into_iter().for_each(|r| assert!(r.is_ok()));
    };
    train(1, &straight, 6);
    train(2, &cut, 2);
    for (size, steps) in [(4, 4), (1, 6)] {
        let changes = ebm::config::Override::parse(&format!("run.steps={steps}")).unwrap();
        let all = Threads::run(size, |ranks| {
            let options = TrainOptions { ranks: Some(ranks), bare: true, ..Default::default() };
            ebm::run::resume(&cut, std::slice::from_ref(&changes), &options)
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
        ebm::run::train(&source(&s), &options).unwrap_err().to_string()
    });
    assert!(all[0].starts_with("out ") && all[1] == format!("rank 0 failed: {}", all[0]), "{all:?}");
}

/// Starts `size` processes as torchrun does, with nothing but their variables.
fn launched(s: &Scratch, size: usize, arguments: impl Fn(usize) -> Vec<&'static str>) -> Vec<Child> {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let start = |rank: usize| {
        let mut command = s.command(&arguments(rank));
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", size.to_string());
        command.env("LOCAL_RANK", rank.to_string()).env("EBM_THREADS", "1");
        command.env("MASTER_ADDR", "127.0.0.1").env("EBM_PORT", port.to_string());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    (0..size).map(start).collect()
}

/// Exit codes and what was said, by rank.
fn ended(all: Vec<Child>) -> Vec<(Option<i32>, String)> {
    let end = |child: Child| {
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    all.into_iter().map(end).collect()
}

const TRAIN: [&str; 4] = ["train", "run.toml", "--set", "run.shards=2"];

#[test]
fn processes_over_tcp_write_what_a_run_alone_writes() {
    let s = Scratch::with(SMALL);
    let to = |out: &'static str| [&TRAIN[..], &["--out", out]].concat();
    s.run(&to("alone")).ok();
    let both = ended(launched(&s, 2, |_| to("both")));
    assert!(both.iter().all(|(code, _)| *code == Some(0)), "{both:?}");
    assert!(checkpoint(&s.path("alone")) == checkpoint(&s.path("both")));
}

#[test]
fn over_tcp_the_error_of_one_rank_ends_all() {
    let s = Scratch::with(SMALL);
    let other = |rank: usize| [&TRAIN[..], &["--set", ["run.seed=0", "run.seed=1"][rank]]].concat();
    let all = ended(launched(&s, 2, other));
    assert!(all.iter().all(|(code, _)| *code == Some(1)), "{all:?}");
    assert!(all.iter().any(|(_, text)| text.contains("rank 1 has other settings")), "{all:?}");
}

#[test]
fn over_tcp_nobody_waits_for_a_rank_that_was_killed() {
    let s = Scratch::with(SMALL);
    let mut all = launched(&s, 2, |_| [&TRAIN[..], &["--steps", "10000000"]].concat());
    while !fs::read(s.path("runs/small-0-1/metrics.jsonl")).is_ok_and(|log| !log.is_empty()) {
        let running = all.iter_mut().all(|c| c.try_wait().unwrap().is_none());
        assert!(running, "{:?}", ended(all));
        std::thread::sleep(Duration::from_millis(20));
    }
    all[1].kill().unwrap();
    let all = ended(all);
    assert!(all[0].0 == Some(1) && all[0].1.contains("rank 1 of 2 is gone"), "{all:?}");
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
        assert!(text.contains(&format!("as rank {rank} of 4, ")), "{text}");
        assert!(text.contains("mpi") && !s.path("runs").exists(), "{text}");
    }
    assert!(of(&["train", "run.toml"], "0", "1").status.success(), "one process is no group");
    // What is no training does not care.
    assert!(of(&["check", "run.toml", "--no-timing"], "0", "4").status.success());
}
