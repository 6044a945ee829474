//! TensorBoard's own reader sees what `metrics.jsonl` has, also after a run was cut off and resumed.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use crate::support::{SMALL, Scratch};

const OBSERVER: &str = r#"
[[observer]]
kind = "tensorboard"
every = 2
histograms = 3
rows = 20
sheets = 4
count = 9
what = "both"
[[observer]]
kind = "histogram"
every = 2
rows = 20
"#;

#[test]
fn tensorboards_own_reader_agrees_with_the_metrics() {
    let s = Scratch::with(&format!("{SMALL}{OBSERVER}"));
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    // As after a kill: the last checkpoint is gone, so steps 4 to 6 are done again, and a record is cut.
    std::fs::remove_dir_all(s.path("r/checkpoints/step-00000006")).unwrap();
    let first = std::fs::read_dir(s.path("r/tensorboard")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, &bytes[..bytes.len() - 5]).unwrap();
    s.run(&["resume", "r", "--steps", "9"]).ok();
    assert_eq!(std::fs::read_dir(s.path("r/tensorboard")).unwrap().count(), 2);
    assert!(s.path("r/histograms.png").is_file());
    let lines = std::fs::read_to_string(s.path("r/histograms.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 4 * 6);

    let Some(python) = std::env::var_os("EBM_TENSORBOARD_PYTHON") else {
        println!(
            "skipped: comparison by TensorBoard's reader: EBM_TENSORBOARD_PYTHON (a Python with tensorboard) missing"
        );
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/check-tensorboard.py");
    let ran = Command::new(python).arg(script).arg(s.path("r")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}{err}");
    println!("{out}");
    assert!(out.contains("at steps 2 to 9, 18 histograms, 4 sheets"), "{out}");
}
