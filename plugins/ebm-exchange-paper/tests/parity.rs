//! Golden files of the published program: the committed one always, a whole directory if there is one.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::candle::DType;
use ebm_energies_compose as _; // brings `multi-scale`
use ebm_exchange_paper::parity::{CompareMode, Compared, check_file, table};

/// Failures of one file as text, empty if all pass.
fn failures(path: &Path, mode: &CompareMode) -> String {
    let name = path.file_name().unwrap_or_default().display();
    let Compared { rows, engine, subject, .. } = match check_file(path, mode) {
        Ok(found) => found,
        Err(e) => return format!("{name}: {e}\n"),
    };
    assert!(rows.len() > 5, "{name}: only {} quantities compared", rows.len());
    let head = format!("{name} ({subject}) {:?}, engine: {engine}", mode.dtype);
    if std::env::var_os("EBM_PARITY_PRINT").is_some() {
        println!("{head}\n{}", table(&rows));
    }
    let bad: Vec<_> = rows.into_iter().filter(|r| !r.pass).collect();
    if bad.is_empty() { String::new() } else { format!("{head}\n{}", table(&bad)) }
}

/// The graph in single precision.
fn f32() -> CompareMode {
    CompareMode::graph(DType::F32)
}

/// The graph in double precision.
fn f64() -> CompareMode {
    CompareMode::graph(DType::F64)
}

/// Single precision through the fused engine of the processor.
fn fused() -> CompareMode {
    f32().with_engine(Arc::new(ebm_engine_cpu::CpuEngine::new()))
}

#[test]
fn the_committed_golden_file_passes_in_both_precisions_and_fused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cifar_square.safetensors");
    for mode in [f32(), f64(), fused()] {
        let text = failures(&path, &mode);
        assert!(text.is_empty(), "\n{text}");
    }
}

/// Golden files of `EBM_PARITY_DIR`, or of `shared/parity` beside the workspace, whose names contain
/// `EBM_PARITY_ONLY`; none if there is no such directory.
fn files() -> Vec<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/parity");
    let dir = std::env::var_os("EBM_PARITY_DIR").map_or_else(beside, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(dir) else {
        println!("skipped: the directory of golden files is missing; set EBM_PARITY_DIR to one");
        return Vec::new();
    };
    let only = std::env::var("EBM_PARITY_ONLY").unwrap_or_default();
    let mut files: Vec<PathBuf> = entries
        .map(|f| f.unwrap().path())
        .filter(|p| {
            p.extension().is_some_and(|e| e == "safetensors") && p.display().to_string().contains(&only)
        })
        .collect();
    files.sort();
    files
}

fn check_all(mode: &CompareMode) {
    let text: String = files().iter().map(|path| failures(path, mode)).collect();
    assert!(text.is_empty(), "\n{text}");
}

#[test]
fn every_golden_file_of_the_directory_passes_in_single_precision() {
    check_all(&f32());
}

#[test]
fn every_golden_file_of_the_directory_passes_in_double_precision() {
    check_all(&f64());
}

#[test]
fn every_golden_file_of_the_directory_passes_through_the_fused_engine() {
    check_all(&fused());
}
