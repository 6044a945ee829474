//! Measures from the command line: classifiers, samples against data, chains.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use serde_json::Value;
use support::{SMALL, Scratch};

fn json(s: &Scratch, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(s.path(name)).unwrap()).unwrap()
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["rows"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap()
}

#[test]
fn a_classifier_is_trained_used_and_measures_samples() {
    let s = Scratch::with(SMALL);
    let train = ["classifier", "train", "--data", "digits", "--epochs", "2", "--features", "16", "--out"];
    s.run(&[&train[..], &["net"]].concat()).ok();
    s.run(&[&train[..], &["again", "--name", "net"]].concat()).ok();
    assert_eq!(
        fs::read(s.path("net/weights.safetensors")).unwrap(),
        fs::read(s.path("again/weights.safetensors")).unwrap()
    );
    let summary = json(&s, "net/summary.json");
    // Two epochs, where chance is 0.1; twenty reach 0.98.
    assert!(summary["held_out_accuracy"].as_f64().unwrap() > 0.6, "{summary}");
    assert_eq!(
        (summary["train_count"].as_u64(), summary["held_out_count"].as_u64()),
        (Some(1437), Some(360))
    );
    s.run(&[&train[..], &["net"]].concat()).fails(2, &["already exists"]);

    let classes = s.run(&["classifier", "classify", "net", "digits"]).ok().out;
    assert_eq!(classes.lines().count(), 361);
    assert!(classes.starts_with("file,index,class,probability\ndigits,0,"), "{classes}");
    let ran = s.run(&["classifier", "classify", "net", "mnist-5k"]);
    assert!(ran.code == Some(3) && ran.err.contains("--fit"), "{ran:?}");

    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let measure = ["eval", "samples", "r", "-n", "40", "--features", "pixels", "net", "--json", "m.json"];
    let table = s.run(&measure).ok().out;
    let m = json(&s, "m.json");
    for name in ["Frechet[pixels 64]", "Frechet[net 16]", "ClassScore[net 16]", "Near[values 64]"] {
        assert!(table.contains(name), "{table}");
    }
    assert!(!table.contains("FID"), "{table}");
    for features in ["pixels 64", "net 16"] {
        // Six steps of training are noise; real digits are like each other.
        let f = &row(&m, &format!("Frechet[{features}]"));
        assert!(f["samples"]["value"].as_f64() > f["training"]["value"].as_f64(), "{f}");
        let p = &row(&m, &format!("Precision[{features}]"));
        assert!(p["training"]["value"].as_f64().unwrap() > 0.5, "{p}");
    }
    s.run(&measure).fails(2, &["--force"]);
    s.run(&["eval", "samples", "r", "--features", "nothing"]).fails(2, &["none of values"]);
    s.run(&["eval", "samples", "digits"]).fails(2, &["--against"]);
}

#[test]
fn chains_of_a_run_and_of_a_file_are_measured() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let run =
        ["eval", "chains", "r", "--steps", "40", "--warm-up", "5", "--coordinates", "2", "--json", "c.json"];
    s.run(&run).ok();
    let c = json(&s, "c.json");
    assert_eq!(
        (c["chains"].as_u64(), c["draws"].as_u64(), c["rows"].as_array().unwrap().len()),
        (Some(4), Some(40), 3)
    );
    assert_eq!(c["rows"][2]["name"], "x[32]");

    // The recursion x' = (389 x + 7) mod 1009 has no memory to speak of.
    let mut v = 1u32;
    let values: Vec<f32> = (0..400)
        .map(|_| {
            v = (389 * v + 7) % 1009;
            v as f32
        })
        .collect();
    ebm_data::npy::write(s.path("x.npy"), &values, &[4, 100]).unwrap();
    s.run(&["eval", "chains", "x.npy", "--json", "x.json"]).ok();
    let x = &json(&s, "x.json")["rows"][0];
    assert!(x["rhat"].as_f64().unwrap() < 1.05 && x["ess_bulk"].as_f64().unwrap() > 200.0, "{x}");
    ebm_data::npy::write(s.path("short.npy"), &values[..12], &[4, 3]).unwrap();
    s.run(&["eval", "chains", "short.npy"]).fails(3, &["draws a chain"]);
    s.run(&["eval", "chains", "r", "--steps", "3"]).fails(2, &["--steps"]);
}
