//! Small studies of a network of a few hundred parameters, from beginning to end.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ebm_plugins as _;

use super::*;
use crate::run::run_directory::RunDirectory;

const BASE: &str = r#"
format = 1
run = { batch = 8 }
data = { kind = "digits" }
energy = { kind = "mlp", hidden = [8] }
sampler = { kind = "chain", steps = 2, transition = { kind = "langevin", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] } }
replay = { kind = "random-overwrite", capacity = 100 }
objective = { kind = "contrastive", energy_l2 = 1.0 }
optimiser = { kind = "adam", rate = 1e-3, clip_norm = 0.5, average = 0.9 }
observer = [{ kind = "progress" }]
"#;

/// `wild` has energies beyond the bound at once, `nan` none that are numbers.
const STUDY: &str = r#"
format = 1
name = "small"
base = "run.toml"
seeds = [1, 2]
set = ["run.batch=6"]
[limits]
steps = 12
max_energy = 50.0
report_every = 4
measure = true
[[variant]]
name = "calm"
[[variant]]
name = "kl"
set = ["objective.kl.weight=1.0"]
unset = ["optimiser.clip_norm"]
[[variant]]
name = "wild"
set = ["optimiser.rate=100.0"]
[[variant]]
name = "nan"
set = ["optimiser.rate=1e38"]
"#;

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("run.toml"), BASE).unwrap();
        Scratch(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn study(&self, text: &str) -> Study {
        Study::text("study.toml", text, self.0.path()).unwrap()
    }

    fn options(&self, out: &str) -> StudyOptions {
        StudyOptions { out: Some(self.path(out)), ..StudyOptions::default() }
    }
}

/// The numbers of a run but for its times.
fn numbers(directory: &Path) -> String {
    let mut series = crate::report::series::Series::read(directory).unwrap();
    series.values.retain(|name, _| !name.starts_with("seconds"));
    format!("{series:?}{}", std::fs::read_to_string(directory.join("result.json")).unwrap())
}

#[test]
fn a_grid_is_run_once_and_reported() {
    let s = Scratch::new();
    let study = s.study(STUDY);
    let done = study.work(&s.options("a")).unwrap();
    assert_eq!((done.finished, done.of, done.interrupted), (8, 8, false));
    let by: Vec<(&str, u64, u64)> =
        done.summary.variants.iter().map(|v| (v.name.as_str(), v.runs, v.blown_up)).collect();
    assert_eq!(by, [("calm", 2, 0), ("kl", 2, 0), ("wild", 2, 2), ("nan", 2, 2)]);
    let kl = &done.summary.variants[1];
    assert!(kl.medians.contains_key("grad.kl") && kl.medians.contains_key("kl/cd"), "{kl:?}");
    assert!(kl.medians.contains_key("near"), "{kl:?}");
    // Rounding of a few logarithms.
    assert!((kl.p.unwrap() - 1.0).abs() < 1e-12 && done.summary.variants[0].p.is_none());
    // 0 of 2 against 2 of 2: one of six tables, and its mirror.
    assert!((done.summary.variants[2].p.unwrap() - 1.0 / 3.0).abs() < 1e-12);
    let nan = &done.summary.runs[7].record;
    assert!(nan.variant == "nan" && nan.ended == Ended::BlownUp && nan.steps < 12, "{nan:?}");
    let table = std::fs::read_to_string(s.path("a/report.md")).unwrap();
    assert!(table.contains("| wild | 2 | 2 |") && table.contains("‖grad kl‖"), "{table}");
    let csv = std::fs::read_to_string(s.path("a/runs.csv")).unwrap();
    assert_eq!((csv.lines().count(), csv.matches("blown-up").count()), (9, 4), "{csv}");
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(s.path("a/report.json")).unwrap()).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), 8);
    assert_eq!(done.files.len(), 7, "{:?}", done.files);
    assert!(!s.path("a/calm-1/checkpoints").exists());
    // Nothing is run again.
    let before = std::fs::metadata(s.path("a/calm-1/metrics.jsonl")).unwrap().modified().unwrap();
    let again = study.work(&StudyOptions { report: true, ..s.options("a") }).unwrap();
    study.work(&s.options("a")).unwrap();
    assert_eq!(before, std::fs::metadata(s.path("a/calm-1/metrics.jsonl")).unwrap().modified().unwrap());
    assert_eq!(again.summary.markdown(), done.summary.markdown());
}

#[test]
fn in_parts_and_after_interruptions_the_numbers_are_the_same() {
    let s = Scratch::new();
    let study = s.study(STUDY);
    study.work(&s.options("straight")).unwrap();
    // Another order, a part at a time.
    let part = |only: &str, seed| StudyOptions { only: Some(only.into()), seed, ..s.options("parts") };
    study.work(&part("wild", None)).unwrap();
    let one = study.work(&part("kl", Some(2))).unwrap();
    assert_eq!((one.finished, one.of), (3, 8));
    // A stop that is set before the first step of a run leaves its checkpoint of no steps.
    let stop = ebm_core::Stop::default();
    stop.set();
    let stopped = study.work(&StudyOptions { stop, ..s.options("parts") }).unwrap();
    assert!(stopped.interrupted && stopped.finished == 3);
    // As after a kill: a run with a checkpoint of the middle and numbers beyond it, ...
    let unit = study.units(&s.path("parts"), &[]).unwrap().remove(0);
    assert_eq!(unit.name(), "calm-1");
    unit.cut_short(5).unwrap();
    let target = s.path("parts/calm-1");
    let mut torn = std::fs::read_to_string(target.join("metrics.jsonl")).unwrap();
    torn.push_str("{\"step\":6,\"of\":12,\"values\":{}}\n{\"step\":7,\"of\":12,\"va");
    std::fs::write(target.join("metrics.jsonl"), torn).unwrap();
    // ... and one of which no checkpoint was finished.
    let unit = study.units(&s.path("parts"), &[]).unwrap().remove(4);
    assert_eq!(unit.name(), "calm-2");
    std::fs::create_dir_all(&unit.directory).unwrap();
    unit.lay_claim().unwrap();
    std::fs::create_dir_all(s.path("parts/calm-2/checkpoints/.step-1.partial")).unwrap();
    let rest = study.work(&s.options("parts")).unwrap();
    assert_eq!(rest.finished, 8);
    for name in ["calm-1", "calm-2", "kl-1", "kl-2", "wild-1", "nan-2"] {
        let (a, b) = (s.path("straight").join(name), s.path("parts").join(name));
        assert_eq!(numbers(&a), numbers(&b), "{name}");
    }
}

#[test]
fn results_of_other_settings_do_not_mix() {
    let s = Scratch::new();
    let few = STUDY.replace("[1, 2]", "[1]");
    s.study(&few).work(&s.options("a")).unwrap();
    for (from, to) in [
        ("rate=100.0", "rate=99.0"),
        ("steps = 12", "steps = 13"),
        ("max_energy = 50.0", "max_energy = 60.0"),
        ("run.batch=6", "run.batch=7"),
    ] {
        let e = s.study(&few.replace(from, to)).work(&s.options("a")).unwrap_err();
        assert!(e.to_string().contains("other settings"), "{to}: {e}");
    }
    std::fs::write(s.path("run.toml"), BASE.replace("[8]", "[9]")).unwrap();
    assert!(s.study(&few).work(&s.options("a")).unwrap_err().to_string().contains("other settings"));
    std::fs::write(s.path("run.toml"), BASE).unwrap();
    // More seeds are more of the same study.
    let more = StudyOptions { only: Some("calm".into()), ..s.options("a") };
    assert_eq!(s.study(STUDY).work(&more).unwrap().finished, 5);
    // What is no run of a study is left alone.
    std::fs::create_dir_all(s.path("b/calm-1")).unwrap();
    std::fs::write(s.path("b/calm-1/mine.txt"), "x").unwrap();
    let e = s.study(STUDY).work(&s.options("b")).unwrap_err().to_string();
    assert!(e.contains("no run of a study") && !s.path("b/calm-1/unit.json").exists(), "{e}");
}

#[test]
fn a_run_that_another_program_holds_is_left_to_it() {
    let s = Scratch::new();
    let study = s.study(&STUDY.replace("[1, 2]", "[1]"));
    std::fs::create_dir_all(s.path("a/kl-1")).unwrap();
    let held = RunDirectory::try_hold(&s.path("a/kl-1")).unwrap().unwrap();
    let done = study.work(&s.options("a")).unwrap();
    assert_eq!((done.elsewhere, done.finished), (vec!["kl-1".to_string()], 3));
    drop(held);
    assert_eq!(study.work(&s.options("a")).unwrap().finished, 4);
}

#[test]
fn a_run_that_fails_keeps_no_other_from_its_result() {
    let s = Scratch::new();
    let (kl, absent) = ("\"objective.kl.weight=1.0\"", "'data={ kind = \"npy\", path = \"none.npy\" }'");
    let study = s.study(&STUDY.replace("[1, 2]", "[1]").replace(kl, absent));
    let done = study.work(&s.options("a")).unwrap();
    // Those behind it in the order of the file have results and stand in the table.
    assert_eq!((done.finished, done.of), (3, 4));
    assert_eq!(done.failed.iter().map(|f| f.run.as_str()).collect::<Vec<_>>(), ["kl-1"]);
    assert!(done.failed[0].why.contains("none.npy"), "{:?}", done.failed);
    let table = std::fs::read_to_string(s.path("a/report.md")).unwrap();
    assert!(table.contains("| kl | 0 |") && table.contains("| wild | 1 | 1 |"), "{table}");
    // It computed nothing, so it may be put right in the same folder, and the rest is not run again.
    let mended = s.study(&STUDY.replace("[1, 2]", "[1]")).work(&s.options("a")).unwrap();
    assert_eq!((mended.finished, mended.failed.len()), (4, 0));
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let s = Scratch::new();
    let e = |text: &str, options: StudyOptions| s.study(text).work(&options).unwrap_err().to_string();
    let text = e(&STUDY.replace("rate=1e38", "rat=1.0"), s.options("a"));
    assert!(text.contains("optimiser.rat") && !s.path("a").exists(), "{text}");
    let text = e(&STUDY.replace("\"optimiser.clip_norm\"", "\"optimiser.clip\""), s.options("a"));
    assert!(text.contains("no such setting") && !s.path("a").exists(), "{text}");
    let only = StudyOptions { only: Some("clam".into()), ..s.options("a") };
    assert!(e(STUDY, only).contains("calm, kl"));
    let seed = StudyOptions { seed: Some(9), ..s.options("a") };
    assert!(e(STUDY, seed).contains("[1, 2]"));
    let report = StudyOptions { report: true, ..s.options("a") };
    assert!(e(STUDY, report).contains("no finished run"));
    let text = e(&STUDY.replace("run.toml", "none.toml"), s.options("a"));
    assert!(text.contains("none.toml"), "{text}");
}

#[test]
fn the_studies_of_the_repository_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/studies");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is missing", folder.display());
        return;
    };
    let mut studies = 0;
    for path in files.map(|f| f.unwrap().path()).filter(|p| p.is_file()) {
        if std::fs::read_to_string(&path).unwrap().contains("[[variant]]") {
            let study = Study::file(&path).unwrap();
            let units =
                study.units(Path::new("none"), &[]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(units.len(), study.variants.len() * study.seeds.len());
            studies += 1;
        }
    }
    assert!(studies >= 3, "{studies}");
}
