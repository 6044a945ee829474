//! A trained model needs neither its training data nor the place where it was trained.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::support::{SMALL, Scratch};

/// The small run on points of a file, `points.npy` in the folder of the configuration.
fn on_points() -> String {
    SMALL
        .replace("kind = \"digits\"", "kind = \"npy\"\npath = \"points.npy\"")
        .replace("clamp = [0.0, 1.0]", "clamp = [-3.0, 3.0]")
}

fn points(file: &Path) {
    let values: Vec<f32> = (0..128).map(|i| (i as f32 * 0.7).sin()).collect();
    ebm_data::npy::write(file, &values, &[64, 2]).unwrap();
}

/// The small run on pictures of a file, `pictures.npy`.
fn on_pictures() -> String {
    SMALL.replace("kind = \"digits\"", "kind = \"npy\"\npath = \"pictures.npy\"")
}

fn pictures(file: &Path) {
    let values: Vec<f32> = (0..40 * 64).map(|i| (i % 61) as f32 / 61.0).collect();
    ebm_data::npy::write(file, &values, &[40, 1, 8, 8]).unwrap();
}

/// No file of a folder but those that end in these names the scratch folder.
fn names_no_place(s: &Scratch, folder: &str) {
    let place = fs::canonicalize(s.path(".")).unwrap().display().to_string();
    for name in s.tree().iter().filter(|name| name.starts_with(folder) && s.path(name).is_file()) {
        let bytes = fs::read(s.path(name)).unwrap();
        assert!(!bytes.windows(place.len()).any(|w| w == place.as_bytes()), "{name} names {place}");
    }
}

#[test]
fn a_model_is_used_without_its_training_data() {
    let s = Scratch::with(&on_points());
    fs::write(s.path("pictures.toml"), on_pictures()).unwrap();
    points(&s.path("points.npy"));
    pictures(&s.path("pictures.npy"));
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    s.run(&["train", "pictures.toml", "--out", "p"]).ok();
    s.run(&["sample", "r", "-n", "5", "--out", "before.npy"]).ok();
    fs::copy(s.path("points.npy"), s.path("other.npy")).unwrap();
    fs::remove_file(s.path("points.npy")).unwrap();
    fs::remove_file(s.path("pictures.npy")).unwrap();

    s.run(&["sample", "r", "-n", "5", "--out", "x.npy"]).ok();
    assert_eq!(fs::read(s.path("x.npy")).unwrap(), fs::read(s.path("before.npy")).unwrap());
    s.run(&["sample", "r", "-n", "5", "--out", "x.png"]).ok();
    s.run(&["score", "r", "x.npy"]).ok();
    s.run(&["eval", "chains", "r", "--chains", "2", "--steps", "20", "--warm-up", "2"]).ok();
    s.run(&[
        "eval",
        "ood",
        "r",
        "--in",
        "other.npy",
        "--out",
        "x.npy",
        "rule:noise",
        "--score",
        "energy",
        "--resamples",
        "9",
    ])
    .ok();
    s.run(&["eval", "plane", "r", "--against", "{ kind = \"rings\" }", "--half", "4", "--cells", "20"]).ok();
    s.run(&["eval", "log-z", "r", "--rungs", "3", "--chains", "4", "--base", "{ kind = \"gaussian\" }"]).ok();
    s.run(&["eval", "samples", "r", "--against", "other.npy", "-n", "32"]).ok();
    s.run(&["eval", "threshold", "r", "--in", "other.npy", "--fpr", "0.1"]).ok();
    s.run(&["score", "r", "other.npy", "--threshold"]).ok();
    s.run(&["report", "r", "p", "--out", "report.html"]).ok();
    let page = fs::read_to_string(s.path("report.html")).unwrap();
    assert!(page.contains("Energies of the data are not shown") && page.contains("replay buffer"));
    names_no_place(&s, "report.html");
    let both = s.run(&["compose", "r and not 0.5 * r"]).ok().out;
    fs::write(s.path("both.toml"), both).unwrap();
    s.run(&["sample", "both.toml", "-n", "3", "--out", "y.npy"]).ok();
    s.run(&["score", "r and r", "x.npy"]).ok();
    let digit: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
    let sheet = ebm_data::png::Sheet { gap: 0, ..Default::default() };
    sheet.write(s.path("image.png"), &digit, (1, 1, 8, 8)).unwrap();
    s.run(&["restore", "p", "--image", "image.png", "--hole", "2,2,4,4", "-n", "2", "--out", "filled.png"])
        .ok();

    // What reads the data says that they are not there and where they were looked for, and takes them from another place.
    s.run(&["eval", "ood", "r", "--out", "x.npy"]).fails(3, &["points.npy", "looked for as", "--data"]);
    s.run(&["resume", "r", "--steps", "8"]).fails(3, &["points.npy", "looked for as", "--data"]);
    s.run(&["resume", "r", "--steps", "8", "--data", "other.npy"]).ok();
    s.run(&["eval", "log-z", "r", "--rungs", "3", "--chains", "4", "--data", "other.npy"]).ok();
}

#[test]
fn a_folder_that_moves_keeps_its_runs() {
    let s = Scratch::with("");
    fs::create_dir_all(s.path("p/conf")).unwrap();
    fs::write(s.path("p/conf/run.toml"), on_points()).unwrap();
    points(&s.path("p/conf/points.npy"));
    // From another folder than that of the configuration, so that its place has to be remembered.
    s.run(&["train", "p/conf/run.toml", "--out", "p/runs/a"]).ok();
    s.run(&["train", "p/conf/run.toml", "--data", "p/conf/points.npy", "--out", "p/runs/b"]).ok();
    let part = on_points().replace(
        "kind = \"mlp\"\nhidden = [8]",
        "kind = \"checkpoint\"\npath = \"../runs/a\"\ntrainable = true",
    );
    fs::write(s.path("p/conf/part.toml"), part).unwrap();
    s.run(&["train", "p/conf/part.toml", "--out", "p/runs/c"]).ok();
    s.run(&["compose", "p/runs/a and p/runs/b", "--out", "p/both.toml"]).ok();
    names_no_place(&s, "p/");

    fs::rename(s.path("p"), s.path("q")).unwrap();
    for run in ["q/runs/a", "q/runs/b", "q/runs/c"] {
        s.run(&["sample", run, "-n", "2", "--out", "x.npy", "--force"]).ok();
        s.run(&["resume", run, "--steps", "8"]).ok();
        s.run(&["eval", "log-z", run, "--rungs", "3", "--chains", "4"]).ok();
    }
    s.run(&["sample", "q/both.toml", "-n", "2", "--out", "y.npy"]).ok();
    names_no_place(&s, "q/");

    // A run alone, asked from the folder of its data, and from another with their place.
    fs::rename(s.path("q/runs/a"), s.path("alone")).unwrap();
    let there = |arguments: &[&str]| {
        let mut command = s.command(arguments);
        crate::support::Ran::of(command.current_dir(s.path("q/conf")).output().unwrap())
    };
    there(&["resume", "../../alone", "--steps", "9"]).ok();
    s.run(&["resume", "alone", "--steps", "10"]).fails(3, &["points.npy", "looked for as", "--data"]);
    s.run(&["resume", "alone", "--steps", "10", "--data", "q/conf/points.npy"]).ok();
    s.run(&["resume", "alone", "--steps", "11"]).ok();
    names_no_place(&s, "alone/");
}
