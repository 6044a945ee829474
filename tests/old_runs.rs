//! Runs made by an earlier program go on to the same bytes and give the same samples; see `fixtures/old-runs/README.md`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Scratch, copy};
use ebm::train::digest::sha256;
use serde_json::{Value, json};

const OLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/old-runs");

/// Whether products of matrices are rounded here as where the runs were made.
fn comparable() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A scratch folder with a copy of an old run and its data.
fn old(name: &str) -> Scratch {
    let s = Scratch::with("");
    copy(&Path::new(OLD).join(name), &s.path("run"));
    fs::copy(Path::new(OLD).join("points.npy"), s.path("points.npy")).unwrap();
    s
}

/// Type, shape and digest of every tensor of a checkpoint; those of the buffer with `replay.` before their names.
fn tensors(checkpoint: &Path) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(checkpoint).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|e| e != "safetensors") {
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        let prefix = if file.ends_with("replay.safetensors") { "replay." } else { "" };
        for (name, t) in safetensors::SafeTensors::deserialize(&bytes).unwrap().iter() {
            let found =
                json!({"dtype": format!("{:?}", t.dtype()), "shape": t.shape(), "sha256": sha256(t.data())});
            all.insert(format!("{prefix}{name}"), found);
        }
    }
    all
}

fn goes_on_to_the_same_bytes(name: &str) {
    let s = old(name);
    let want: Value = serde_json::from_slice(&fs::read(format!("{OLD}/{name}.final.json")).unwrap()).unwrap();
    let step = want["step"].as_u64().unwrap();
    s.run(&["resume", "run", "--steps", &step.to_string()]).ok();
    let found = tensors(&s.path(&format!("run/checkpoints/step-{step:08}")));
    let want = want["tensors"].as_object().unwrap();
    assert!(want.len() > 20);
    for (tensor, want) in want {
        let found = found.get(tensor).unwrap_or_else(|| panic!("{name}: {tensor} is gone"));
        assert_eq!(found["shape"], want["shape"], "{name}: {tensor}");
        assert!(!comparable() || found == want, "{name}: {tensor} differs");
    }
    // What a later version adds are facts about the samples, no state of the training.
    let more = found.keys().filter(|k| !want.contains_key(*k) && !k.starts_with("facts."));
    assert_eq!(more.collect::<Vec<_>>(), Vec::<&String>::new(), "{name}");
}

fn gives_the_same_samples(name: &str) {
    let s = old(name);
    let ran = s.run(&["sample", "run", "--n", "5", "--out", "found.npy"]).ok();
    // An earlier program did not count the classes of the data.
    assert_eq!(ran.err.contains("first training batch in turn"), name == "pictures", "{ran:?}");
    // A later version writes all digits of a run in double precision; an earlier one rounded them.
    let read = |path: PathBuf| {
        let npy = ebm_data::npy::Npy::read(path).unwrap();
        (npy.dims().to_vec(), npy.values().clone().into_f32())
    };
    let (found, want) = (read(s.path("found.npy")), read(format!("{OLD}/{name}.samples.npy").into()));
    assert_eq!(found.0, want.0, "{name}");
    assert!(!comparable() || found == want, "{name}: other samples");
}

#[test]
fn a_run_on_points_with_all_terms_goes_on_to_the_same_bytes() {
    goes_on_to_the_same_bytes("points");
}

#[test]
fn a_conditional_run_on_pictures_goes_on_to_the_same_bytes() {
    goes_on_to_the_same_bytes("pictures");
}

#[test]
fn old_runs_give_the_same_samples() {
    gives_the_same_samples("points");
    gives_the_same_samples("pictures");
}
