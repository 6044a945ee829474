//! `ebm convert --to torch`: modules of PyTorch held against those that real PyTorch ran, and weights of the user's own modules.
//!
//! The expectations are written by `scripts/check-torch.py EBM --store`; `scripts/check-torch.sh` compares every energy kind with
//! a PyTorch that is there.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::golden::Golden;
use crate::support::{SMALL, Scratch};
use ebm_data::npy::Npy;
use safetensors::Dtype;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torch")
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Largest difference in parts of the largest number.
fn gap(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let largest = |v: &mut dyn Iterator<Item = f64>| v.fold(0.0, f64::max);
    let off = largest(&mut found.iter().zip(wanted).map(|(a, b)| (a - b).abs()));
    off / largest(&mut wanted.iter().map(|v| v.abs()))
}

#[test]
fn modules_are_those_that_pytorch_computed_the_same_energies_and_slopes_with() {
    let mut seen = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let config = entry.unwrap().path();
        if config.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        seen += 1;
        let name = config.file_name().unwrap().to_str().unwrap();
        let s = Scratch::with("");
        fs::copy(&config, s.path(name)).unwrap();
        s.run(&["convert", name, "--to", "torch", "module"]).ok();
        let wanted = fs::read_to_string(config.with_extension("py")).unwrap();
        assert_eq!(fs::read_to_string(s.path("module/energy.py")).unwrap(), wanted, "{name}");
        let told: Value =
            serde_json::from_str(&fs::read_to_string(config.with_extension("json")).unwrap()).unwrap();
        let state = Golden::open(&s.path("module/weights.safetensors"));
        let shapes: BTreeMap<String, Vec<usize>> =
            state.tensors.iter().map(|(k, t)| (k.clone(), t.1.clone())).collect();
        assert_eq!(serde_json::to_value(shapes).unwrap(), told["state"], "{name}");
        // The samples of the script: sixteenths.
        let (energies, slopes) = (numbers(&told["energies"]), numbers(&told["slopes"]));
        let toml: toml::Table = fs::read_to_string(&config).unwrap().parse().unwrap();
        let shape: Vec<usize> = toml["generate"]["shape"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_integer().unwrap() as usize)
            .collect();
        let x: Vec<f32> = (0..slopes.len()).map(|i| ((7 * i + 3) % 17) as f32 / 16.0).collect();
        ebm_data::npy::write(s.path("x.npy"), &x, &[&[energies.len()][..], &shape].concat()).unwrap();
        s.run(&["score", name, "x.npy", "--energies", "e.npy", "--slope", "g.npy"]).ok();
        for (file, wanted) in [("e.npy", energies), ("g.npy", slopes)] {
            let found = Npy::read(s.path(file)).unwrap().values().clone().into_f32();
            let found: Vec<f64> = found.into_iter().map(f64::from).collect();
            // Both programs compute in single precision: some hundred roundings of 6e-8.
            assert!(gap(&found, &wanted) < 1e-5, "{name}, {file}: {}", gap(&found, &wanted));
        }
    }
    assert!(seen > 3);
}

#[test]
fn a_run_becomes_a_module_as_a_whole_or_not_at_all() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let before = s.tree();
    s.run(&["convert", "r", "--to", "torch"]).fails(2, &["--to torch DIR"]);
    s.run(&["convert", "r", "--to", "torch", "no/such/m"]).ok();
    s.run(&["convert", "nothing", "--to", "torch", "n"]).fails(2, &["nothing"]);
    s.run(&["convert", "r", "--to", "torch", "m", "--weights", "live"]).ok();
    s.run(&["convert", "r", "--to", "torch", "average"]).ok();
    let weights = |m: &str| Golden::open(&s.path(m).join("weights.safetensors")).tensors;
    assert_ne!(weights("m"), weights("average"));
    assert_eq!(weights("m").keys().collect::<Vec<_>>(), weights("average").keys().collect::<Vec<_>>());
    // Nothing is written over.
    let kept = fs::read(s.path("m/energy.py")).unwrap();
    s.run(&["convert", "r", "--to", "torch", "m"]).fails(2, &["already exists"]);
    assert_eq!(fs::read(s.path("m/energy.py")).unwrap(), kept);
    let text = String::from_utf8(kept).unwrap();
    assert!(text.contains("The energy of r at step 6") && text.contains("[0, 1]"), "{text}");
    for made in ["m", "average", "no"] {
        fs::remove_dir_all(s.path(made)).unwrap();
    }
    assert_eq!(s.tree(), before);
}

/// Tensors of f32 as safetensors.
fn file(s: &Scratch, name: &str, tensors: &[(&str, &[usize])]) {
    let made = tensors.iter().enumerate().map(|(k, (name, dims))| {
        let n: usize = dims.iter().product();
        let data = (0..n).flat_map(|i| ((k * 31 + i) as f32 / 64.0).to_le_bytes()).collect();
        ((*name).to_string(), (Dtype::F32, dims.to_vec(), data))
    });
    Golden { settings: Default::default(), tensors: made.collect() }.save(&s.path(name));
}

#[test]
fn weights_of_a_sequential_are_matched_by_order_and_shape() {
    let s = Scratch::with(&SMALL.replace("hidden = [8]", "hidden = [8, 8]"));
    let sizes: [&[usize]; 6] = [&[8, 64], &[8], &[8, 8], &[8], &[1, 8], &[1]];
    let ends = ["weight", "bias"].iter().cycle();
    let named = |modules: [&str; 3]| -> Vec<String> {
        let modules = modules.into_iter().flat_map(|m| [m, m]);
        modules.zip(ends.clone()).map(|(m, e)| format!("{m}.{e}")).collect()
    };
    // Ten modules before the last: the numbers are counted, not sorted as words.
    for (out, modules) in [("a", ["1", "3", "10"]), ("b", ["net.0", "net.2", "net.10"])] {
        let names = named(modules);
        let tensors: Vec<_> = names.iter().map(String::as_str).zip(sizes).collect();
        file(&s, "mine.safetensors", &tensors);
        let ran = s.run(&["convert", "mine.safetensors", "--config", "run.toml", "--out", out]).ok();
        assert!(ran.out.contains("is layer1") && ran.out.contains("is head"), "{ran:?}");
        let saved = Golden::open(&s.path(out).join("checkpoints/step-00000000/state.safetensors"));
        let middle = saved.tensors.iter().find(|(name, _)| name.ends_with("layer2.weight")).unwrap().1;
        // Tensor 2 of the file.
        assert_eq!(f32::from_le_bytes(middle.2[4..8].try_into().unwrap()), 63.0 / 64.0);
    }
    // Other sizes, other names: what is there and what was wanted.
    let before = s.tree();
    let names = named(["0", "2", "4"]);
    let convert = ["convert", "mine.safetensors", "--config", "run.toml", "--out", "c"];
    let mut wrong = sizes;
    wrong[2] = &[9, 8];
    file(&s, "mine.safetensors", &names.iter().map(String::as_str).zip(wrong).collect::<Vec<_>>());
    s.run(&convert).fails(3, &["mine.safetensors", "2.weight [9, 8]", "[8, 64], [8, 8], [1, 8]"]);
    // Names that say no order, of layers of one shape.
    let mut config = fs::read_to_string(s.path("run.toml")).unwrap();
    config = config.replace("hidden = [8, 8]", "hidden = [8, 8, 8]");
    fs::write(s.path("run.toml"), config).unwrap();
    let names = [
        "in.weight",
        "in.bias",
        "left.weight",
        "left.bias",
        "right.weight",
        "right.bias",
        "out.weight",
        "out.bias",
    ];
    let sizes: [&[usize]; 8] = [&[8, 64], &[8], &[8, 8], &[8], &[8, 8], &[8], &[1, 8], &[1]];
    file(&s, "mine.safetensors", &names.into_iter().zip(sizes).collect::<Vec<_>>());
    s.run(&convert).fails(3, &["left.weight [8, 8]"]);
    let other = ["--set", "energy={ kind = \"gaussian\" }"];
    s.run(&[&convert[..], &other].concat()).fails(2, &["`gaussian`"]);
    assert_eq!(s.tree(), before);
}
