//! `ebm convert`: published checkpoints to runs and back.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::golden::Golden;
use crate::support::Scratch;

/// A run of the published digits network with one filter.
const DIGITS: &str = r#"format = 1
[run]
name = "paper-digits"
steps = 12
batch = 2
[data]
kind = "mnist-5k"
[energy]
kind = "digits-net"
filters = 1
[sampler]
kind = "chain"
steps = 2
transition = { kind = "langevin", step_size = 1e-3, noise = 0.001, clamp = [0.0, 1.0] }
[replay]
kind = "reservoir"
capacity = 100
[objective]
kind = "contrastive"
energy_l2 = 1e-6
[optimiser]
kind = "adam"
rate = 1e-6
average = 0.99
[generate]
steps = 2
count = 4
"#;

/// The same with three scales of the network for colour images.
const COLOUR: &str = r#"
[energy]
kind = "multi-scale"
parts = [
  { name = "small", energy = { kind = "cifar-resnet", scale = "small", filters = 4 } },
  { name = "mid", energy = { kind = "cifar-resnet", scale = "mid", filters = 4 } },
  { name = "large", energy = { kind = "cifar-resnet", scale = "main", filters = 4 } },
]
"#;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/ebm-exchange-paper/tests/golden");
    folder.join(name).to_str().unwrap().into()
}

#[test]
fn a_pth_becomes_a_run_that_samples_scores_and_goes_on() {
    for name in ["legacy.pth", "zipped.pth"] {
        let s = Scratch::with(DIGITS);
        let file = fixture(name);
        let made = ["convert", &file, "--config", "run.toml", "--out", "r", "--step", "10"];
        let ran = s.run(&made).ok();
        for part in ["step 10", "map_fc1.bias", "goes on after 3 updates", "replay buffer"] {
            assert!(ran.out.contains(part), "{part}: {ran:?}");
        }
        // A second time would overwrite the run.
        s.run(&made).fails(2, &["already holds a run"]);
        // Second moments are j + 1 + i/1024; the first ones are not read with β₁ = 0.
        let saved = Golden::open(&s.path("r/checkpoints/step-00000010/optimiser.safetensors"));
        let data = &saved.tensors["optimiser.exp_avg_sq.conv1.weight"].2;
        assert_eq!(f32::from_le_bytes(data[4..8].try_into().unwrap()), 2.0 + 1.0 / 1024.0);
        assert!(!saved.tensors.keys().any(|k| k.starts_with("optimiser.exp_avg.")));
        // Live weights are j + i/1024, their average the negative of it: see make_checkpoints.py.
        for (weights, sign) in [("live", 1f32), ("average", -1.0)] {
            let out = format!("{weights}.safetensors");
            s.run(&["convert", "r", "--to", &out, "--weights", weights]).ok();
            let g = Golden::open(&s.path(&out));
            let data = &g.tensors["conv1.bias"].2;
            let first = f32::from_le_bytes(data[..4].try_into().unwrap());
            assert_eq!(first, sign * 0.0, "{weights}");
            let second = &g.tensors["conv1.weight"].2;
            assert_eq!(f32::from_le_bytes(second[..4].try_into().unwrap()), sign, "{weights}");
            assert_eq!(g.settings["step"], "10");
            // What the published program loads and never uses.
            assert_eq!(g.tensors["map_fc1.weight"].1, [256, 10]);
            assert_eq!(g.tensors["res1.latent_map.weight"].1, [2, 512]);
        }
        // A file that says its updates only in the optimiser's state.
        fs::copy(&file, s.path("model.pth")).unwrap();
        let ran = s.run(&["convert", "model.pth", "--config", "run.toml", "--out", "other"]).ok();
        assert!(ran.out.contains("step 3 "), "{ran:?}");
        s.run(&["sample", "r", "--n", "2", "--out", "x.npy"]).ok();
        let scored = s.run(&["score", "r", "x.npy"]).ok();
        assert_eq!(scored.out.lines().count(), 3);
        let went = s.run(&["resume", "r"]).ok();
        assert!(s.path("r/checkpoints/step-00000012").is_dir(), "{went:?}");
    }
}

#[test]
fn a_run_comes_back_from_published_names_with_the_same_energies_to_the_bit() {
    let colour = DIGITS.replace("[energy]\nkind = \"digits-net\"\nfilters = 1\n", COLOUR);
    // Colour images of 12×12 pixels: as small as the main network goes.
    let colour = colour.replace("kind = \"mnist-5k\"", "kind = \"npy\"\npath = \"images.npy\"");
    let s = Scratch::with(&colour);
    let pixels: Vec<f32> = (0..6 * 3 * 12 * 12).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
    ebm_data::npy::write(s.path("images.npy"), &pixels, &[6, 3, 12, 12]).unwrap();
    s.run(&["train", "run.toml", "--steps", "3", "--out", "a"]).ok();
    for weights in ["average", "live"] {
        let file = format!("{weights}-model_3.safetensors");
        let ran = s.run(&["convert", "a", "--to", &file, "--weights", weights]).ok();
        assert!(ran.out.contains("never uses"), "{ran:?}");
        let b = format!("b-{weights}");
        let ran = s.run(&["convert", &file, "--config", "run.toml", "--out", &b]).ok();
        for part in ["step 3 ", "taken from the file's name"] {
            assert!(ran.out.contains(part), "{part}: {ran:?}");
        }
        // The same weights, so the same file again and the same energies.
        let again = format!("{weights}-again.safetensors");
        s.run(&["convert", &b, "--to", &again, "--weights", weights]).ok();
        let (one, two) = (Golden::open(&s.path(&file)), Golden::open(&s.path(&again)));
        assert_eq!(one.tensors, two.tensors);
        for name in ["downsample.filt", "avg_pool.filt", "mid_res_1a.latent_map.weight", "self_attn.gamma"] {
            assert!(one.tensors.contains_key(name), "{name}");
        }
        if weights == "average" {
            let energies = |run: &str| s.run(&["score", run, "images.npy"]).ok().out;
            assert_eq!(energies("a"), energies(&b));
        }
        s.run(&["resume", &b, "--steps", "4"]).ok();
    }
    // An export never overwrites, and a run of another energy cannot be exported.
    let kept = fs::read(s.path("live-model_3.safetensors")).unwrap();
    s.run(&["convert", "a", "--to", "live-model_3.safetensors"]).fails(2, &["already exists"]);
    assert_eq!(fs::read(s.path("live-model_3.safetensors")).unwrap(), kept);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_made() {
    let s = Scratch::with(DIGITS);
    let before = s.tree();
    let file = fixture("zipped.pth");
    let wide = ["convert", &file, "--config", "run.toml", "--set", "energy.filters=2", "--out", "r"];
    s.run(&wide).fails(3, &["zipped.pth", "another size"]);
    let cut = fs::read(&file).unwrap();
    let half = Golden { settings: Default::default(), tensors: Default::default() };
    half.save(&s.path("none.safetensors"));
    s.run(&["convert", "none.safetensors", "--config", "run.toml", "--out", "r"])
        .fails(3, &["none.safetensors"]);
    fs::remove_file(s.path("none.safetensors")).unwrap();
    let other = ["--set", "energy={ kind = \"mlp\", hidden = [4] }", "--out", "r"];
    s.run(&[&["convert", &file, "--config", "run.toml"][..], &other].concat())
        .fails(3, &["zipped.pth", "found ", "[4, 784], [1, 4]"]);
    // An average that cannot be read is not replaced by the live weights.
    let shadow = fixture("torch/shadow.pth");
    let made = ["convert", &shadow, "--config", "run.toml", "--out", "r"];
    s.run(&made).fails(2, &["--key: is missing", "`ema`", "`model`"]);
    s.run(&["convert", "no.pth", "--config", "run.toml", "--out", "r"]).fails(3, &["no.pth"]);
    s.run(&["convert", "no-run", "--to", "x.safetensors"]).fails(3, &["no-run"]);
    s.run(&["convert", "no-run", "--to", "x.pth"]).fails(2, &[".safetensors"]);
    s.run(&["convert", &file]).fails(2, &["--config", "--to"]);
    assert_eq!(s.tree(), before);
    fs::write(s.path("cut.pth"), &cut[..cut.len() / 2]).unwrap();
    let ran = s.run(&["convert", "cut.pth", "--config", "run.toml", "--out", "r"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(!s.path("r").exists());
}
