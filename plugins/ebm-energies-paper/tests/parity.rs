//! Golden files of the published program: the committed one always, a whole directory if there is one.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ebm_energies_paper::parity::{Mode, Row, check_file, table};

fn failures(path: &Path, mode: &Mode) -> Vec<Row> {
    let rows = check_file(path, mode).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(rows.len() > 5, "{}: only {} quantities compared", path.display(), rows.len());
    if std::env::var_os("EBM_PARITY_PRINT").is_some() {
        println!("{} {:?}\n{}", path.display(), mode.dtype, table(&rows));
    }
    rows.into_iter().filter(|r| !r.pass).collect()
}

#[test]
fn the_committed_golden_file_passes_in_both_precisions() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cifar_square.safetensors");
    for mode in [Mode::f32(), Mode::f64()] {
        let bad = failures(&path, &mode);
        assert!(bad.is_empty(), "{:?}\n{}", mode.dtype, table(&bad));
    }
}

/// `EBM_PARITY_DIR`, or `shared/parity` beside the workspace.
fn directory() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/parity");
    let dir = std::env::var_os("EBM_PARITY_DIR").map_or_else(beside, PathBuf::from);
    dir.is_dir().then_some(dir)
}

#[test]
fn every_golden_file_of_the_directory_passes_in_both_precisions() {
    let Some(dir) = directory() else {
        println!("skipped: no directory of golden files; set EBM_PARITY_DIR to one");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    let only = std::env::var("EBM_PARITY_ONLY").unwrap_or_default();
    let mut text = String::new();
    for path in files.iter().filter(|p| p.display().to_string().contains(&only)) {
        for mode in [Mode::f32(), Mode::f64()] {
            let bad = failures(path, &mode);
            if !bad.is_empty() {
                text += &format!("{} {:?}\n{}", path.display(), mode.dtype, table(&bad));
            }
        }
    }
    assert!(text.is_empty(), "\n{text}");
}
