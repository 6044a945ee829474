//! What happens where training goes wrong: it is stopped with its cause, goes back, or is told to be ill, everywhere alike.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::{SMALL, Scratch, logged};
use serde_json::Value;

fn summary(s: &Scratch, run: &str) -> Value {
    serde_json::from_slice(&fs::read(s.path(run).join("summary.json")).unwrap()).unwrap()
}

/// `SMALL` with more steps and this rate, without the schedule of its checkpoints.
fn small(steps: u64, rate: &str) -> String {
    SMALL.replace("steps = 6", &format!("steps = {steps}")).replace("rate = 1e-3", &format!("rate = {rate}"))
}

#[test]
fn an_absurd_rate_is_stopped_with_its_cause_and_report_summary_and_exit_code_agree() {
    let s = Scratch::with(&small(200, "1e6"));
    let ran = s.run(&["train", "run.toml", "--out", "r"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("error: diverged: ") && ran.err.contains("cause: learning rate"), "{ran:?}");
    assert!(ran.out.contains("ended     diverged") && !ran.out.contains("done"), "{ran:?}");
    let told = summary(&s, "r");
    assert_eq!((&told["outcome"], &told["health"]["level"]), (&"diverged".into(), &"ill".into()));
    assert_eq!(told["health"]["findings"][0]["cause"], "learning-rate");
    let sentence = told["health"]["sentence"].as_str().unwrap();
    assert!(ran.out.contains(&format!("health    {sentence}")), "{ran:?}");
    let report = s.run(&["report", "r", "--no-energies"]).ok();
    assert!(report.out.contains(&format!("r: {sentence}")), "{report:?}");
    // What is left are the weights of the last healthy state.
    s.run(&["sample", "r", "--n", "2", "--out", "two.npy"]).ok();
    assert!(told["checkpoint"].as_str().unwrap().starts_with("checkpoints/step-"));
}

#[test]
fn a_run_that_goes_back_ends_well_and_its_metrics_and_report_tell_of_it() {
    let back =
        "[[policy]]\nkind = \"roll-back\"\nscale = [{ setting = \"optimiser.rate\", factor = 1e-8 }]\n";
    let s = Scratch::with(&format!("{}{back}", small(60, "1e5")));
    let ran = s.run(&["train", "run.toml", "--out", "r"]).ok();
    assert!(
        ran.out.contains("went back from step") && ran.out.contains("optimiser.rate × 0.00000001"),
        "{ran:?}"
    );
    let told = summary(&s, "r");
    assert_eq!((&told["outcome"], told["returns"].as_array().unwrap().len()), (&"done".into(), 1));
    assert_eq!(logged(&s.path("r")), (1..=60).collect::<Vec<_>>(), "each step once");
    let metrics = fs::read_to_string(s.path("r/metrics.jsonl")).unwrap();
    assert!(metrics.lines().all(|line| line.contains("\"rolled_back\":1.0")), "{metrics}");
    s.run(&["report", "r", "--no-energies"]).ok();
    assert!(fs::read_to_string(s.path("report.html")).unwrap().contains("The run went back from step"));
}

#[test]
fn a_run_that_does_its_steps_and_is_ill_does_not_end_done() {
    // Noise of the width of the data: chains lie on the clamp.
    let s = Scratch::with(&small(120, "1e-3").replace("noise = 0.03", "noise = 50.0"));
    let ran = s.run(&["train", "run.toml", "--out", "r"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("error: the run is ill: ") && ran.err.contains("cause: noise"), "{ran:?}");
    let told = summary(&s, "r");
    assert_eq!((&told["outcome"], &told["step"]), (&"ill".into(), &120.into()));
    assert!(s.path("r/samples.png").is_file());
    // A second look finds it as it was.
    let again = s.run(&["resume", "r"]);
    assert!(again.code == Some(4) && again.err.contains("cause: noise"), "{again:?}");
    assert_eq!(summary(&s, "r"), told);
}

#[test]
fn a_value_that_is_no_number_is_refused_where_it_is_read_with_its_row() {
    let s = Scratch::with("");
    let mut values: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
    values[21] = f32::NAN;
    ebm_data::npy::write(s.path("points.npy"), &values, &[32, 2]).unwrap();
    let config = SMALL.replace("kind = \"digits\"", "kind = \"npy\"\npath = \"points.npy\"");
    fs::write(s.path("run.toml"), config.replace(", clamp = [0.0, 1.0]", "")).unwrap();
    for command in ["train", "check"] {
        s.run(&[command, "run.toml"]).fails(3, &["points.npy: sample 10 holds the value NaN (entry 1"]);
    }
    assert!(!s.path("runs").exists());
}
