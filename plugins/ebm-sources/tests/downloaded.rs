//! Sets as they are downloaded, from the small files of `ebm-data` that the real libraries wrote: samples, held-out parts,
//! classes and what is said of them.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use ebm_core::candle::{DType, Device};
use ebm_core::{BuildCx, DataConfig, DataSource, Key, Result, Split};
use ebm_sources as _;

/// The source and its notes; `text` stands beside the files.
fn build(text: &str) -> Result<(Arc<dyn DataSource>, String)> {
    let config: Box<dyn DataConfig> = toml::from_str(text).unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/ebm-data/tests/data");
    let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_places(base);
    let mut cx = cx.with_path("data");
    let source = config.build(&mut cx)?;
    Ok((source, cx.notes().join("\n")))
}

fn refusal(text: &str) -> String {
    build(text).err().unwrap().to_string()
}

/// Training samples, held-out samples, shape, classes as a condition.
type Facts = (usize, usize, Vec<usize>, usize);

fn facts(text: &str) -> Facts {
    let (source, _) = build(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let held = source.stored(Split::HeldOut, 99).unwrap().map_or(0, |l| l.x.dims()[0]);
    (source.len(), held, source.sample_shape().to_vec(), source.condition())
}

#[test]
fn every_published_form_has_its_samples_and_its_held_out_part() {
    let small = vec![3, 4, 5];
    let cifar = vec![3, 32, 32];
    for (text, wanted) in [
        ("kind = 'cifar10'\nroot = '.'\nlabels = true", (5, 1, cifar.clone(), 10)),
        ("kind = 'cifar100'\nroot = '.'\nlabels = true\nclasses = 'coarse'", (1, 1, cifar.clone(), 20)),
        ("kind = 'svhn'\nroot = '.'\nlabels = true", (2, 2, cifar.clone(), 10)),
        ("kind = 'imagenet32'\nroot = 'imagenet32'\nlabels = true", (2, 1, cifar.clone(), 1000)),
        ("kind = 'image-folder'\nroot = 'lsun_train_lmdb'", (3, 0, cifar, 0)),
        ("kind = 'image-folder'\nroot = 'faces.zip'\nlabels = true", (3, 1, small.clone(), 2)),
        ("kind = 'image-folder'\nroot = 'shard-train-000000.tar'\nlabels = true", (3, 0, small.clone(), 7)),
        (
            "kind = 'image-folder'\nroot = 'celebahq-r02.tfrecords'\nheld_out_every = 2",
            (1, 1, small.clone(), 0),
        ),
        ("kind = 'image-folder'\nroot = 'celeba-hq-npy'\nstream = true", (2, 0, small.clone(), 0)),
        ("kind = 'parquet'\nroot = 'parquet/zstd.parquet'\nlabels = true", (4, 0, small.clone(), 2)),
        ("kind = 'parquet'\nroot = 'parquet/hidden.parquet'", (2, 0, small.clone(), 0)),
        (
            "kind = 'parquet'\nroot = 'parquet/words.parquet'\nlabels = true\nheld_out = 'parquet/hidden.parquet'",
            (4, 2, small, 2),
        ),
        (
            "kind = 'npy'\npath = 'mnist.npz'\narray = 'x_train'\nheld_out_array = 'x_test'\nlabel_array = 'y_train'\nlabels = true",
            (4, 2, vec![1, 6, 6], 4),
        ),
        (
            "kind = 'npy'\npath = 'medmnist.npz'\narray = 'train_images'\nlabel_array = 'train_labels'\nheld_out_every = 3",
            (2, 1, vec![1, 6, 6], 0),
        ),
        // The same by names behind colons, every so many held out of sets without a held-out part, and one file alone.
        ("kind = 'npy'\npath = 'mnist.npz:x_train'\nheld_out = 'mnist.npz:x_test'", (4, 2, vec![1, 6, 6], 0)),
        ("kind = 'svhn'\nroot = 'train_32x32.mat'\nheld_out_every = 2", (1, 1, vec![3, 32, 32], 0)),
        (
            "kind = 'parquet'\nroot = 'parquet/gzip.parquet'\nlabels = true\nheld_out_every = 4",
            (3, 1, vec![3, 4, 5], 2),
        ),
        ("kind = 'cifar10'\nroot = 'cifar-10-batches-py/data_batch_2'", (1, 0, vec![3, 32, 32], 0)),
        ("kind = 'image-folder'\nroot = 'encoded.tfrecord'\nlabels = true", (1, 0, vec![3, 4, 5], 8)),
        ("kind = 'npy'\npath = 'npy/last.npy'\nlayout = 'channels-last'", (3, 0, vec![3, 8, 9], 0)),
        ("kind = 'npy'\npath = 'npy/frame.npy'", (3, 0, vec![2], 0)),
    ] {
        assert_eq!(facts(text), wanted, "{text}");
    }
}

#[test]
fn bytes_of_0_and_1_are_black_and_white() {
    let (source, notes) = build("kind = 'npy'\npath = 'dsprites.npz'\ndequantise = false").unwrap();
    assert!(notes.contains("images of 2 levels"), "{notes}");
    let x =
        source.stored(Split::Train, 1).unwrap().unwrap().x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(x[..6], [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn names_of_classes_and_counts_by_file_come_with_the_data() {
    let (source, notes) = build("kind = 'image-folder'\nroot = 'faces.zip'").unwrap();
    assert_eq!(source.class_names(), ["a", "b"]);
    assert!(
        notes.contains("3 of") && notes.contains("held out: 1 of") && notes.contains("left out: 1"),
        "{notes}"
    );
    let (source, _) = build("kind = 'parquet'\nroot = 'parquet/datasets.parquet'").unwrap();
    assert_eq!(source.class_names(), ["circle", "square"]);
}

#[test]
fn what_is_unclear_is_refused_with_the_setting_to_set() {
    for (text, wanted) in [
        (
            "kind = 'npy'\npath = 'mnist.npz:x_train'\nheld_out = 'mnist.npz:x_train'",
            "data.held_out_array: would be the training array",
        ),
        ("kind = 'svhn'\nroot = '.'\nheld_out_every = 2", "data.held_out_every: "),
        ("kind = 'npy'\npath = 'npy/last.npy'", "data.layout: "),
        ("kind = 'npy'\npath = 'mnist.npz'", "data.array: is missing"),
        (
            "kind = 'npy'\npath = 'mnist.npz'\narray = 'x_train'\nheld_out = 'mnist.npz'",
            "data.held_out_array: would be the training array",
        ),
        ("kind = 'npy'\npath = 'npy/frame.npy'\nlabels = true", "data.labels: "),
        ("kind = 'npy'\npath = 'npy/frame.npy'\nlabel_file = 'npy/i8.npy'", "whole numbers of shape (N,)"),
        ("kind = 'image-folder'\nroot = 'pictures'\ncolour = true\ngrey = true", "data.colour: "),
        ("kind = 'image-folder'\nroot = 'faces.zip'\nheld_out_every = 2", "data.held_out_every: "),
        ("kind = 'parquet'\nroot = 'parquet/nulls.parquet'\nlabels = true", "row 1 is missing"),
    ] {
        let told = refusal(text);
        assert!(told.contains(wanted), "{text}: {told}");
    }
}

#[test]
fn words_are_classes_with_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, descr: &str, shape: &str, data: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let len = (header.len() as u16).to_le_bytes();
        let bytes = [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat();
        std::fs::write(dir.path().join(name), bytes).unwrap();
    };
    file("x.npy", "|u1", "(3, 1, 2)", &[1, 2, 3, 4, 5, 6]);
    file("y.npy", "|S3", "(3,)", b"dogcatdog");
    file("hx.npy", "|u1", "(1, 1, 2)", &[7, 8]);
    file("hy.npy", "|S3", "(1,)", b"dog");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let text = format!(
        "kind = 'npy'\npath = {:?}\nlabel_file = {:?}\nheld_out = {:?}\nheld_out_label_file = {:?}\nlabels = true",
        at("x.npy"),
        at("y.npy"),
        at("hx.npy"),
        at("hy.npy")
    );
    let (source, _) = build(&text).unwrap();
    assert_eq!((source.class_names(), source.condition()), (&["cat".to_string(), "dog".into()][..], 2));
    let labels = |split| source.stored(split, 9).unwrap().unwrap().labels.unwrap();
    assert_eq!((labels(Split::Train), labels(Split::HeldOut)), (vec![1, 0, 1], vec![1]));
}
