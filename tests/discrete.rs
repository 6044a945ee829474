//! Runs on discrete samples: what moves them, what is refused, what a checkpoint keeps.
#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::Scratch;
use ebm_data::npy::{NpyValues, encode_values};

/// Couplings of sixteen spins by persistent chains.
const SPINS: &str = r#"format = 1
[run]
name = "spins"
steps = 8
batch = 16
[data]
kind = "npy"
path = "spins.npy"
values = "spins"
held_out_every = 4
[energy]
kind = "ising"
lattice = [4, 4]
[sampler]
kind = "chain"
steps = 2
transition = { kind = "block-gibbs" }
[chains]
restart = 0.05
[replay]
kind = "random-overwrite"
capacity = 100
[objective]
kind = "contrastive"
[optimiser]
kind = "adam"
rate = 0.01
[generate]
steps = 5
count = 9
[[policy]]
kind = "checkpoint"
every = 4
"#;

/// `n` samples of 16 spins from a fixed pattern of bits.
fn spins(n: usize) -> Vec<f32> {
    let bit = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) & 1;
    (0..16 * n).map(|i| if bit(i) == 1 { 1.0 } else { -1.0 }).collect()
}

fn scratch(config: &str) -> Scratch {
    let s = Scratch::with(config);
    ebm_data::npy::write(s.path("spins.npy"), &spins(40), &[40, 16]).unwrap();
    s
}

fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(SPINS.to_string(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

#[test]
fn spins_stay_spins_in_buffers_checkpoints_and_samples_and_a_run_goes_on_to_the_same_bytes() {
    let s = scratch(SPINS);
    s.run(&["train", "run.toml", "--out", "whole"]).ok();
    s.run(&["train", "run.toml", "--out", "parts", "--set", "run.steps=4"]).ok();
    s.run(&["resume", "parts", "--steps", "8"]).ok();
    let newest = "checkpoints/step-00000008";
    for file in ["state.safetensors", "replay.safetensors"] {
        let of = |run: &str| fs::read(s.path(run).join(newest).join(file)).unwrap();
        assert_eq!(of("whole"), of("parts"), "{file}");
    }
    let manifest = fs::read_to_string(s.path("whole").join(newest).join("state.json")).unwrap();
    assert!(manifest.contains("\"domain\": \"spins\""), "{manifest}");
    // A hundred chains of sixteen spins: 200 bytes and some of the format.
    let buffer = fs::metadata(s.path("whole").join(newest).join("replay.safetensors")).unwrap().len();
    assert!(buffer < 800, "{buffer}");
    s.run(&["sample", "whole", "--out", "drawn.npy", "-n", "50"]).ok();
    let drawn = ebm_data::npy::Npy::read(s.path("drawn.npy")).unwrap().into_array().unwrap();
    assert!(drawn.values().iter().all(|v| v.abs() == 1.0), "{:?}", &drawn.values()[..16]);
    let ones = drawn.values().iter().filter(|v| **v == 1.0).count();
    assert!((200..600).contains(&ones), "{ones} of 800");
}

#[test]
fn moves_of_real_samples_refuse_spins_by_name_wherever_they_stand() {
    let langevin = "transition = { kind = \"langevin\", step_size = 1.0, noise = 0.03 }";
    let gibbs = "transition = { kind = \"block-gibbs\" }";
    let hmc = "{ kind = \"hmc\", step_size = 0.1, leapfrogs = 3 }";
    let mixed = format!(
        "transition = {{ kind = \"then\", transitions = [{{ kind = \"block-gibbs\" }}, {{ kind = \"repeat\", times = 2, transition = {hmc} }}] }}"
    );
    let generate = format!("[generate]\nsampler = {{ kind = \"chain\", steps = 3, transition = {hmc} }}");
    let blurred = "restart = 0.05\ntransitions = [{ kind = \"gaussian-noise\", scale = 0.1 }]";
    for (change, name) in [
        ((gibbs, langevin), "langevin"),
        ((gibbs, mixed.as_str()), "hmc"),
        (("[generate]\nsteps = 5", generate.as_str()), "hmc"),
        (("restart = 0.05", blurred), "gaussian-noise"),
    ] {
        let s = scratch(&changed(&[change]));
        for command in [&["check", "run.toml", "--no-timing"][..], &["train", "run.toml", "--out", "r"]] {
            s.run(command).fails(2, &[name, "real numbers", "spins"]);
        }
    }
    // The other way round.
    let net = ("kind = \"ising\"\nlattice = [4, 4]", "kind = \"mlp\"\nhidden = [8]");
    let real = ("values = \"spins\"\n", "");
    let s = scratch(&changed(&[net, real]));
    s.run(&["check", "run.toml", "--no-timing"]).fails(2, &["block-gibbs", "laws of coordinates"]);
    // A net on spins moves by its slope.
    let slope = (gibbs, "transition = { kind = \"gibbs-with-gradients\" }");
    scratch(&changed(&[net, slope])).run(&["train", "run.toml", "--out", "r"]).ok();
    scratch(&changed(&[net, slope, real]))
        .run(&["check", "run.toml", "--no-timing"])
        .fails(2, &["gibbs-with-gradients", "discrete", "real numbers"]);
}

#[test]
fn data_are_held_against_the_domain_of_the_energy_and_of_their_setting() {
    let s = Scratch::with(SPINS);
    let mut values = spins(40);
    values[16 * 7 + 3] = 0.5;
    ebm_data::npy::write(s.path("spins.npy"), &values, &[40, 16]).unwrap();
    s.run(&["check", "run.toml", "--no-timing"]).fails(2, &["data", "not of spins", "sample"]);
    fs::write(s.path("run.toml"), changed(&[("values = \"spins\"\n", "")])).unwrap();
    s.run(&["check", "run.toml", "--no-timing"]).fails(2, &["energy `ising`", "spins -1 and +1", "0.5"]);
    let binary = changed(&[
        ("kind = \"ising\"\nlattice = [4, 4]", "kind = \"rbm\"\nhidden = 3"),
        ("values = \"spins\"\n", ""),
    ]);
    fs::write(s.path("run.toml"), binary).unwrap();
    s.run(&["check", "run.toml", "--no-timing"]).fails(2, &["energy `rbm`", "binary values"]);
}

#[test]
fn images_become_binary_and_their_pictures_are_drawn() {
    let config = changed(&[
        (
            "kind = \"npy\"\npath = \"spins.npy\"\nvalues = \"spins\"\nheld_out_every = 4",
            "kind = \"digits\"\nbinary = \"drawn\"",
        ),
        ("kind = \"ising\"\nlattice = [4, 4]", "kind = \"rbm\"\nhidden = 12\ncentred = true"),
    ]);
    let s = Scratch::with(&config);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    s.run(&["sample", "r", "--out", "drawn.png", "-n", "9"]).ok();
    s.run(&["sample", "r", "--out", "drawn.npy", "-n", "9"]).ok();
    let drawn = ebm_data::npy::Npy::read(s.path("drawn.npy")).unwrap().into_array().unwrap();
    assert!(drawn.values().iter().all(|v| *v == 0.0 || *v == 1.0));
    // Grey images are refused, with what to set.
    let grey = config.replace("binary = \"drawn\"", "");
    fs::write(s.path("run.toml"), grey.replace("centred = true", "")).unwrap();
    s.run(&["check", "run.toml", "--no-timing"]).fails(2, &["energy `rbm`", "binary"]);
    fs::write(s.path("run.toml"), grey).unwrap();
    s.run(&["check", "run.toml", "--no-timing"]).fails(2, &["energy.centred", "mean of the data"]);
}

/// Black and white bytes are the states that they are in training, whatever the file; what is grey has no energy of the model.
#[test]
fn images_are_scored_as_the_states_they_are_trained_as() {
    let config = changed(&[
        ("path = \"spins.npy\"\nvalues = \"spins\"", "path = \"bits.npy\"\nbinary = \"threshold\""),
        ("kind = \"ising\"\nlattice = [4, 4]", "kind = \"rbm\"\nhidden = 3\ninit = 0.5"),
    ]);
    let s = Scratch::with(&config);
    let bits: Vec<u8> = spins(40).iter().map(|v| u8::from(*v > 0.0)).collect();
    let save = |name: &str, values: NpyValues| {
        fs::write(s.path(name), encode_values(&values, &[40, 1, 4, 4]).unwrap()).unwrap();
    };
    save("numbers.npy", NpyValues::F32(bits.iter().map(|b| f32::from(*b)).collect()));
    save("white.npy", NpyValues::U8(bits.iter().map(|b| 255 * b).collect()));
    save("grey.npy", NpyValues::U8(bits.iter().map(|b| 200 * b).collect()));
    save("halves.npy", NpyValues::F32(bits.iter().map(|b| f32::from(*b) / 2.0).collect()));
    save("bits.npy", NpyValues::U8(bits));
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let energies = |file: &str| -> Vec<f64> {
        let scored = s.run(&["score", "r", file]).ok();
        scored.out.lines().skip(1).map(|l| l.rsplit(',').next().unwrap().parse().unwrap()).collect()
    };
    let wanted = energies("numbers.npy");
    assert_eq!(wanted.len(), 40);
    for file in ["bits.npy", "white.npy", "npy:path=grey.npy,binary=threshold"] {
        assert_eq!(energies(file), wanted, "{file}");
    }
    let refused = s.run(&["score", "r", "grey.npy"]);
    assert!(refused.code == Some(3) && refused.err.contains("grey.npy: holds grey values"), "{refused:?}");
    assert!(refused.err.contains("binary=threshold") && refused.out.lines().count() == 1, "{refused:?}");
    let relaxed = s.run(&["score", "r", "halves.npy"]).ok().err;
    assert!(relaxed.contains("none of this energy's samples, binary values 0 and 1"), "{relaxed}");
    // The same samples on both sides cannot be told apart.
    let ood =
        s.run(&["eval", "ood", "r", "--in", "numbers.npy", "--out", "bits.npy", "--resamples", "10"]).ok();
    assert!(ood.out.contains("energy     0.500 "), "{ood:?}");
}
