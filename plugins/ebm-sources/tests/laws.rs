//! The laws of a data source for the kinds of this crate, and settings that a source would not read.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use ebm_core::candle::{DType, Device};
use ebm_core::{BuildCx, DataConfig, DataSource, Key, Result};
use ebm_sources as _;
use ebm_testkit::check_source;

fn build(folder: &Path, text: &str) -> Result<Arc<dyn DataSource>> {
    let config: Box<dyn DataConfig> = toml::from_str(text).unwrap();
    let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_places(folder);
    config.build(&mut cx.with_path("data"))
}

/// Bytes `(10, 2, 3)` and floats `(10, 2)`, plain and in an archive, and images in IDX files.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let floats: Vec<f32> = (0..20).map(|i| i as f32 / 10.0).collect();
    ebm_data::npy::write(folder.path().join("points.npy"), &floats, &[10, 2]).unwrap();
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (10, 2, 3), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(0u8..60);
    std::fs::write(folder.path().join("bytes.npy"), bytes).unwrap();
    let rows = (0..12).map(|i| format!("{}.5,{},{},{}\n", i * i, ["a", "b", "c"][i % 3], i * 40, i % 2));
    let table = format!("x,word,angle,class\n{}", rows.collect::<String>());
    std::fs::write(folder.path().join("table.csv"), table).unwrap();
    let mut idx = vec![0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 3];
    idx.extend(0u8..60);
    std::fs::write(folder.path().join("images"), idx).unwrap();
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, 10];
    labels.extend((0u8..10).map(|i| i % 3));
    std::fs::write(folder.path().join("labels"), labels).unwrap();
    folder
}

#[test]
fn sources_are_functions_of_epoch_index_and_key() {
    let folder = files();
    let parquet = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/train.parquet");
    for text in [
        "kind = 'digits'",
        "kind = 'digits'\nlabels = true\ndequantise = false\norder = 'replacement'",
        #[cfg(feature = "mnist-5k")]
        "kind = 'mnist-5k'\nlabels = true",
        "kind = 'toy2d'\nname = 'rings'\ntrain = 37\nheld_out = 5",
        "kind = 'npy'\npath = 'points.npy'\nnoise = 0.1\nheld_out = 'points.npy'",
        "kind = 'npy'\npath = 'bytes.npy'",
        "kind = 'table'\npath = 'table.csv'\nleave_out = ['word']\nlabel = 'class'\nlabels = true\nheld_out_every = 4\nnoise = 0.1",
        "kind = 'table'\npath = 'table.csv'\ncolumns = ['x', 'angle']\nwindow = 3\nstep = 1\nheld_out_last = 4",
        "kind = 'table'\npath = 'table.csv'\ncolumns = ['x']\nseries = 'word'\nwindow = 2\nheld_out_every = 3",
        "kind = 'table'\npath = 'table.csv'\ncolumns = ['angle']\nangles = [{ column = 'angle' }]",
        "kind = 'idx'\nimages = 'images'\nlabel_file = 'labels'\nlabels = true\nheld_out_every = 4",
        &format!("kind = 'parquet'\nroot = {parquet:?}\nlabels = true"),
    ] {
        check_source(build(folder.path(), text).unwrap().as_ref()).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

#[test]
fn settings_that_a_source_would_not_read_are_refused() {
    let folder = files();
    for (text, path) in [
        ("kind = 'npy'\npath = 'points.npy'\narray = 'x'", "data.array: "),
        ("kind = 'npy'\npath = 'bytes.npy'\nnoise = 0.1", "data.noise: "),
        ("kind = 'idx'\nimages = 'images'\nheld_out_labels = 'labels'", "data.held_out_labels: "),
        (
            "kind = 'idx'\nimages = 'images'\nheld_out_images = 'images'\nheld_out_every = 2",
            "data.held_out_every: ",
        ),
        ("kind = 'idx'\nimages = 'images'\nheld_out_every = 1", "data.held_out_every: "),
        ("kind = 'idx'\nimages = 'images'\nlabels = true", "data.labels: "),
    ] {
        let told = build(folder.path(), text).err().unwrap().to_string();
        assert!(told.starts_with(path), "{text}: {told}");
    }
}
