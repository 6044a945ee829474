//! Standard output holds results alone, and either stream may be closed.

#![allow(clippy::unwrap_used)]

use std::io::Read as _;

use crate::support::{Ran, SMALL, Scratch};

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r", "--steps", "1"]).ok();
    s.run(&["sample", "r", "--n", "3000", "--steps", "1", "--out", "many.npy"]).ok();
    for arguments in [&["plugins", "schema"][..], &["score", "r", "many.npy"]] {
        let mut child = s.start(arguments);
        let mut one = [0; 1];
        child.stdout.take().unwrap().read_exact(&mut one).unwrap();
        // The reading end is closed here, most of the output unread.
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.err.contains("error")), (Some(0), false), "{ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_run_whose_terminal_is_gone_saves_all_the_same() {
    let s = Scratch::with(SMALL);
    let program = env!("CARGO_BIN_EXE_ebm-under-test");
    let observe = "--set observer[0].kind=progress --set observer[0].seconds=0.001";
    // Both streams are closed before the program starts; nothing can be said, everything must be saved.
    let script = format!("exec '{program}' train run.toml --out r --log debug {observe} >&- 2>&-");
    let ran =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(s.path("")).status().unwrap();
    assert!(s.path("r/checkpoints/step-00000006/state.json").is_file(), "{ran:?} {:?}", s.tree());
    // A pipe whose reader has gone away is the harder case: every write fails.
    let script = format!("'{program}' train run.toml --out q --log debug {observe} 2>&1 | true; exit 0");
    std::process::Command::new("sh").args(["-c", &script]).current_dir(s.path("")).status().unwrap();
    assert!(s.path("q/samples.png").is_file(), "{:?}", s.tree());
}

#[test]
fn results_are_json_where_asked_and_logs_stay_apart() {
    let s = Scratch::with(SMALL);
    for arguments in [
        &["train", "run.toml", "--out", "r", "--json", "--log", "debug"][..],
        &["resume", "r", "--steps", "7", "--json"],
        &["check", "run.toml", "--json"],
        &["plugins", "list", "--json"],
        &["plugins", "show", "langevin", "--json"],
        &["plugins", "schema"],
        &["data", "list", "--json"],
        &["data", "verify", "digits", "--json"],
    ] {
        let ran = s.run(arguments).ok();
        serde_json::from_str::<serde_json::Value>(&ran.out).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
    }
}

#[test]
fn a_log_filter_is_a_level_or_names_crates() {
    let s = Scratch::with(SMALL);
    // Said at the level `debug` by the crate `ebm`.
    let device = |filter| s.run(&["check", "run.toml", "--log", filter]).ok().err.contains("device: cpu");
    let filters = ["debug", "ebm=debug", "error,ebm=debug", "info", "ebm_train=debug"];
    assert_eq!(filters.map(device), [true, true, true, false, false]);
    let ran = s.run(&["check", "run.toml", "--log", "ebm=loud"]).ok();
    assert!(ran.err.contains("the log filter is not understood"), "{ran:?}");
}

#[test]
fn every_plugin_can_be_shown() {
    let s = Scratch::with(SMALL);
    let listed = s.run(&["plugins", "list", "--json"]).ok();
    let all: Vec<serde_json::Value> = serde_json::from_str(&listed.out).unwrap();
    assert!(all.len() > 30, "{}", all.len());
    for family in ["energy", "sampler", "transition", "observer", "policy", "data"] {
        assert!(all.iter().any(|c| c["family"] == family), "{family}");
    }
    let book =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../book/src/plugins.md")).unwrap();
    for c in &all {
        let row = format!("| `{}` |", c["kind"].as_str().unwrap());
        assert!(
            book.contains(&row),
            "{row} is missing in book/src/plugins.md; make it again: scripts/plugins-table.py"
        );
    }
}
