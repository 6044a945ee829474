//! What is outside: tables, rules, thresholds, and the filter over streams.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::support::{SMALL, Scratch};
use serde_json::Value;

/// A run of a few steps on digits, and files beside it.
fn trained() -> Scratch {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r", "--set", "run.steps=60"]).ok();
    s
}

/// `n` images in the format of MNIST, in the file `name`.
fn images(s: &Scratch, name: &str, n: u32, side: u32) {
    let pixels: Vec<u8> = (0..n * side * side).map(|i| (i * i % 251) as u8).collect();
    s.idx(name, &pixels, &[n, side, side]);
}

#[test]
fn a_program_asks_for_the_same_table() -> Result<(), Box<dyn std::error::Error>> {
    let s = trained();
    let run = s.path("r");
    // ANCHOR: program
    let model = ebm::Model::open(&run, &[])?;
    let options = ebm::measure::OodOptions { outside: vec!["rule:blur".into()], ..Default::default() };
    let report = ebm::measure::ood(&model, &options)?;
    for row in &report.rows {
        println!("{} by {}: AUROC {:.3}", row.outside, row.score, row.figures.auroc.value);
    }
    // ANCHOR_END: program
    // Of an energy of one term, `terms` says nothing that `energy` does not.
    let scores: Vec<String> = report.rows.iter().map(|row| row.score.to_string()).collect();
    assert_eq!(scores, ["energy", "grad-norm", "typicality"]);
    assert!(report.rows.iter().all(|row| (0.0..=1.0).contains(&row.figures.auroc.value)));
    Ok(())
}

const RULES: [&str; 5] = ["rule:uniform", "rule:noise", "rule:constant", "rule:blur", "rule:interpolation"];

#[test]
fn every_rule_and_score_has_its_figures_and_the_same_twice() {
    let s = trained();
    let evaluate = |json: &str, picture: &str, seed: &str| {
        let fixed =
            ["eval", "ood", "r", "--resamples", "50", "-n", "200", "--json", json, "--picture", picture];
        s.run(&[&fixed[..], &["--seed", seed, "--out"], &RULES].concat()).ok()
    };
    let ran = evaluate("a.json", "a.png", "0");
    let a = s.json("a.json");
    assert_eq!(a["inside"]["count"], 200);
    assert_eq!(a["rows"].as_array().unwrap().len(), RULES.len() * 3, "{}", ran.out);
    let auroc = |of: &Value, outside: &str, score: &str| {
        let rows = of["rows"].as_array().unwrap();
        let row = rows.iter().find(|r| r["outside"] == outside && r["score"] == score).unwrap();
        for figure in ["auroc", "aupr_in", "aupr_out", "fpr95"] {
            let f = |k: &str| row["figures"][figure][k].as_f64().unwrap();
            assert!(0.0 <= f("low") && f("low") <= f("high") && f("high") <= 1.0, "{row}");
        }
        let bins = row["histogram"]["outside"].as_array().unwrap();
        assert_eq!(bins.iter().map(|b| b.as_u64().unwrap()).sum::<u64>(), 200);
        row["figures"]["auroc"]["value"].as_f64().unwrap()
    };
    // Even a model of 60 steps knows that digits are not noise, and that less noise is more like them.
    assert!(auroc(&a, "rule:uniform", "energy") > 0.9, "{}", ran.out);
    assert!(ran.out.contains("rule:interpolation") && ran.out.contains("AUROC"), "{}", ran.out);
    evaluate("b.json", "b.svg", "0");
    assert_eq!(fs::read(s.path("a.json")).unwrap(), fs::read(s.path("b.json")).unwrap());
    assert!(fs::read(s.path("a.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(fs::read_to_string(s.path("b.svg")).unwrap().starts_with("<svg"));
    evaluate("c.json", "c.png", "1");
    assert_ne!(fs::read(s.path("a.json")).unwrap(), fs::read(s.path("c.json")).unwrap());
}

#[test]
fn a_set_against_itself_is_undecided_and_pieces_do_not_matter() {
    let s = trained();
    let evaluate = |name: &str, batch: &str| {
        s.run(&[
            "eval",
            "ood",
            "r",
            "--out",
            "digits",
            "--batch",
            batch,
            "--json",
            name,
            "--resamples",
            "20",
        ])
        .ok();
        s.json(name)
    };
    let (a, b) = (evaluate("a.json", "7"), evaluate("b.json", "360"));
    assert_eq!(a["inside"]["count"], 360);
    for (x, y) in a["rows"].as_array().unwrap().iter().zip(b["rows"].as_array().unwrap()) {
        // The very same samples: half of the pairs, up to rows of a matrix product that depend on the batch.
        for row in [x, y] {
            let auroc = row["figures"]["auroc"]["value"].as_f64().unwrap();
            assert!((auroc - 0.5).abs() < 1e-3, "{row}");
        }
    }
}

#[test]
fn sets_of_other_sizes_are_refused_or_fitted() {
    let s = trained();
    images(&s, "big", 40, 28);
    let base = ["eval", "ood", "r", "--resamples", "9", "--json", "a.json", "--out", "big"];
    s.run(&base).fails(3, &["big", "[28, 28]", "[1, 8, 8]", "--fit"]);
    assert!(!s.path("a.json").exists());
    s.run(&[&base[..], &["--fit"]].concat()).ok();
    assert_eq!(s.json("a.json")["outside"][0]["count"], 40);
    s.run(&["eval", "ood", "r", "--resamples", "9", "--fit", "-n", "30", "--out", "mnist-5k"]).ok();
}

#[test]
fn terms_of_a_composition_are_scores_of_their_own() {
    let s = trained();
    let both = "format = 1\n[energy]\nkind = \"sum\"\nparts = [\n\
        { name = \"a\", energy = { kind = \"checkpoint\", path = \"r\" } },\n\
        { name = \"b\", weight = 0.5, energy = { kind = \"checkpoint\", path = \"r\" } },\n]\n";
    fs::write(s.path("both.toml"), both).unwrap();
    let short = ["--resamples", "9", "--json", "a.json", "--in", "digits"];
    s.run(&[&["eval", "ood", "both.toml", "--out", "rule:uniform"][..], &short].concat()).ok();
    let rows = s.json("a.json")["rows"].clone();
    let scores: Vec<&str> = rows.as_array().unwrap().iter().map(|r| r["score"].as_str().unwrap()).collect();
    assert_eq!(scores, ["energy", "term.a.energy", "term.b.energy", "grad-norm", "typicality"]);
    // A multiple of the same energy ranks samples the same, up to a few pairs that rounding turns.
    let auroc = |i: usize| rows[i]["figures"]["auroc"]["value"].as_f64().unwrap();
    assert!((auroc(0) - auroc(2)).abs() < 1e-3, "{rows}");
    s.run(&["eval", "ood", "both.toml", "--in", "digits", "--out", "rule:uniform", "--score", "term.c"])
        .fails(2, &["term.c", "a.energy, b.energy"]);
}

#[test]
fn a_threshold_is_kept_used_and_never_overwritten() {
    let s = trained();
    let ran = s.run(&["eval", "threshold", "r", "--fpr", "0.1"]).ok();
    assert!(ran.out.contains("10 %") && ran.out.contains("rank 325 of 360"), "{ran:?}");
    let first = fs::read(s.path("r/thresholds/1.json")).unwrap();
    s.run(&["eval", "threshold", "r", "--fpr", "0.5", "--score", "grad-norm"]).ok();
    assert_eq!(fs::read(s.path("r/thresholds/1.json")).unwrap(), first);
    // The images that it was fitted on: a tenth of them at most is outside.
    let outside = |arguments: &[&str]| {
        let ran = s.run(&[&["score", "r"][..], arguments].concat()).ok();
        (ran.out.lines().filter(|l| l.ends_with(",false")).count(), ran.out.lines().count() - 1, ran)
    };
    let (out, of, ran) = outside(&["digits", "--threshold=1"]);
    assert_eq!((out, of), (35, 360), "{}", ran.out);
    assert!(ran.out.starts_with("file,index,energy,inside\ndigits,0,"), "{}", ran.out);
    let (out, of, ran) = outside(&["digits", "--threshold"]);
    assert!(ran.out.starts_with("file,index,energy,grad-norm,inside\n"), "{}", ran.out);
    assert!(out <= 180 && out > 150 && of == 360, "{out}");
    // Noise is outside.
    let noise: Vec<f32> =
        (0u32..6400).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0).collect();
    s.npy("noise.npy", &noise, &[100, 1, 8, 8]);
    // The same number of updates with another seed are other weights.
    s.run(&["train", "run.toml", "--out", "other", "--seed", "1", "--steps", "60"]).ok();
    s.run(&["score", "other", "digits", "--threshold=r/thresholds/1.json"]).fails(2, &["another seed"]);
    let (out, of, _) = outside(&["noise.npy", "--threshold=r/thresholds/1.json"]);
    assert!(out > 90 && of == 100, "{out}");
    // A run that has learned more needs another one.
    s.run(&["resume", "r", "--steps", "62"]).ok();
    s.run(&["score", "r", "digits", "--threshold"]).fails(2, &["60 updates", "62", "ebm eval threshold r"]);
}

#[test]
fn thresholds_that_promise_nothing_are_refused() {
    let s = trained();
    let tree = s.tree();
    s.run(&["score", "r", "digits", "--threshold"]).fails(2, &["no threshold yet", "ebm eval threshold r"]);
    s.run(&["eval", "threshold", "r", "--fpr", "0.001"]).fails(2, &["360", "at least 999"]);
    s.run(&["eval", "threshold", "r", "--fpr", "1.5"]).fails(2, &["1.5", "(0, 1)"]);
    s.run(&["eval", "threshold", "r", "--score", "energie"]).fails(2, &["energie", "grad-norm"]);
    s.run(&["eval", "threshold", "run.toml"]).fails(2, &["run.toml", "folder of a run"]);
    assert_eq!(s.tree(), tree);
    fs::create_dir(s.path("r/thresholds")).unwrap();
    fs::write(s.path("r/thresholds/7.json"), "{}").unwrap();
    s.run(&["score", "r", "digits", "--threshold"]).fails(3, &["7.json", "is no threshold"]);
}

#[test]
fn a_stream_has_a_line_for_each_line() {
    let s = trained();
    s.run(&["eval", "threshold", "r"]).ok();
    s.run(&["sample", "r", "--n", "1", "--steps", "2", "--out", "x.npy"]).ok();
    let values: Vec<String> = (0..64).map(|i| format!("{:.3}", f64::from(i) / 64.0)).collect();
    let object = |id: &str| format!("{{\"id\": \"{id}\", \"values\": [{}]}}\n", values.join(","));
    let ran =
        s.given(&["score", "r", "-", "--threshold", "--json"], &(object("a") + "\n" + &object("b"))).ok();
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert_eq!(
        (&lines[0]["file"], &lines[1]["file"], &lines[1]["index"]),
        (&"a".into(), &"b".into(), &2.into())
    );
    assert!(lines[0]["inside"].is_boolean() && lines[0]["energy"].is_f64());
    assert_eq!(lines[0]["energy"], lines[1]["energy"]);
    // The same samples from files of each format have the same energies.
    let values: Vec<f32> = (0..64).map(|i| (i as f32 + 0.5) / 256.0).collect();
    s.npy("a.npy", &values, &[1, 1, 8, 8]);
    let mut file = vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 8];
    file.extend(0u8..64);
    fs::write(s.path("a-idx3-ubyte"), file).unwrap();
    let energy = |what: &str| {
        let ran = s.run(&["score", "r", what]).ok();
        ran.out.lines().nth(1).unwrap().split(',').nth(2).unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(energy("a.npy"), energy("a-idx3-ubyte"));
    let wrong = s.given(&["score", "r", "-"], "no-such.png\n");
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    assert!(wrong.err.contains("no-such.png"), "{wrong:?}");
    let wrong = s.given(&["score", "r", "-"], "");
    assert!(wrong.code == Some(3) && wrong.err.contains("holds no sample"), "{wrong:?}");
}

#[cfg(unix)]
#[test]
fn a_line_is_answered_before_the_next_one_is_waited_for() {
    use std::io::{BufRead as _, BufReader};
    let s = trained();
    let mut child =
        s.command(&["score", "r", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "file,index,energy");
    let object = format!("{{\"values\": [{}]}}\n", vec!["0.5"; 64].join(","));
    for i in 0..3 {
        input.write_all(object.as_bytes()).unwrap();
        // Without an answer the test would wait for ever here.
        assert!(output.next().unwrap().unwrap().starts_with(&format!("-,{i},")));
    }
    drop(input);
    assert!(output.next().is_none() && child.wait().unwrap().success());
}

#[test]
fn bad_sets_have_one_clear_error_and_leave_everything_as_it_was() {
    let s = trained();
    s.npy("nan.npy", &[vec![0.5; 64], vec![f32::NAN; 64]].concat(), &[2, 1, 8, 8]);
    s.npy("empty.npy", &[], &[0, 1, 8, 8]);
    s.npy("points.npy", &[0.0; 4], &[2, 2]);
    s.npy("flat.npy", &[0.5; 64 * 30], &[30, 1, 8, 8]);
    fs::create_dir(s.path("nothing")).unwrap();
    images(&s, "cut", 3, 8);
    let whole = fs::read(s.path("cut")).unwrap();
    fs::write(s.path("cut"), &whole[..100]).unwrap();
    fs::write(s.path("text"), "not an image at all").unwrap();
    fs::write(s.path("mine.json"), "mine").unwrap();
    let tree = s.tree();
    let evaluate =
        |arguments: &[&str]| s.run(&[&["eval", "ood", "r", "--resamples", "9"][..], arguments].concat());
    for (set, parts) in [
        ("no-such-set", &["no-such-set", "no file or folder"][..]),
        ("nan.npy", &["nan.npy", "sample 1", "NaN"]),
        ("empty.npy", &["empty.npy", "holds no sample"]),
        ("points.npy", &["points.npy", "[2]", "[1, 8, 8]"]),
        ("nothing", &["nothing", "without pictures"]),
        ("cut", &["cut", "bytes"]),
        ("text", &["text", "magic number of an IDX file"]),
    ] {
        evaluate(&["--out", set, "--json", "new.json", "--picture", "new.png"]).fails(3, parts);
        evaluate(&["--in", set, "--out", "digits"]).fails(3, parts);
        s.run(&["eval", "threshold", "r", "--in", set]).fails(3, parts);
    }
    evaluate(&["--out", "digits", "--json", "mine.json"])
        .fails(2, &["mine.json", "already exists", "--force"]);
    evaluate(&["--out", "digits", "--picture", "a.gif"]).fails(2, &["a.gif", ".svg"]);
    evaluate(&["--out", "digits", "--json", "no/a.json"]).fails(2, &["no/a.json", "not there"]);
    evaluate(&["--out", "rule:nose"]).fails(2, &["rule:nose", "rule:noise"]);
    evaluate(&["--out", "digits:labls=true"]).fails(2, &["labls", "labels"]);
    evaluate(&["--out", "digits", "--level", "1"]).fails(2, &["--level 1"]);
    evaluate(&["--out", "digits", "--score", "enrgy"]).fails(2, &["enrgy", "typicality"]);
    assert_eq!(s.tree(), tree);
    assert_eq!(fs::read_to_string(s.path("mine.json")).unwrap(), "mine");
    // Equal scores are no error: nothing is told apart.
    let ran = evaluate(&["--in", "flat.npy", "--out", "flat.npy", "--score", "energy"]).ok();
    assert!(ran.out.contains("0.500 ["), "{ran:?}");
    // Of a handful nothing can be said.
    s.npy("few.npy", &[0.5; 64 * 4], &[4, 1, 8, 8]);
    evaluate(&["--out", "few.npy"]).fails(2, &["few.npy: found 4 samples, wanted at least 5"]);
    evaluate(&["--out", "digits", "--json", "mine.json", "--force", "-n", "20"]).ok();
    assert!(s.json("mine.json")["rows"].is_array());
}
