//! Runs from beginning to end: what they leave behind, how they stop, how they go on.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Ran, SMALL, Scratch, copy, logged, terminals_are_heard};

#[test]
fn a_run_leaves_a_complete_directory() {
    let s = Scratch::with(SMALL);
    let ran = s.run(&["train", "run.toml", "--json"]).ok();
    let result: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(result["directory"], "runs/small-0-1");
    assert_eq!(result["summary"]["outcome"], "done");
    assert!(result["measures"]["samples"]["fd_pix"].as_f64().unwrap() > 0.0);
    assert!(
        result["measures"]["noise"]["near"].as_f64().unwrap()
            < result["measures"]["real"]["near"].as_f64().unwrap()
    );
    let run = s.path("runs/small-0-1");
    for file in [
        "config.toml",
        "versions.json",
        "metrics.jsonl",
        "summary.json",
        "measures.json",
        "samples.png",
        "checkpoints/step-00000003/state.json",
        "checkpoints/step-00000006/state.safetensors",
        "checkpoints/step-00000006/replay.safetensors",
        "checkpoints/step-00000006/config.toml",
    ] {
        assert!(run.join(file).is_file(), "{file}: {:?}", s.tree());
    }
    assert_eq!(logged(&run), [1, 2, 3, 4, 5, 6]);
    let resolved = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(resolved.contains("seed = 0") && resolved.contains("restart = 0.05"), "{resolved}");
    // The resolved text is itself a configuration.
    s.run(&["check", "runs/small-0-1/config.toml"]).ok();
    // The next run has the next number.
    s.run(&["train", "run.toml", "--steps", "1"]).ok();
    assert!(s.path("runs/small-0-2").is_dir());
}

/// A rate that has decayed to its end does not jump back up because the run goes on.
#[test]
fn a_longer_run_says_what_becomes_of_its_schedules() {
    let rate = "rate = 1e-3\nschedule = { shape = \"linear\", end = 0.1 }";
    let s = Scratch::with(&SMALL.replace("rate = 1e-3", rate));
    assert!(fs::read_to_string(s.path("run.toml")).unwrap().contains("schedule"));
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let refused = s.run(&["resume", "r", "--steps", "12"]);
    assert!(refused.code != Some(0), "{refused:?}");
    assert!(
        refused.err.contains("run.schedule_steps to 6") && refused.err.contains("learning rate"),
        "{refused:?}"
    );
    s.run(&["resume", "r", "--steps", "12", "--set", "run.schedule_steps=6"]).ok();
    let rates: Vec<f64> = fs::read_to_string(s.path("r/metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["values"]["rate"].as_f64().unwrap())
        .collect();
    assert!(rates.windows(2).all(|w| w[1] <= w[0]) && rates.len() == 12, "{rates:?}");
    assert!((rates[11] - 1e-4).abs() < 1e-12, "{rates:?}");
}

#[test]
fn a_continued_run_equals_a_straight_one_to_the_bit() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "straight"]).ok();
    // As if the program had been killed after the checkpoint of step 3, in the middle of a later line.
    copy(&s.path("straight"), &s.path("cut"));
    fs::remove_dir_all(s.path("cut/checkpoints/step-00000006")).unwrap();
    let resumed = s.run(&["resume", "cut", "--json"]).ok();
    assert!(resumed.out.contains("\"steps_now\": 3"), "{resumed:?}");
    for file in ["state.safetensors", "replay.safetensors"] {
        let read = |run: &str| fs::read(s.path(run).join("checkpoints/step-00000006").join(file)).unwrap();
        assert_eq!(read("straight"), read("cut"), "{file}");
    }
    assert_eq!(logged(&s.path("cut")), [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        fs::read(s.path("straight/samples.png")).unwrap(),
        fs::read(s.path("cut/samples.png")).unwrap()
    );
    // A run that is whole is left as it is.
    let summary = fs::read(s.path("cut/summary.json")).unwrap();
    let whole = s.run(&["resume", "cut"]).ok();
    assert!(whole.err.contains("nothing is left to do"), "{whole:?}");
    assert_eq!(fs::read(s.path("cut/summary.json")).unwrap(), summary);
    // A finished run goes on if more steps are asked for, and not backwards.
    s.run(&["resume", "cut", "--steps", "8"]).ok();
    assert_eq!(logged(&s.path("cut")), [1, 2, 3, 4, 5, 6, 7, 8]);
    s.run(&["resume", "cut", "--steps", "2"]).fails(2, &["8 steps", "at least as many"]);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let file = s.path("r/checkpoints/step-00000006/state.safetensors");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let ran = s.run(&["resume", "r"]).ok();
    assert!(ran.err.contains("step-00000006") && ran.err.contains("damaged"), "{ran:?}");
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[cfg(unix)]
#[test]
fn signals_save_and_end_with_130() {
    // 1 is a closed terminal, 2 Ctrl-C, 15 what `kill` sends.
    for signal in ["1", "2", "15"].into_iter().filter(|s| *s != "1" || terminals_are_heard()) {
        let s = Scratch::with(SMALL);
        let child = s.start(&[
            "train",
            "run.toml",
            "--steps",
            "1000000",
            "--out",
            "r",
            "--set",
            "policy[0].every=900000",
        ]);
        let deadline = Instant::now() + Duration::from_secs(60);
        let lines = || fs::read_to_string(s.path("r/metrics.jsonl")).map_or(0, |t| t.lines().count());
        while lines() == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert!(ran.out.contains("ebm resume r"), "{ran:?}");
        let saved = fs::read_dir(s.path("r/checkpoints")).unwrap().count();
        assert_eq!(saved, 1, "{:?}", s.tree());
        let step = logged(&s.path("r")).len() as u64;
        s.run(&["resume", "r", "--steps", &(step + 2).to_string()]).ok();
        assert_eq!(logged(&s.path("r")).len() as u64, step + 2);
    }
}

#[test]
fn a_diverging_run_ends_with_4_and_says_why() {
    let s = Scratch::with(&format!("{SMALL}[[policy]]\nkind = \"stop-on-divergence\"\nmax_energy = 1e-9\n"));
    let ran = s.run(&["train", "run.toml", "--out", "r"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("error: diverged: "), "{ran:?}");
    assert!(s.path("r/diverged.json").is_file());
}

#[test]
fn samples_and_energies_come_out_of_a_run() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    s.run(&["sample", "r", "--n", "20", "--out", "a.npy"]).ok();
    s.run(&["sample", "r", "--n", "20", "--out", "b.npy"]).ok();
    assert_eq!(fs::read(s.path("a.npy")).unwrap(), fs::read(s.path("b.npy")).unwrap());
    s.run(&["sample", "r", "--n", "20", "--steps", "1", "--seed", "5", "--out", "c.npy"]).ok();
    assert_ne!(fs::read(s.path("a.npy")).unwrap(), fs::read(s.path("c.npy")).unwrap());
    s.run(&["sample", "r", "--n", "4", "--out", "sheet.png"]).ok();
    assert!(fs::read(s.path("sheet.png")).unwrap().starts_with(b"\x89PNG"));
    let scored = s.run(&["score", "r", "a.npy"]).ok();
    let lines: Vec<&str> = scored.out.lines().collect();
    assert_eq!((lines.len(), lines[0]), (21, "file,index,energy"));
    assert!(
        lines[20].starts_with("a.npy,19,")
            && lines[20].split(',').nth(2).unwrap().parse::<f64>().unwrap().is_finite()
    );
}

#[test]
fn trained_energies_are_composed_without_training() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "a"]).ok();
    s.run(&["train", "run.toml", "--out", "b", "--seed", "1"]).ok();
    let compose = "format = 1\n[energy]\nkind = \"sum\"\nparts = [\n\
        { name = \"a\", energy = { kind = \"checkpoint\", path = \"../a\" } },\n\
        { name = \"b\", weight = 0.5, energy = { kind = \"checkpoint\", path = \"../b\" } },\n]\n";
    fs::create_dir(s.path("both")).unwrap();
    fs::write(s.path("both/compose.toml"), compose).unwrap();
    s.run(&["sample", "both/compose.toml", "--n", "5", "--out", "x.npy"]).ok();
    let energy = |model: &str| -> Vec<f64> {
        let scored = s.run(&["score", model, "x.npy"]).ok();
        scored.out.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().parse().unwrap()).collect()
    };
    let (a, b, sum) = (energy("a"), energy("b"), energy("both/compose.toml"));
    for i in 0..5 {
        // f32 energies of order 0.1 and a few roundings.
        assert!((a[i] + 0.5 * b[i] - sum[i]).abs() < 1e-6, "{} {} {}", a[i], b[i], sum[i]);
    }
    fs::write(s.path("both/compose.toml"), compose.replace("../b", "../c")).unwrap();
    let ran = s.run(&["sample", "both/compose.toml", "--out", "y.npy"]);
    assert!(ran.code != Some(0) && ran.err.contains("c"), "{ran:?}");
}

#[test]
fn the_quick_start_takes_other_data() {
    let s = Scratch::with("");
    let points: Vec<f32> = (0..400).map(|i| (i as f32 * 0.37).sin().abs()).collect();
    ebm_data::npy::write(s.path("points.npy"), &points, &[200, 2]).unwrap();
    let short = ["--steps", "2", "--set", "generate.steps=2", "--out"];
    s.run(&[&["train", "--data", "points.npy"][..], &short, &["p"]].concat()).ok();
    // Named for its data, not for the digits of the quick start.
    assert!(fs::read_to_string(s.path("p/config.toml")).unwrap().contains("name = \"points\""));
    assert!(s.path("p/samples.png").is_file());
    s.run(&["data", "preview", "digits", "--out", "sheet.png"]).ok();
    s.run(&["data", "verify", "points.npy"]).ok();
    s.run(&["train", "--data", "no-such-data", "--out", "q"])
        .fails(2, &["no-such-data", "no file or folder"]);
}
