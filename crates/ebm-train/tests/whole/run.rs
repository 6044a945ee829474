//! The loop: observers, policies, stops, divergence, and exact continuation through it.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::common::{bits, plan};
use ebm_core::Stop;
use ebm_train::run::{self, Options, Outcome, observers, resume};
use ebm_train::{Plan, TrainState, checkpoint};

const OBSERVED: [(&str, &str); 2] =
    [("observer", ""), ("[observer]", "kind = \"test-observer\"\nsamples_every = 10")];

fn go(plan: &Plan, state: &mut TrainState, dir: &std::path::Path, until: Option<u64>) -> run::Summary {
    let observers = observers(plan, dir).unwrap();
    run::run(plan, state, Options { directory: Some(dir), until, observers, ..Options::default() }).unwrap()
}

#[test]
fn a_run_writes_its_directory_and_tells_its_observers() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[OBSERVED[1], ("[policy]", "kind = \"checkpoint\"\nevery = 15\nkeep = 2")]);
    let mut state = TrainState::new(&plan).unwrap();
    let summary = go(&plan, &mut state, dir.path(), None);
    assert_eq!((summary.outcome, summary.step, summary.skipped), (Outcome::Done, 40, 0));
    let kept: Vec<u64> = checkpoint::list(&run::checkpoints_of(dir.path())).iter().map(|c| c.0).collect();
    assert_eq!(kept, [30, 40], "the newest two of 15, 30 and the last");
    let seen = fs::read_to_string(dir.path().join("seen.txt")).unwrap();
    assert!(seen.starts_with("start 0\nstep 1\n"), "{seen}");
    assert!(seen.contains("step 15\ncheckpoint 15\nstep 16"), "{seen}");
    assert!(seen.ends_with("step 40\ncheckpoint 40\nfinish done\n"), "{seen}");
    assert_eq!(fs::read_to_string(dir.path().join("config.toml")).unwrap(), plan.text());
    let summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("summary.json")).unwrap()).unwrap();
    assert_eq!((&summary["outcome"], &summary["step"]), (&"done".into(), &40.into()));
    let versions = fs::read_to_string(dir.path().join("versions.json")).unwrap();
    assert!(versions.contains("ebm-optimisers"), "{versions}");
}

#[test]
fn an_interrupted_run_continues_exactly() {
    let parts = [
        ("[policy]", "kind = \"checkpoint\"\nevery = 10"),
        ("objective", "kind = \"test-cd\"\nenergy_l2 = 0.1\ntrail = 1"),
    ];
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = plan(&parts);
    let mut s = TrainState::new(&a).unwrap();
    go(&a, &mut s, whole.path(), None);

    let b = plan(&parts);
    let mut t = TrainState::new(&b).unwrap();
    let first = go(&b, &mut t, cut.path(), Some(17));
    assert_eq!((first.outcome, first.step), (Outcome::Interrupted, 17));
    let c = plan(&parts);
    let (mut u, damaged) = resume(&c, cut.path()).unwrap();
    assert!(damaged.is_empty() && u.step == 17);
    let last = go(&c, &mut u, cut.path(), None);
    assert_eq!((last.outcome, last.steps_now), (Outcome::Done, 23));
    assert_eq!(bits(&s), bits(&u));
}

#[test]
fn the_stop_flag_saves_and_returns() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[]);
    let mut state = TrainState::new(&plan).unwrap();
    let stop = Stop::default();
    stop.set();
    let options = Options { directory: Some(dir.path()), stop, ..Options::default() };
    let summary = run::run(&plan, &mut state, options).unwrap();
    assert_eq!(summary.outcome, Outcome::Interrupted);
    assert!(summary.checkpoint.unwrap().ends_with("checkpoints/step-00000000"));
}

#[test]
fn a_failing_observer_is_detached_and_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[("[observer]", "kind = \"test-observer\"\nfail_at = 5")]);
    let mut state = TrainState::new(&plan).unwrap();
    let summary = go(&plan, &mut state, dir.path(), None);
    assert_eq!((summary.outcome, summary.step), (Outcome::Done, 40));
    assert_eq!(summary.detached.len(), 1);
    assert!(summary.detached[0].contains("test-observer") && summary.detached[0].contains("on purpose"));
    assert!(fs::read_to_string(dir.path().join("seen.txt")).unwrap().ends_with("step 4\n"));
}

#[test]
fn a_policy_stops_a_diverging_run() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[("[policy]", "kind = \"stop-on-divergence\"\nmax_energy = 0.001")]);
    let mut state = TrainState::new(&plan).unwrap();
    let summary = go(&plan, &mut state, dir.path(), None);
    match &summary.outcome {
        Outcome::Diverged(why) => assert!(why.contains("energy.data") && why.contains("step 1"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(dir.path().join("diverged.json").exists());
    let left: Vec<u64> = checkpoint::list(&run::checkpoints_of(dir.path())).iter().map(|c| c.0).collect();
    assert_eq!(left, [0], "the healthy state before the first step, and not the diverged one");
}

#[test]
fn bad_batches_are_left_out_and_too_many_end_the_run() {
    // Epoch 1 has four batches whose energies overflow; three may be left out.
    let bad = |batch: usize| {
        let run = format!("seed = 3\nsteps = 40\nbatch = {batch}");
        let plan = plan(&[("data", "kind = \"test-data\"\ndim = 3\nbad_epoch = 1"), ("run", &run)]);
        let mut state = TrainState::new(&plan).unwrap();
        let options = Options::default();
        (run::run(&plan, &mut state, options).unwrap(), state.step)
    };
    let (summary, _) = bad(12);
    assert_eq!((summary.outcome, summary.skipped, summary.step), (Outcome::Done, 3, 40));
    let (summary, step) = bad(8);
    match summary.outcome {
        Outcome::Diverged(why) => {
            assert!(why.contains("Energy of the data") && why.contains("4 batches"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(step, 4, "the state is that of the last good step");
}

#[test]
fn time_ends_a_run_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[("[policy]", "kind = \"stop-after\"\nseconds = 1e-9")]);
    let mut state = TrainState::new(&plan).unwrap();
    let summary = go(&plan, &mut state, dir.path(), None);
    assert!(matches!(summary.outcome, Outcome::Finished(_)));
    assert!(summary.checkpoint.unwrap().ends_with("step-00000001"));
}
