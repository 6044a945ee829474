//! Every kind of the catalogue as a part of a small run: the example of its declaration, and the files that examples name.

#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use ebm::core::Component;
use ebm::core::candle::Device;
use ebm::train::{Options, Outcome, Plan, RunConfig, TrainState, run};
use toml::{Table, Value};

pub type Checked<T = ()> = Result<T, String>;

pub fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// A run that any part may be replaced in: chains from a full buffer, images of 8×8.
const BASE: &str = r#"
format = 1
run = { name = "catalogue", steps = 2, batch = 8, report_every = 1 }
data = { kind = "digits" }
energy = { kind = "mlp", hidden = [8] }
sampler = { kind = "chain", steps = 2, transition = { kind = "langevin", step_size = 1.0 } }
chains = { fill = "start" }
replay = { kind = "random-overwrite", capacity = 64 }
objective = { kind = "contrastive", energy_l2 = 1.0 }
optimiser = { kind = "adam", rate = 1e-3, average = 0.9 }
generate = { steps = 2, count = 4 }
"#;

pub fn base() -> Table {
    BASE.parse().unwrap()
}

/// The run with what an objective of this kind needs beside it: an entropy term waits for a buffer of more than a thousand, and
/// classes want an energy that takes them.
pub fn beside_objective(config: &mut Table, kind: &str) {
    let mut part = |section: &str, text: &str| {
        config.insert(section.into(), Value::Table(text.parse().unwrap()));
    };
    part("replay", "kind = 'random-overwrite'\ncapacity = 2000");
    if kind == "label" {
        let net =
            "kind = 'conv-net'\nlayers = [{ filters = 2, stride = 2 }]\nhidden = [4]\nconditional = true";
        part("energy", net);
    }
}

/// The example as it stands in the catalogue, with its kind.
pub fn example(c: &Component) -> Checked<Table> {
    let mut table: Table = c.example.parse().map_err(text)?;
    table.insert("kind".into(), Value::String(c.kind.into()));
    Ok(table)
}

/// Two training steps with checkpoint, and one more after it was read again.
pub fn trains(config: Table, folder: &Path, directory: &Path) -> Checked {
    let config = RunConfig::from_toml(&toml::to_string(&config).map_err(text)?).map_err(text)?;
    let plan = Plan::build(&config, folder, &Device::Cpu, None).map_err(text)?;
    let mut state = TrainState::new(&plan).map_err(text)?;
    let options = || -> Checked<Options<'_>> {
        let observers = run::observers(&plan, directory).map_err(text)?;
        Ok(Options { directory: Some(directory), observers, ..Options::default() })
    };
    let mut first = options()?;
    first.until = Some(1);
    run::run(&plan, &mut state, first).map_err(text)?;
    let (mut state, damaged) = run::resume(&plan, directory).map_err(text)?;
    let summary = run::run(&plan, &mut state, options()?).map_err(text)?;
    let whole = summary.outcome == Outcome::Done && state.step == 2 && summary.skipped == 0;
    if !(whole && damaged.is_empty() && summary.detached.is_empty()) {
        return Err(format!("the run did not go through: {summary:?} {damaged:?}"));
    }
    match summary.last.values.iter().find(|(_, v)| !v.is_finite()) {
        Some((name, v)) => Err(format!("{name} is {v}")),
        None => Ok(()),
    }
}

/// Files for the examples that name some, below `folder`; and a run for the example of `checkpoint`.
pub fn files(folder: &Path) {
    let bytes = |n: usize| -> Vec<u8> { (0..n).map(|i| (i * 7 % 251) as u8).collect() };
    // Test files have images of their own, as published ones do.
    let images = |name: &str| -> Vec<u8> {
        bytes(3072).into_iter().map(|b| b ^ u8::from(name.starts_with("test"))).collect()
    };
    // CIFAR-10: a label and 3072 bytes an image.
    fs::create_dir_all(folder.join("data/cifar10")).unwrap();
    let part = |i: usize| format!("data_batch_{i}.bin");
    for name in (1..=5).map(part).chain(["test_batch.bin".to_string()]) {
        let records: Vec<u8> = (0u8..4).flat_map(|label| [vec![label], images(&name)].concat()).collect();
        fs::write(folder.join("data/cifar10").join(name), records).unwrap();
    }
    // CIFAR-100: a coarse and a fine label before the bytes.
    fs::create_dir_all(folder.join("data/cifar100")).unwrap();
    for name in ["train.bin", "test.bin"] {
        let records: Vec<u8> =
            (0u8..20).flat_map(|label| [vec![label, label], images(name)].concat()).collect();
        fs::write(folder.join("data/cifar100").join(name), records).unwrap();
    }
    // Parquet: the small files that the source's own tests read.
    fs::create_dir_all(folder.join("data/mnist")).unwrap();
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/ebm-sources/tests");
    for name in ["train.parquet", "test.parquet"] {
        fs::copy(given.join(name), folder.join("data/mnist").join(name)).unwrap();
    }
    // Pickles and MATLAB's format: files of the libraries that write them.
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/ebm-data/tests/data");
    for (name, set) in [("train_32x32.mat", "svhn"), ("imagenet32/train_data_batch_1", "imagenet32")] {
        let (from, to) = (given.join(name), folder.join("data").join(set));
        fs::create_dir_all(&to).unwrap();
        fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
    }
    // MNIST's format: a magic number with the type and the number of axes, the axes, the bytes.
    let idx = |axes: &[u32], data: Vec<u8>| -> Vec<u8> {
        let head = [vec![0, 0, 8, axes.len() as u8], axes.iter().flat_map(|a| a.to_be_bytes()).collect()];
        [head.concat(), data].concat()
    };
    fs::write(folder.join("train-images-idx3-ubyte.gz"), idx(&[16, 8, 8], bytes(16 * 64))).unwrap();
    fs::write(folder.join("train-labels-idx1-ubyte.gz"), idx(&[16], vec![1; 16])).unwrap();
    let values: Vec<f32> = bytes(32 * 64).into_iter().map(|b| f32::from(b) / 256.0).collect();
    fs::write(folder.join("train.npy"), ebm::data::npy::encode(&values, &[32, 1, 8, 8]).unwrap()).unwrap();
    let rows = bytes(64).chunks(2).map(|b| format!("{},{}\n", b[0], b[1])).collect::<String>();
    fs::write(folder.join("train.csv"), format!("x,y\n{rows}")).unwrap();
    for class in ["a", "b"] {
        fs::create_dir_all(folder.join("pictures").join(class)).unwrap();
        for i in 0..8u8 {
            let pixels: Vec<f32> = bytes(3 * 64).into_iter().map(|b| f32::from(b) / 255.0).collect();
            let picture = ebm::data::png::Sheet::default().encode(&pixels, (1, 3, 8, 8)).unwrap();
            fs::write(folder.join("pictures").join(class).join(format!("{i}.png")), picture).unwrap();
        }
    }
    let mut plane = base();
    plane.insert("data".into(), Value::Table("kind = 'toy2d'\nname = 'moons'".parse().unwrap()));
    trains(plane, folder, &folder.join("runs/digits-0-1")).unwrap();
}
