//! `ebm study` as a command: what it runs, refuses and leaves.

#![allow(clippy::unwrap_used)]

use std::process::ExitCode;

use ebm_plugins as _;

const BASE: &str = r#"
format = 1
run = { batch = 8 }
data = { kind = "digits" }
energy = { kind = "mlp", hidden = [8] }
sampler = { kind = "chain", steps = 2, transition = { kind = "langevin", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] } }
replay = { kind = "random-overwrite", capacity = 100 }
objective = { kind = "contrastive", energy_l2 = 1.0 }
optimiser = { kind = "adam", rate = 1e-3, clip_norm = 0.5 }
"#;

const STUDY: &str = r#"
format = 1
name = "small"
base = "run.toml"
seeds = [1]
[limits]
steps = 4
max_energy = 50.0
[[variant]]
name = "calm"
[[variant]]
name = "free"
unset = ["optimiser.clip_norm"]
"#;

#[test]
fn a_study_runs_is_continued_and_is_not_mixed_with_another() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.toml"), BASE).unwrap();
    std::fs::write(folder.path().join("study.toml"), STUDY).unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (file, out) = (place("study.toml"), place("a"));
    let code = |arguments: &[&str]| {
        let all = ["ebm", "study", file.as_str(), "--out", out.as_str(), "--log", "error"];
        // Exit codes can only be compared as they are shown.
        format!("{:?}", ebm_cli::run(all.iter().chain(arguments)))
    };
    let (done, usage) = (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::from(2)));
    assert_eq!(code(&["--report"]), usage);
    assert_eq!(code(&["--only", "calm", "--set", "run.batch=5"]), done);
    assert_eq!(code(&[]), usage, "run with other settings");
    assert_eq!(code(&["--set", "run.batch=5", "--json"]), done);
    let record = std::fs::read_to_string(folder.path().join("a/free-1/result.json")).unwrap();
    assert!(record.contains("survived"), "{record}");
}
