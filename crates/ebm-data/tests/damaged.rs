//! Files of `tests/data` with changed bytes and cut ends: no reader panics, and none takes memory that the file's length
//! does not account for.

#![allow(clippy::unwrap_used)]

#[path = "support/watched.rs"]
mod watched;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use ebm_data::folder::FolderOptions;
use ebm_data::mat::Mat;
use ebm_data::npy::Npy;
use ebm_data::npz::Npz;
use ebm_data::parquet::{ParquetImages, ParquetOptions};
use ebm_data::pickle::Pickle;
use ebm_data::pictures;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use watched::LARGEST;

/// The files here have at most 41 KB, and no packing but brotli's reaches this from them; buffers of decoders are fixed.
const MOST: usize = 64 << 20;

fn all() -> Vec<PathBuf> {
    fn below(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { below(&path, out) } else { out.push(path) }
        }
    }
    let mut out = Vec::new();
    below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"), &mut out);
    out.sort();
    out
}

/// Reads bytes under the name of a file as that file is read, to its last value.
fn read(name: &Path, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name.file_name().unwrap());
    std::fs::write(&path, bytes).unwrap();
    match name.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "npy" => drop(Npy::read(&path)),
        "gz" => drop(ebm_data::idx::Idx::read(&path)),
        "npz" => {
            if let Ok(mut npz) = Npz::open(&path) {
                npz.names().iter().for_each(|n| drop(npz.array(n)));
            }
        }
        "mat" => {
            if let Ok(mat) = Mat::open(&path) {
                mat.names().iter().for_each(|n| drop(mat.array(n)));
            }
        }
        "parquet" => {
            let options = ParquetOptions { labels: true, ..Default::default() };
            if let Ok(images) = ParquetImages::open(&[&path], &options) {
                drop(images.read());
            }
        }
        "zip" | "tar" | "tfrecord" | "tfrecords" | "mdb" => {
            if let Ok(parts) = pictures::open(&path, &FolderOptions::default()) {
                drop(parts.training.read());
            }
        }
        "webp" | "bmp" | "tif" | "tiff" | "gif" | "ppm" | "pgm" | "png" => {
            drop(pictures::folder::read_picture(&path, &FolderOptions::default()));
        }
        _ => {
            if let Ok(pickle) = Pickle::parse(bytes, &path) {
                let values = pickle.keys().into_iter().filter_map(|k| pickle.get(k));
                values.for_each(|v| drop((v.array(), v.whole_numbers(), v.texts())));
            }
        }
    }
}

/// The same damages at each run, so that a change is to blame for what a change breaks; `PROPTEST_RNG_SEED` takes others. What is
/// found is not written down: it is mended in the reader, and tested there.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    let usual = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    match std::env::var_os("PROPTEST_RNG_SEED") {
        Some(_) => usual,
        None => ProptestConfig { rng_seed: RngSeed::Fixed(1), ..usual },
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn no_damage_panics_or_takes_memory_beyond_what_the_file_can_hold(
        which in any::<prop::sample::Index>(),
        // Heads of files are where sizes stand: half of the changes are there.
        changes in prop::collection::vec((0.0f64..1.0, any::<bool>(), any::<u8>()), 0..4),
        cut in prop::option::weighted(0.2, 0.0f64..1.0),
    ) {
        let files = all();
        let path = which.get(&files);
        let mut bytes = std::fs::read(path).unwrap();
        for (at, head, byte) in changes {
            let range = if head { bytes.len().min(300) } else { bytes.len() };
            bytes[(at * range as f64) as usize] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        LARGEST.store(0, Ordering::Relaxed);
        read(path, &bytes);
        prop_assert!(LARGEST.load(Ordering::Relaxed) < MOST, "{}: {} bytes", path.display(), LARGEST.load(Ordering::Relaxed));
    }
}
