//! The objective's demands are the gradient of its loss, and the run trains without a sampler and is sampled after.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use ebm_core::candle::{DType, Device};
use ebm_core::{Batch, Chains, Key, StepInput};
use own_plugins::Denoising;

#[test]
fn the_demands_are_the_gradient_of_the_loss() {
    let e = ebm_testkit::toy::mlp(3, 8, 2, 7).unwrap();
    let x = Key::root(1).normal(&Chains::range(0, 4), &[3], DType::F64, &Device::Cpu).unwrap();
    let data = Batch::new(x).unwrap();
    ebm_testkit::check_objective(&Denoising { sigma: 0.3 }, &e, &StepInput::new(&data, None, None, 0))
        .unwrap();
}

fn own(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_own-plugins")).args(arguments).output().unwrap()
}

fn losses(run: &Path) -> Vec<f64> {
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    lines.lines().map(|l| value(l)["values"]["loss.denoising"].as_f64().unwrap()).collect()
}

#[test]
fn the_run_trains_without_a_sampler_and_is_sampled_after() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/denoising.toml");
    let ran = own(&["train", config, "--out", &place("run"), "--set=run.steps=300"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let losses = losses(&folder.path().join("run"));
    let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    // Of two coordinates the loss is 1 before the slope is known; noise of σ 0.1 is half explained at best here.
    assert!(mean(&losses[250..]) < mean(&losses[..20]) - 0.1, "{losses:?}");
    assert!(folder.path().join("run/samples.png").is_file());
    let drawn = own(&["sample", &place("run"), "--n", "10", "--out", &place("x.npy")]);
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));

    // Where nothing says how to sample, training goes through and drawing is refused by name.
    let text = std::fs::read_to_string(config).unwrap();
    let bare: String =
        text.lines().filter(|l| !l.starts_with("sampler = ")).map(|l| format!("{l}\n")).collect();
    std::fs::write(folder.path().join("bare.toml"), bare).unwrap();
    let ran = own(&["train", &place("bare.toml"), "--out", &place("bare"), "--set=run.steps=3"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(!folder.path().join("bare/samples.png").exists());
    let drawn = own(&["sample", &place("bare"), "--n", "10", "--out", &place("y.npy")]);
    assert!(String::from_utf8_lossy(&drawn.stderr).contains("generate.sampler"), "{drawn:?}");
}
