//! Data in and out of the program: digits, names, units and files that are kept on the way.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Read as _;

use crate::golden::Golden;
use crate::support::{Ran, SMALL, Scratch};
use ebm_data::npy::{Npy, NpyValues, encode_values};
use safetensors::Dtype;

/// E(x) = x²/2, whose slope is x and whose Hessian is one, in double precision; chains that stay where they start.
const DOUBLE: &str = r#"format = 1
[run]
dtype = "f64"
[energy]
kind = "gaussian"
sd = 1.0
[sampler]
kind = "chain"
steps = 4
transition = { kind = "langevin", step_size = 1e-300, noise = 0.0 }
[generate]
shape = [2]
"#;

fn doubles(s: &Scratch, name: &str, values: &[f64]) {
    let bytes = encode_values(&NpyValues::F64(values.to_vec()), &[values.len() / 2, 2]).unwrap();
    fs::write(s.path(name), bytes).unwrap();
}

fn read(s: &Scratch, name: &str) -> Vec<f64> {
    match Npy::read(s.path(name)).unwrap().values() {
        NpyValues::F64(v) => v.clone(),
        other => panic!("{name} is no array of doubles: {} numbers", other.len()),
    }
}

#[test]
fn a_run_in_double_precision_keeps_all_digits_of_what_it_reads_and_writes() {
    let s = Scratch::with(DOUBLE);
    // None of them is a number of single precision; the last is beyond it.
    let points = [0.1, 1.0 + 1e-12, -2.0 / 3.0, 1e-60, 1.0 / 7.0, 1e40];
    doubles(&s, "x.npy", &points);
    let directions = points.map(|v| v / 3.0);
    doubles(&s, "v.npy", &directions);
    let arrays = ["--energies", "e.npy", "--slope", "g.npy", "--hvp", "v.npy", "h.npy"];
    s.run(&[&["score", "run.toml", "x.npy"][..], &arrays].concat()).ok();
    assert_eq!(read(&s, "g.npy"), points);
    assert_eq!(read(&s, "h.npy"), directions);
    let energies: Vec<f64> = points.chunks(2).map(|p| 0.5 * (p[0] * p[0] + p[1] * p[1])).collect();
    assert_eq!(read(&s, "e.npy"), energies);
    let lines: String =
        points.chunks(2).map(|p| format!("{{\"values\": [{:?}, {:?}]}}\n", p[0], p[1])).collect();
    let ran = s.given(&["score", "run.toml", "-", "--slope", "lines.npy"], &lines);
    assert_eq!((ran.code, read(&s, "lines.npy")), (Some(0), points.to_vec()), "{ran:?}");
    s.run(&[
        "sample", "run.toml", "--steps", "4", "--start", "x.npy", "--out", "end.npy", "--draws", "path.npz",
    ])
    .ok();
    assert_eq!(read(&s, "end.npy"), points);
    let mut drawn = Vec::new();
    let mut archive = ebm_data::npz::Npz::open(s.path("path.npz")).unwrap();
    archive
        .rows("x", |mut rows| -> ebm_data::Result<()> {
            drawn = rows.next(3)?.into_f64();
            Ok(())
        })
        .unwrap();
    let kept: Vec<f64> = points.chunks(2).flat_map(|p| [p, p].concat()).collect();
    assert_eq!(drawn, kept);
    // In single precision such a number is none.
    let single = DOUBLE.replace("dtype = \"f64\"\n", "");
    fs::write(s.path("single.toml"), single).unwrap();
    s.run(&["score", "single.toml", "x.npy", "--json"]).fails(3, &["x.npy", "sample 2", "finite"]);
}

#[test]
fn directions_of_another_number_or_shape_are_refused_with_both() {
    let s = Scratch::with(DOUBLE);
    doubles(&s, "x.npy", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    doubles(&s, "few.npy", &[1.0, 2.0]);
    let flat = encode_values(&NpyValues::F64(vec![1.0; 6]), &[6]).unwrap();
    fs::write(s.path("flat.npy"), flat).unwrap();
    let ran = s.run(&["score", "run.toml", "x.npy", "--hvp", "few.npy", "h.npy"]);
    assert!(ran.code == Some(2) && ran.err.contains("found 1 directions for at least 3 samples"), "{ran:?}");
    let shape = ["flat.npy", "(n, 2)", "reshape it to [3, 2]"];
    s.run(&["score", "run.toml", "x.npy", "--hvp", "flat.npy", "h.npy"]).fails(3, &shape);
    assert!(!s.path("h.npy").exists());
}

#[test]
fn what_a_command_reads_it_does_not_replace() {
    let s = Scratch::with(DOUBLE);
    doubles(&s, "x.npy", &[1.0, 2.0]);
    doubles(&s, "v.npy", &[3.0, 4.0]);
    let before = ["x.npy", "v.npy", "run.toml"].map(|f| fs::read(s.path(f)).unwrap());
    for (arguments, part) in [
        (&["score", "run.toml", "x.npy", "--slope", "x.npy"][..], "--slope x.npy"),
        (&["score", "run.toml", "x.npy", "--slope", "./x.npy"], "--slope ./x.npy"),
        (&["score", "run.toml", "x.npy", "--hvp", "v.npy", "v.npy"], "--hvp v.npy"),
        (&["score", "run.toml", "npy:path=x.npy", "--energies", "x.npy"], "--energies x.npy"),
        (&["sample", "run.toml", "--start", "x.npy", "--out", "x.npy"], "--out x.npy"),
        (&["eval", "stein", "run.toml", "--samples", "x.npy", "--json", "x.npy"], "--json x.npy"),
        (&["eval", "stein", "run.toml", "--json", "run.toml"], "--json run.toml"),
    ] {
        let told = [part, "read by this very command", "choose another name"];
        s.run(&[arguments, &["--force"]].concat()).fails(2, &told);
        let after = ["x.npy", "v.npy", "run.toml"].map(|f| fs::read(s.path(f)).unwrap());
        assert_eq!(after, before, "{arguments:?}");
    }
    // Another file that is there is replaced, and the same one read twice.
    s.run(&["score", "run.toml", "x.npy", "--hvp", "x.npy", "v.npy", "--force"]).ok();
}

#[test]
fn arrays_of_scores_are_written_though_nobody_reads_the_lines() {
    let s = Scratch::with(DOUBLE);
    let points: Vec<f64> = (0..60_000).map(f64::from).collect();
    doubles(&s, "x.npy", &points);
    let mut child = s.start(&["score", "run.toml", "x.npy", "--slope", "g.npy"]);
    let mut one = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut one).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, read(&s, "g.npy").len()), (Some(0), points.len()), "{ran:?}");
}

#[test]
fn a_configuration_that_is_no_text_is_named_with_the_byte() {
    let s = Scratch::with(DOUBLE);
    fs::write(s.path("latin.toml"), b"format = 1\n# \xe9t\xe9\n").unwrap();
    for command in ["check", "train"] {
        s.run(&[command, "latin.toml"]).fails(2, &["latin.toml", "byte 13 (line 2) is 0xe9", "UTF-8"]);
    }
}

#[test]
fn parts_that_only_their_own_program_moves_are_scored_together() {
    let rbm = r#"format = 1
[run]
steps = 2
batch = 8
[data]
kind = "digits"
binary = "drawn"
[energy]
kind = "rbm"
hidden = 5
centred = true
[sampler]
kind = "chain"
steps = 2
transition = { kind = "block-gibbs" }
[replay]
kind = "random-overwrite"
capacity = 100
[objective]
kind = "contrastive"
[optimiser]
kind = "adam"
rate = 0.01
[generate]
steps = 2
count = 4
"#;
    let s = Scratch::with(rbm);
    s.run(&["train", "run.toml", "--out", "a"]).ok();
    s.run(&["train", "run.toml", "--out", "b", "--seed", "1"]).ok();
    s.run(&["sample", "a", "-n", "5", "--out", "x.npy"]).ok();
    let energies = |model: &str| -> Vec<f64> {
        let ran = s.run(&["score", model, "x.npy"]).ok();
        let energy = |line: &str| line.split(',').nth(2).unwrap().parse().unwrap();
        ran.out.lines().skip(1).map(energy).collect()
    };
    let (a, b, both) = (energies("a"), energies("b"), energies("a and b"));
    // Energies of single precision.
    assert!((0..5).all(|i| (a[i] + b[i] - both[i]).abs() < 1e-4), "{a:?} {b:?} {both:?}");
    // To draw of it says what is wrong, and nothing is written.
    s.run(&["sample", "a and b", "-n", "5", "--out", "y.npy"])
        .fails(2, &["block-gibbs", "laws of coordinates"]);
    assert!(!s.path("y.npy").exists());
}

/// A table of two classes, and a net that is told of them.
const CLASSES: &str = r#"format = 1
[run]
steps = 4
batch = 8
[data]
kind = "table"
path = "trees.csv"
label = "kind"
labels = true
[energy]
kind = "mlp"
hidden = [8]
conditional = true
[sampler]
kind = "chain"
steps = 2
transition = { kind = "langevin", step_size = 0.1 }
[chains]
labels = "kept"
[replay]
kind = "random-overwrite"
capacity = 100
[objective]
kind = "contrastive"
energy_l2 = 1.0
[optimiser]
kind = "adam"
rate = 1e-3
[generate]
steps = 2
count = 4
"#;

fn trees() -> String {
    let row = |i: usize| format!("{}.5,{},{}\n", 3 + i % 5, 100 + 7 * i, ["birch", "oak", "oak"][i % 3]);
    "height,age,kind\n".to_string() + &(0..30).map(row).collect::<String>()
}

#[test]
fn samples_of_classes_name_theirs_and_rows_are_scored_by_the_names_of_columns() {
    let s = Scratch::with(CLASSES);
    fs::write(s.path("trees.csv"), trees()).unwrap();
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let ran = s.run(&["sample", "r", "-n", "12", "--out", "drawn.csv"]).ok();
    let text = fs::read_to_string(s.path("drawn.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("height,age,kind"));
    let classes: Vec<&str> = lines.map(|l| l.rsplit(',').next().unwrap()).collect();
    let count = |class: &str| classes.iter().filter(|c| **c == class).count();
    let (birch, oak) = (count("birch"), count("oak"));
    assert_eq!(birch + oak, 12, "{text}");
    assert!(ran.out.contains(&format!("birch ({birch}), oak ({oak})")), "{ran:?}");
    s.run(&["sample", "r", "--given", "oak", "-n", "3", "--out", "oaks.csv"]).ok();
    let oaks = fs::read_to_string(s.path("oaks.csv")).unwrap();
    assert_eq!(oaks.lines().filter(|l| l.ends_with(",oak")).count(), 3, "{oaks}");
    // The same rows from a file, as CSV and as JSON on standard input.
    let energies = |ran: Ran| -> Vec<String> {
        ran.ok().out.lines().skip(1).map(|l| l.rsplit(',').next().unwrap().into()).collect()
    };
    let file = energies(s.run(&["score", "r", "drawn.csv"]));
    assert_eq!(file.len(), 12);
    assert_eq!(energies(s.given(&["score", "r", "-"], &text)), file);
    let json: String = text.lines().skip(1).fold(String::new(), |all, line| {
        let cells: Vec<&str> = line.split(',').collect();
        all + &format!("{{\"age\": {}, \"height\": {}}}\n", cells[1], cells[0])
    });
    assert_eq!(energies(s.given(&["score", "r", "-"], &json)), file);
    s.given(&["score", "r", "-", "--json"], "{\"age\": 3}\n")
        .fails(3, &["line 1", "without the column `height`"]);
}

#[test]
fn windows_of_several_series_are_cut_within_each_in_training_and_in_scoring() {
    let config = CLASSES
        .replace("label = \"kind\"\nlabels = true", "columns = [\"height\"]\nseries = \"kind\"\nwindow = 3")
        .replace(
            "kind = \"mlp\"\nhidden = [8]\nconditional = true",
            "kind = \"series-net\"\nlayers = [{ filters = 2, kernel = 3 }]\nhidden = [4]",
        )
        .replace("[chains]\nlabels = \"kept\"\n", "");
    let s = Scratch::with(&config);
    fs::write(s.path("trees.csv"), trees()).unwrap();
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let lines = |what: &str| -> Vec<String> {
        let ran = s.run(&["score", "r", what]).ok();
        ran.out.lines().skip(1).map(|l| l.rsplit(',').next().unwrap().to_string()).collect()
    };
    // Ten rows of birches make three windows, twenty of oaks six; the rows of both stand between each other in the file.
    let all = lines("trees.csv");
    let mut sorted: Vec<String> = trees().lines().skip(1).map(String::from).collect();
    sorted.sort_by_key(|l| l.rsplit(',').next().unwrap().to_string());
    fs::write(s.path("sorted.csv"), format!("height,age,kind\n{}\n", sorted.join("\n"))).unwrap();
    assert_eq!((all.len(), lines("sorted.csv")), (9, all));
    // What is drawn has the column too, so it can be scored.
    s.run(&["sample", "r", "-n", "4", "--out", "drawn.csv"]).ok();
    assert!(fs::read_to_string(s.path("drawn.csv")).unwrap().starts_with("kind,height\n0,"));
    assert_eq!(lines("drawn.csv").len(), 4);
}

/// Tensors as safetensors: the weights of the small run's net under names of `nn.Sequential`.
fn weights(s: &Scratch, name: &str, change: impl Fn(usize, usize) -> f32, leave: &str, more: Option<&str>) {
    let sizes: [(&str, &[usize]); 4] =
        [("0.weight", &[8, 64]), ("0.bias", &[8]), ("2.weight", &[1, 8]), ("2.bias", &[1])];
    let all = sizes.into_iter().chain(more.map(|name| (name, &[2][..]))).filter(|(n, _)| *n != leave);
    let tensors = all.enumerate().map(|(k, (name, dims))| {
        let n: usize = dims.iter().product();
        let data = (0..n).flat_map(|i| change(k, i).to_le_bytes()).collect();
        (name.to_string(), (Dtype::F32, dims.to_vec(), data))
    });
    Golden { settings: Default::default(), tensors: tensors.collect() }.save(&s.path(name));
}

#[test]
fn weights_that_cannot_be_meant_are_refused_by_name_and_place() {
    let s = Scratch::with(SMALL);
    let small = |k: usize, i: usize| (k * 31 + i) as f32 / 64.0;
    weights(&s, "nan.safetensors", |k, i| if (k, i) == (2, 5) { f32::NAN } else { small(k, i) }, "", None);
    weights(&s, "bias.safetensors", small, "2.bias", None);
    weights(&s, "odd.safetensors", small, "", Some("log_z"));
    let before = s.tree();
    for (file, parts) in [
        ("nan.safetensors", &["nan.safetensors", "NaN at [0, 5]", "`head.weight`", "finite"][..]),
        ("bias.safetensors", &["`2.bias` is missing", "`head` needs a bias"]),
        ("odd.safetensors", &["`log_z` is neither a weight nor a bias"]),
    ] {
        s.run(&["convert", file, "--config", "run.toml", "--out", "r"]).fails(3, parts);
        assert_eq!(s.tree(), before, "{file}");
    }
}

#[test]
fn weights_for_a_table_come_with_the_units_of_their_inputs() {
    let s = Scratch::with(
        &CLASSES
            .replace("labels = true", "")
            .replace("\nconditional = true", "")
            .replace("[chains]\nlabels = \"kept\"\n", ""),
    );
    fs::write(s.path("trees.csv"), trees()).unwrap();
    let sizes: [(&str, &[usize]); 4] =
        [("0.weight", &[8, 2]), ("0.bias", &[8]), ("2.weight", &[1, 8]), ("2.bias", &[1])];
    let tensors = sizes.map(|(name, dims)| {
        let n: usize = dims.iter().product();
        (name.to_string(), (Dtype::F32, dims.to_vec(), vec![0; 4 * n]))
    });
    Golden { settings: Default::default(), tensors: tensors.into_iter().collect() }
        .save(&s.path("w.safetensors"));
    let ran = s.run(&["convert", "w.safetensors", "--config", "run.toml", "--out", "r"]).ok();
    for part in ["height = (cell - 5.5) / ", "age = (cell - ", "standardise = false"] {
        assert!(ran.out.contains(part), "{part} is not in {ran:?}");
    }
}
