//! Published classifiers of digits against what they are known to reach; `EBM_TEST_NETS` names a folder with
//! `nets-digits/*.safetensors` and `mnist/t10k-*`.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use candle_core::Device;
use ebm_features::{Labelled, Network, examine};

#[test]
fn published_digit_networks_reach_what_they_are_known_for() {
    let Some(folder) = std::env::var_os("EBM_TEST_NETS").map(PathBuf::from) else {
        eprintln!("skipped: EBM_TEST_NETS is missing");
        return;
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nets");
    let image = |part: &str| folder.join(format!("mnist/t10k-{part}-ubyte.gz"));
    let set = ebm_data::idx::read_images(image("images-idx3"), Some(&image("labels-idx1"))).unwrap();
    // The first 2,000; torch 2.15 on the same files finds 1973 and 1975 of them.
    let n = 2000;
    let values: Vec<f32> = set.bytes()[..n * 784].iter().map(|b| (f32::from(*b) + 0.5) / 256.0).collect();
    let labels = &set.labels().unwrap()[..n];
    for (name, right) in [("ccexam-mnist", 1973), ("digit-recognizer-mnist", 1975)] {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(here.join(format!("{name}.toml")), copy.path().join("network.toml")).unwrap();
        let weights = format!("{name}.safetensors");
        std::fs::copy(folder.join("nets-digits").join(&weights), copy.path().join(&weights)).unwrap();
        let network = Network::open(copy.path(), &Device::Cpu).unwrap();
        let found = examine(&network, &Labelled { values: &values, shape: [1, 28, 28], labels }).unwrap();
        let hits = (found.accuracy * n as f64).round() as i64;
        // A logit that is rounded otherwise may turn an undecided image.
        assert!((hits - right).abs() <= 1, "{name}: {hits} of {n}");
    }
}
