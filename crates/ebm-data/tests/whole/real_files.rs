//! The published files themselves, where they are at hand: `EBM_TEST_DATA` names a folder with
//! `mnist/` (four gzipped IDX files) and `cifar10/` (six `.bin` files). Skipped otherwise.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ebm_data::cifar::{self, Part};
use ebm_data::idx;

fn folder(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("EBM_TEST_DATA").unwrap_or_default()).join(name);
    if !path.is_dir() {
        println!("skipped: {name} in the folder EBM_TEST_DATA is missing");
        return None;
    }
    Some(path)
}

fn mean(bytes: &[u8]) -> f64 {
    bytes.iter().map(|&b| f64::from(b)).sum::<f64>() / bytes.len() as f64 / 255.0
}

#[test]
fn mnist_has_its_published_size_and_mean() {
    let Some(root) = folder("mnist") else { return };
    let labels = root.join("train-labels-idx1-ubyte.gz");
    let set = idx::read_images(root.join("train-images-idx3-ubyte.gz"), Some(&labels)).unwrap();
    assert_eq!((set.len(), set.shape(), set.classes()), (60_000, (1, 28, 28), 10));
    assert!((mean(set.bytes()) - 0.1307).abs() < 5e-5);
    let wrong = root.join("t10k-labels-idx1-ubyte.gz");
    let e = idx::read_images(root.join("train-images-idx3-ubyte.gz"), Some(&wrong)).unwrap_err().to_string();
    assert!(e.contains("found 10000, expected one for each of 60000 images"), "{e}");
}

#[test]
fn cifar10_has_its_published_size_and_channel_means() {
    let Some(root) = folder("cifar10") else { return };
    let set = cifar::read_cifar10(root, Part::Test).unwrap();
    assert_eq!((set.len(), set.shape()), (10_000, (3, 32, 32)));
    assert!((0..10).all(|c| set.labels().unwrap().iter().filter(|&&l| l == c).count() == 1000));
    let channels: Vec<Vec<u8>> = (0..3)
        .map(|c| set.bytes().chunks_exact(1024).skip(c).step_by(3).flatten().copied().collect())
        .collect();
    // The known channel means of the test set.
    for (channel, known) in channels.iter().zip([0.4942, 0.4851, 0.4504]) {
        assert!((mean(channel) - known).abs() < 5e-5);
    }
}
