//! Trained energies as parts of new ones, and conditional trainings that they are made of.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::support::{SMALL, Scratch};

/// Energies of the samples of a file, by whatever stands for a model.
fn energies(s: &Scratch, model: &str, file: &str) -> Vec<f64> {
    let scored = s.run(&["score", model, file]).ok();
    scored.out.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().parse().unwrap()).collect()
}

/// The small run given one of ten classes.
fn conditional() -> String {
    SMALL
        .replace("kind = \"digits\"", "kind = \"digits\"\nlabels = true")
        .replace(
            "kind = \"mlp\"\nhidden = [8]",
            "kind = \"conv-net\"\nlayers = [{ filters = 4, stride = 2 }]\nhidden = [8]\nconditional = true",
        )
        .replace("[replay]", "[chains]\nlabels = \"kept\"\n[replay]")
}

/// Samples with and without labels, sets with other classes or none: one energy, that of the marginal.
#[test]
fn a_conditional_run_scores_classifies_and_is_scored() {
    let s = Scratch::with(SMALL);
    fs::write(s.path("given.toml"), conditional()).unwrap();
    s.run(&["train", "given.toml", "--out", "g"]).ok();
    let energies = |target: &str| -> Vec<f64> {
        let rows = s.run(&["score", target, "digits"]).ok();
        assert_eq!(rows.err.contains("marginal"), target == "g", "{rows:?}");
        rows.out.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().parse().unwrap()).collect()
    };
    let marginal = energies("g");
    let mut sum = vec![0.0; marginal.len()];
    for class in 0..10 {
        let of_class = energies(&format!("g given {class}"));
        sum.iter_mut().zip(of_class).for_each(|(s, e)| *s += (-e).exp());
    }
    // Energies are single precision, printed in full.
    assert!(marginal.iter().zip(&sum).all(|(e, s)| (e + s.ln()).abs() < 1e-5 * (1.0 + e.abs())));
    let ood = s.run(&["eval", "ood", "g", "--out", "rule:uniform", "-n", "50", "--resamples", "10"]).ok();
    assert!(ood.out.contains("rule:uniform") && ood.err.contains("marginal"), "{ood:?}");
    let text = s.run(&["eval", "classes", "g", "--json", "c.json"]).ok().out;
    let found: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(s.path("c.json")).unwrap()).unwrap();
    assert!(text.contains("log loss") && found["count"] == 360 && found["classes"] == 10, "{text}");
    let right: u64 = found["by_class"].as_array().unwrap().iter().map(|c| c[2].as_u64().unwrap()).sum();
    let accuracy = found["accuracy"]["value"].as_f64().unwrap();
    assert!((accuracy - right as f64 / 360.0).abs() < 1e-12, "{found}");
    let plain = s.run(&["eval", "classes", "g given 3"]);
    assert!(plain.code != Some(0) && plain.err.contains("takes no condition"), "{plain:?}");
    s.run(&["eval", "stein", "g", "-n", "20", "--resamples", "20"]).ok();
    s.run(&["eval", "two-sample", "g", "-n", "40"]).ok();
}

/// A run says by `generate.weights` which of its weights it is scored by; a composition takes the same.
#[test]
fn a_run_is_composed_by_the_weights_that_it_is_scored_by() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "a", "--set", "optimiser.average=0.9"]).ok();
    let live = ["--set", "optimiser.average=0.9", "--set", "generate.weights=live"];
    s.run(&[&["train", "run.toml", "--out", "b"][..], &live].concat()).ok();
    s.run(&["sample", "a", "-n", "5", "--out", "x.npy"]).ok();
    let of = |model: &str| energies(&s, model, "x.npy");
    assert_ne!(of("a"), of("b"));
    for run in ["a", "b"] {
        assert_eq!(of(run), of(&format!("1 * {run}")), "{run}");
    }
    s.run(&["compose", "b at 1", "--out", "both.toml"]).ok();
    assert_eq!(of("b"), of("both.toml"));
}

/// The class that a run is drawn under stands for it in a composition, and gives way to one that the line names.
#[test]
fn a_run_that_is_drawn_under_a_class_may_be_composed_under_another() {
    let s = Scratch::with(SMALL);
    fs::write(s.path("given.toml"), conditional()).unwrap();
    s.run(&["train", "given.toml", "--out", "g"]).ok();
    s.run(&["train", "given.toml", "--out", "h", "--set", "generate.given=3"]).ok();
    s.run(&["sample", "g", "-n", "5", "--out", "x.npy"]).ok();
    let of = |model: &str| energies(&s, model, "x.npy");
    let [three, eight] = [of("g given 3"), of("g given 8")];
    assert_ne!(three, eight);
    for (model, wanted) in [("h", &three), ("1 * h", &three), ("h given 3", &three), ("h given 8", &eight)] {
        assert_eq!(of(model), *wanted, "{model}");
    }
}

#[test]
fn a_line_is_the_composition_of_energies_it_says() {
    let s = Scratch::with(SMALL);
    fs::write(s.path("given.toml"), conditional()).unwrap();
    s.run(&["train", "run.toml", "--out", "a"]).ok();
    s.run(&["train", "run.toml", "--out", "b c", "--seed", "1"]).ok();
    s.run(&["train", "given.toml", "--out", "g"]).ok();
    s.run(&["sample", "a", "-n", "5", "--out", "x.npy"]).ok();
    let of = |model: &str| energies(&s, model, "x.npy");
    let (a, b, g3, g7) = (of("a"), of("\"b c\" at 1"), of("g given 3"), of("1 * g given 7"));
    let vector = of("g given [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]");
    let product = of("a and not 0.5 * \"b c\" and g given 3 at 2");
    let mixture = of("2 * a or (g given 3 and g given 7)");
    for i in 0..5 {
        assert_ne!(g3[i], g7[i]);
        assert_eq!(g3[i], vector[i]);
        // f32 energies of order 0.1 and a few roundings.
        let sum = a[i] - 0.5 * b[i] + g3[i] / 2.0;
        assert!((product[i] - sum).abs() < 1e-6, "{} {sum}", product[i]);
        let soft = -((-2.0 * a[i]).exp() + (-g3[i] - g7[i]).exp()).ln();
        assert!((mixture[i] - soft).abs() < 1e-6, "{} {soft}", mixture[i]);
    }

    // The same as a file, from another folder, and never over one that is there.
    fs::create_dir(s.path("kept")).unwrap();
    let line = "a and not 0.5 * \"b c\" and g given 3 at 2";
    s.run(&["compose", line, "--out", "kept/both.toml"]).ok();
    assert_eq!(of("kept/both.toml"), product);
    s.run(&["compose", line, "--out", "kept/both.toml"]).fails(2, &["already exists", "--force"]);
    s.run(&["compose", line, "--out", "kept/both.toml", "--force"]).ok();
    let printed = s.run(&["compose", line]).ok().out;
    fs::write(s.path("printed.toml"), printed).unwrap();
    assert_eq!(of("printed.toml"), product);
    s.run(&["sample", line, "-n", "3", "--out", "y.npy"]).ok();
    s.run(&["eval", "samples", line, "-n", "20"]).ok();
}

#[test]
fn smaller_images_see_the_sample_resized() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "whole"]).ok();
    let quarter: Vec<f32> = (0..20 * 16).map(|i| (i % 16) as f32 / 15.0).collect();
    ebm_data::npy::write(s.path("quarter.npy"), &quarter, &[20, 1, 4, 4]).unwrap();
    s.run(&["train", "run.toml", "--data", "quarter.npy", "--out", "coarse"]).ok();
    s.run(&["sample", "coarse and whole", "-n", "4", "--out", "x.npy"]).ok();
    assert_eq!(energies(&s, "whole", "x.npy").len(), 4);
    // An even image is the same at every size.
    let even = |side: usize| [vec![0.25f32; side * side], vec![0.75; side * side]].concat();
    ebm_data::npy::write(s.path("even.npy"), &even(8), &[2, 1, 8, 8]).unwrap();
    ebm_data::npy::write(s.path("small.npy"), &even(4), &[2, 1, 4, 4]).unwrap();
    let (coarse, whole) = (energies(&s, "coarse", "small.npy"), energies(&s, "whole", "even.npy"));
    assert_ne!(coarse[0], coarse[1]);
    for (i, both) in energies(&s, "coarse and whole", "even.npy").into_iter().enumerate() {
        // f32 energies of order 1, and weights of the resize that sum to 1 within a rounding.
        assert!((both - coarse[i] - whole[i]).abs() < 1e-5, "{both} {} {}", coarse[i], whole[i]);
    }
}

#[test]
fn what_is_no_composition_says_why() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "a"]).ok();
    let points: Vec<f32> = (0..40).map(|i| (i as f32).sin().abs()).collect();
    ebm_data::npy::write(s.path("points.npy"), &points, &[20, 2]).unwrap();
    s.run(&["train", "run.toml", "--data", "points.npy", "--out", "p"]).ok();
    let before = s.tree();
    for (line, parts) in [
        ("a and", &["`a and`", "the end"][..]),
        ("a and b", &["b: is not there", "directory of a run"]),
        ("a given 3 or a", &["a given 3", "no condition"]),
        ("a and p", &["p: ", "[2]", "[1, 8, 8]"]),
        ("a and run.toml", &["run.toml: is a file", "directory of a run"]),
        ("a or not a", &["`or not`", "density"]),
        ("a at -1", &["temperature above 0"]),
    ] {
        s.run(&["compose", line]).fails(2, parts);
        s.run(&["sample", line, "--out", "y.npy"]).fails(2, parts);
    }
    assert_eq!(s.tree(), before);
    // The file of a composition that was taken away from its runs: the run is missing, not a shape.
    s.run(&["compose", "a and a", "--out", "both.toml"]).ok();
    fs::create_dir(s.path("away")).unwrap();
    fs::rename(s.path("both.toml"), s.path("away/both.toml")).unwrap();
    let ran = s.run(&["score", "away/both.toml", "digits"]);
    assert!(!ran.err.contains("generate.shape"), "{ran:?}");
    ran.fails(3, &["away/a", "is not a run directory"]);
}

/// Two classes of 4×4 images: dark under label 0, bright under label 1.
fn dark_and_bright(folder: &Path) {
    let mut images = b"\0\0\x08\x03\0\0\0\x28\0\0\0\x04\0\0\0\x04".to_vec();
    let mut labels = b"\0\0\x08\x01\0\0\0\x28".to_vec();
    for i in 0..40u8 {
        images.extend([200 * (i % 2); 16]);
        labels.push(i % 2);
    }
    fs::write(folder.join("images"), images).unwrap();
    fs::write(folder.join("labels"), labels).unwrap();
}

const KEPT: &str = r#"format = 1
[run]
name = "kept"
steps = 8
batch = 8
[data]
kind = "idx"
images = "images"
label_file = "labels"
labels = true
[energy]
kind = "conv-net"
layers = [{ filters = 4 }]
hidden = [8]
conditional = true
[sampler]
kind = "chain"
steps = 2
transition = { kind = "langevin", step_size = 1e-9, noise = 0.0 }
[chains]
from = "replay"
fill = "data"
restart = 0.0
labels = "kept"
[replay]
kind = "random-overwrite"
capacity = 64
[objective]
kind = "contrastive"
[optimiser]
kind = "adam"
rate = 1e-3
[[policy]]
kind = "checkpoint"
every = 4
"#;

/// Rows of the buffer in the newest checkpoint of a run.
fn rows(run: &Path) -> Vec<Vec<f32>> {
    let newest = fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let bytes = fs::read(newest.join("replay.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor("samples").unwrap();
    let values: Vec<f32> = view.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    values.chunks(view.shape()[1]).map(<[f32]>::to_vec).collect()
}

#[test]
fn chains_keep_their_labels_through_a_training_and_a_resume() {
    let s = Scratch::with(KEPT);
    dark_and_bright(&s.path(""));
    s.run(&["train", "run.toml", "--out", "straight"]).ok();
    s.run(&["train", "run.toml", "--steps", "4", "--out", "cut"]).ok();
    s.run(&["resume", "cut", "--steps", "8"]).ok();
    // The chains hardly move, so each row must still be dark under label 0 and bright under label 1.
    let straight = rows(&s.path("straight"));
    let mut seen = [0, 0];
    for row in &straight {
        assert_eq!(row.len(), 18);
        if row[16] + row[17] == 0.0 {
            continue; // a slot that was never filled
        }
        let bright = usize::from(row[..16].iter().sum::<f32>() / 16.0 > 0.4);
        assert_eq!(row[16 + bright], 1.0, "{row:?}");
        assert_eq!(row[17 - bright], 0.0, "{row:?}");
        seen[bright] += 1;
    }
    assert!(seen[0] >= 8 && seen[1] >= 8, "{seen:?}");
    assert_eq!(straight, rows(&s.path("cut")));
}

#[test]
fn labels_that_cannot_be_kept_are_refused() {
    let s = Scratch::with(KEPT);
    dark_and_bright(&s.path(""));
    let bytes = KEPT.replace("capacity = 64", "capacity = 64\nstorage = \"bytes\"");
    fs::write(s.path("bytes.toml"), bytes).unwrap();
    s.run(&["train", "bytes.toml"]).fails(2, &["replay.storage", "float"]);
    let none = KEPT.replace("labels = true\n", "").replace("conditional = true", "");
    fs::write(s.path("none.toml"), none).unwrap();
    s.run(&["train", "none.toml"]).fails(2, &["chains.labels", "no condition"]);
}
