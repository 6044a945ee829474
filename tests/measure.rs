//! Measures from the command line: samples against data, by features of a classifier, too; chains.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::{SMALL, Scratch, numbers};
use serde_json::Value;

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
    let summary = s.json("net/summary.json");
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
    let m = s.json("m.json");
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
    s.run(&["eval", "samples", "r", "--features", "nothing"]).fails(2, &["one of values"]);
    s.run(&["eval", "samples", "digits"]).fails(2, &["--against"]);
}

#[test]
fn chains_of_a_run_and_of_a_file_are_measured() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let run =
        ["eval", "chains", "r", "--steps", "40", "--warm-up", "5", "--coordinates", "2", "--json", "c.json"];
    s.run(&run).ok();
    let c = s.json("c.json");
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
    let x = &s.json("x.json")["rows"][0];
    assert!(x["rhat"].as_f64().unwrap() < 1.05 && x["ess_bulk"].as_f64().unwrap() > 200.0, "{x}");
    ebm_data::npy::write(s.path("short.npy"), &values[..12], &[4, 3]).unwrap();
    s.run(&["eval", "chains", "short.npy"]).fails(3, &["draws a chain"]);
    s.run(&["eval", "chains", "r", "--steps", "3"]).fails(2, &["--steps"]);
}

/// A normal density of the plane, sampled by Metropolis-adjusted steps.
const PLANE: &str = r#"format = 1
[run]
name = "plane"
steps = 4
batch = 16
[data]
kind = "toy2d"
name = "moons"
train = 200
held_out = 64
[energy]
kind = "gaussian"
sd = 0.5
trainable = true
[sampler]
kind = "chain"
steps = 2
transition = { kind = "mala", step_size = 0.1 }
[replay]
kind = "random-overwrite"
capacity = 100
[objective]
kind = "contrastive"
[optimiser]
kind = "adam"
rate = 1e-3
[generate]
steps = 20
"#;

#[test]
fn a_run_in_the_plane_is_measured_by_quadrature() {
    let s = Scratch::with(PLANE);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let table = s.run(&["eval", "samples", "r", "-n", "64", "--json", "r.json"]).ok().out;
    let names = ["Frechet[values 2]", "MMD²[values 2]", "SlicedWasserstein[values 2]", "log Z by quadrature"];
    names.iter().for_each(|name| assert!(table.contains(name), "{table}"));
    // Of the configuration, which is not trained, Z is 2π sd² T.
    for (t, name) in [(1.0, "one.json"), (0.5, "half.json")] {
        let more = ["--steps", "1", "--temperature", &t.to_string(), "--json", name];
        s.run(&[&["eval", "samples", "run.toml", "-n", "16"], &more[..]].concat()).ok();
        let m = s.json(name);
        assert_eq!(m["rows"].as_array().unwrap().len(), 8, "{m}");
        let plane = |key: &str| m["plane"][key].as_f64().unwrap();
        // The square cuts off 2e-6 of the density.
        let wanted = (std::f64::consts::TAU * 0.25 * t).ln();
        assert!((plane("log_z") - wanted).abs() < 1e-4, "{m}");
        assert!(plane("ll_best_t") > plane("ll") && plane("t_best") > 1.0 && plane("leak") < 1e-5, "{m}");
    }
    let trained = s.json("r.json");
    assert_ne!(trained["plane"]["ll"], s.json("one.json")["plane"]["ll"]);
}

#[test]
fn metropolis_chains_say_what_they_accepted() {
    let s = Scratch::with(PLANE);
    let mut accepted = Vec::new();
    for step in ["1e-6", "0.5", "1000.0"] {
        fs::write(s.path("c.toml"), PLANE.replace("step_size = 0.1", &format!("step_size = {step}")))
            .unwrap();
        let table = s.run(&[
            "eval",
            "chains",
            "c.toml",
            "--steps",
            "50",
            "--warm-up",
            "50",
            "--json",
            "c.json",
            "--force",
        ]);
        assert!(table.ok().out.contains("\naccepted "));
        accepted.push(s.json("c.json")["accepted"].as_f64().unwrap());
    }
    // A step that is lost in rounding is always accepted, one of sixty standard deviations never.
    assert!(accepted[0] > 0.99 && (0.05..0.95).contains(&accepted[1]) && accepted[2] < 0.05, "{accepted:?}");
}

#[test]
fn images_are_fitted_and_compared_by_cells() {
    let s = Scratch::with(SMALL);
    // Images of one grey each: as small as digits, of four times the size, and in colours.
    let greys: Vec<f32> = (0..40u8).map(|i| (f32::from(4 * i) + 40.5) / 256.0).collect();
    for (name, dims) in [("same", [1, 8, 8]), ("large", [1, 32, 32]), ("colour", [3, 16, 16])] {
        let each = dims.iter().product();
        let values: Vec<f32> = greys.iter().flat_map(|g| vec![*g; each]).collect();
        s.npy(&format!("{name}.npy"), &values, &[&[40][..], &dims].concat());
    }
    let run = |name: &str, more: &[&str]| {
        let file = format!("{name}.npy");
        let of = ["eval", "samples", &file, "--against", "digits", "--features", "values", "cells:4"];
        s.run(&[&of[..], more].concat())
    };
    run("same", &["--json", "same.json"]).ok();
    for name in ["large", "colour"] {
        run(name, &[]).fails(3, &[&format!("{name}.npy: found shape"), "expected [1, 8, 8]", "--fit"]);
        run(name, &["--fit", "--json", &format!("{name}.json")]).ok();
        // The same bytes, so the same figures.
        assert_eq!(s.json(&format!("{name}.json"))["rows"], s.json("same.json")["rows"]);
    }
    assert!(row(&s.json("same.json"), "Frechet[cells:4 4]")["samples"]["value"].as_f64().unwrap() > 0.0);

    // One cell is the mean of an image: between grey images the distance is (m - m')² + (sd - sd')².
    let darker: Vec<f32> = greys.iter().flat_map(|g| vec![0.5 * g; 64]).collect();
    s.npy("darker.npy", &darker, &[40, 1, 8, 8]);
    s.run(&[
        "eval",
        "samples",
        "darker.npy",
        "--against",
        "same.npy",
        "--features",
        "cells:8",
        "--json",
        "d.json",
    ])
    .ok();
    let mean = greys.iter().sum::<f32>() / 40.0;
    let sd = (greys.iter().map(|g| (g - mean).powi(2)).sum::<f32>() / 39.0).sqrt();
    let wanted = 0.25 * f64::from(mean * mean + sd * sd);
    let found = row(&s.json("d.json"), "Frechet[cells:8 1]")["samples"]["value"].as_f64().unwrap();
    // Greys are f32.
    assert!((found - wanted).abs() < 1e-7, "{found} {wanted}");
    run("same", &["--features", "cells:3"]).fails(2, &["cells:3", "divisor", "8 x 8"]);
}

#[test]
fn diagnostics_of_a_file_are_those_of_arviz() {
    let s = Scratch::with(SMALL);
    let mut v = numbers();
    let mut values = Vec::new();
    for _ in 0..3 {
        let mut x = [0.0; 2];
        for _ in 0..80 {
            for (x, phi) in x.iter_mut().zip([0.6, -0.4]) {
                *x = phi * *x + f64::from(v()) / 1009.0;
                values.push(*x as f32);
            }
        }
    }
    s.npy("c.npy", &values, &[3, 80, 2]);
    s.run(&["eval", "chains", "c.npy", "--json", "c.json"]).ok();
    let c = s.json("c.json");
    for (i, gold) in ARVIZ.iter().enumerate() {
        assert_eq!(c["rows"][i]["name"], format!("x[{i}]"));
        for (key, wanted) in
            ["mean", "mcse", "ess_bulk", "ess_tail", "rhat", "autocorrelation_time"].iter().zip(gold)
        {
            let found = c["rows"][i][key].as_f64().unwrap();
            // ArviZ sums by FFT: as of the unit tests of `ebm-eval`.
            assert!((found - wanted).abs() < 1e-9 * (1.0 + wanted.abs()), "x[{i}] {key}: {found} {wanted}");
        }
    }
}

/// python crates/ebm-eval/tests/goldens.py chain_file (ArviZ 0.23.4)
const ARVIZ: [[f64; 6]; 2] = [
    [
        1.2502724305416146,
        0.058154107657425874,
        42.00233504746273,
        118.66812444091046,
        1.0646633388718516,
        5.750133194458684,
    ],
    [
        0.33353190993414805,
        0.012567786428637135,
        571.2506980107854,
        279.224168331962,
        0.9924652436940533,
        0.4201307776703473,
    ],
];

#[test]
fn what_is_wrong_with_inputs_is_said_and_nothing_is_left() {
    let s = Scratch::with(SMALL);
    let mut v = numbers();
    let mut values: Vec<f32> = (0..40 * 64).map(|_| v() as f32 / 1009.0).collect();
    s.npy("x.npy", &values, &[40, 1, 8, 8]);
    s.npy("chains.npy", &values[..400], &[4, 100]);
    s.npy("few.npy", &values[..5 * 64], &[5, 1, 8, 8]);
    s.npy("wrong.npy", &values[..2 * 17 * 64], &[17, 2, 8, 8]);
    values[17 * 64 + 3] = f32::NAN;
    s.npy("nan.npy", &values, &[40, 1, 8, 8]);
    s.npy("nan-chains.npy", &values[1000..1400], &[4, 100]);
    s.npy("line.npy", &values[..100], &[100]);
    fs::write(s.path("empty.npy"), "").unwrap();
    s.idx("labels.idx", &[0, 1, 2, 3].repeat(10), &[40]);
    s.idx("short.idx", &[0, 1, 2], &[3]);
    s.idx("alike.idx", &[0; 40], &[40]);
    // Whole numbers, one of them negative.
    let mut header =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<i4', 'fortran_order': False, 'shape': (40,), }".to_vec();
    header.resize(127, b' ');
    header.push(b'\n');
    header.extend((0..40).flat_map(|i| (i % 4 - i32::from(i == 39) * 9).to_le_bytes()));
    fs::write(s.path("negative.npy"), header).unwrap();
    let before = s.tree();

    let samples = |more: &[&str]| s.run(&[&["eval", "samples"], more].concat());
    let d = ["--against", "digits"];
    let samples_of = |file: &str, more: &[&str]| samples(&[&[file], &d[..], more].concat());
    samples_of("none.npy", &[]).fails(3, &["none.npy: is not there"]);
    samples_of("empty.npy", &[]).fails(3, &["empty.npy", "0 bytes"]);
    samples_of("nan.npy", &[]).fails(3, &["nan.npy: sample 17 holds the value NaN"]);
    samples_of("wrong.npy", &[]).fails(3, &["found shape [2, 8, 8], expected [1, 8, 8]"]);
    samples_of("few.npy", &[]).fails(2, &["few.npy: found 5 samples, wanted at least 16"]);
    samples(&["x.npy", "--against", "few.npy"]).fails(2, &["few.npy: found 5 samples"]);
    samples_of("x.npy", &["--against-n", "0"]).fails(2, &["--against-n 0: wanted at least 16"]);
    samples_of("x.npy", &["-n", "15"]).fails(2, &["-n 15: wanted at least 16"]);
    samples_of("x.npy", &["--steps", "5"]).fails(2, &["--steps", "wanted a run"]);
    samples_of("x.npy", &["--features", "cells:0"]).fails(2, &["cells:0", "divisor"]);
    samples_of("x.npy", &["--json", "none/m.json"]).fails(2, &["--json none/m.json", "folder is not there"]);
    samples_of("x.npy", &["--json", "run.toml"]).fails(2, &["run.toml", "--force"]);

    let chains = |more: &[&str]| s.run(&[&["eval", "chains"], more].concat());
    chains(&["none.npy"]).fails(3, &["none.npy"]);
    chains(&["empty.npy"]).fails(3, &["empty.npy", "0 bytes"]);
    chains(&["line.npy"]).fails(3, &["found shape [100], wanted (chains, draws)"]);
    chains(&["nan-chains.npy"]).fails(3, &["nan-chains.npy", "value 91 is NaN"]);
    chains(&["chains.npy", "--thin", "2"]).fails(2, &["--thin", "chains.npy", "wanted a run"]);
    chains(&["chains.npy", "--json", "run.toml"]).fails(2, &["run.toml", "--force"]);

    let train =
        |more: &[&str]| s.run(&[&["classifier", "train", "--epochs", "1", "--out", "net"], more].concat());
    let labelled = |labels: &str| train(&["--data", "x.npy", "--labels", labels]);
    train(&["--data", "x.npy"]).fails(2, &["x.npy", "--labels"]);
    train(&["--data", "nan.npy", "--labels", "labels.idx"])
        .fails(3, &["nan.npy: image 17 holds the value NaN"]);
    labelled("none.idx").fails(3, &["none.idx"]);
    labelled("short.idx").fails(2, &["short.idx", "found 3 classes", "wanted 40"]);
    labelled("alike.idx").fails(2, &["classes from 0 to 0", "at least two"]);
    labelled("negative.npy").fails(3, &["negative.npy", "label of row 39", "found -6"]);
    labelled("x.npy").fails(3, &["x.npy", "whole numbers"]);
    train(&["--data", "wrong.npy", "--labels", "labels.idx"]).fails(2, &["[2, 8, 8]", "1 or 3 channels"]);
    train(&["--data", "few.npy", "--labels", "labels.idx"])
        .fails(2, &["few.npy", "found 40 classes", "wanted 5"]);
    assert_eq!(s.tree(), before);
}
