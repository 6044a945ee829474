//! Small files written by the libraries that write the sets which users have (`scripts/make-data-goldens.py`), compared
//! number by number.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ebm_data::cifar::{self, Granularity, Part};
use ebm_data::folder::{Channels, FolderOptions, read_picture};
use ebm_data::idx::Idx;
use ebm_data::mat::Mat;
use ebm_data::npy::{Npy, NpyRows, NpyValues};
use ebm_data::npz::Npz;
use ebm_data::parquet::{ParquetImages, ParquetOptions};
use ebm_data::{ImageSet, imagenet32, pictures, svhn};

fn at(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Bytes (c, h, w) of picture `i` of the script.
fn picture(i: usize, c: usize, h: usize, w: usize) -> Vec<u8> {
    let value = |c: usize, y: usize, x: usize| ((37 * i + 11 * c + 5 * y + 3 * x + x * y) % 256) as u8;
    (0..c).flat_map(|c| (0..h).flat_map(move |y| (0..w).map(move |x| value(c, y, x)))).collect()
}

fn same(set: &ImageSet, shape: (usize, usize, usize), pictures: &[usize]) {
    assert_eq!((set.len(), set.shape()), (pictures.len(), shape));
    for (at, i) in pictures.iter().enumerate() {
        assert_eq!(set.image(at).unwrap(), picture(*i, shape.0, shape.1, shape.2), "picture {i}");
    }
}

#[test]
fn pickles_of_cifar_are_read_in_every_protocol() {
    // From the folder itself and from the one above it, as torchvision's `root`.
    for root in [at("cifar-10-batches-py"), at("")] {
        let train = cifar::read_cifar10(&root, Part::Train).unwrap();
        same(&train, (3, 32, 32), &[1, 2, 3, 4, 5]);
        assert_eq!(
            (train.labels().unwrap(), train.class_names()[9].as_str()),
            (&[1, 2, 3, 4, 5][..], "truck")
        );
        let test = cifar::read_cifar10(&root, Part::Test).unwrap();
        same(&test, (3, 32, 32), &[9]);
        assert_eq!(test.labels().unwrap(), [9]);
    }
    let fine = cifar::read_cifar100(at(""), Part::Train, Granularity::Fine).unwrap();
    same(&fine, (3, 32, 32), &[1]);
    assert_eq!((fine.labels().unwrap(), fine.class_names()[98].as_str()), (&[98][..], "fine 98"));
    let coarse = cifar::read_cifar100(at("cifar-100-python"), Part::Test, Granularity::Coarse).unwrap();
    assert_eq!((coarse.labels().unwrap(), coarse.class_names().len()), (&[19][..], 20));
}

#[test]
fn imagenet_32_is_read_from_pickles_and_archives_with_classes_from_0() {
    let train = imagenet32::read(at("imagenet32"), Part::Train).unwrap();
    same(&train, (3, 32, 32), &[1, 2]);
    assert_eq!(train.labels().unwrap(), [0, 999]);
    same(&imagenet32::read(at("imagenet32"), Part::Test).unwrap(), (3, 32, 32), &[3]);
}

#[test]
fn svhn_and_other_matlab_files_are_read_packed_and_plain() {
    for name in ["train_32x32.mat", "test_32x32.mat"] {
        let set = svhn::read(at(name)).unwrap();
        same(&set, (3, 32, 32), &[1, 2]);
        assert_eq!(set.labels().unwrap(), [0, 3]);
        assert_eq!(Mat::open(at(name)).unwrap().names(), ["X", "y"]);
    }
    let doubles = Mat::open(at("doubles.mat")).unwrap();
    assert_eq!(doubles.names(), ["v"]);
    let v = doubles.array("v").unwrap();
    assert_eq!((v.dims(), v.values()), (&[2, 3][..], &NpyValues::F64(vec![0.0, 0.25, 0.5, 0.75, 1.0, 1.25])));
}

#[test]
fn other_formats_of_pictures_have_the_same_values() {
    for name in ["lossless.webp", "plain.bmp", "plain.tiff", "lzw.tif", "deflate.tif", "colour.ppm"] {
        let set = read_picture(at("pictures").join(name), &FolderOptions::default()).unwrap();
        same(&set, (3, 4, 5), &[4]);
    }
    for name in ["grey.pgm", "grey.png", "grey.gif"] {
        let options = FolderOptions { channels: Channels::Grey, ..Default::default() };
        same(&read_picture(at("pictures").join(name), &options).unwrap(), (1, 4, 5), &[4]);
    }
    // Chroma of lossy webp is interpolated, which libwebp and the image library do alike to within a level.
    let lossy = read_picture(at("pictures/lossy.webp"), &FolderOptions::default()).unwrap();
    let wanted = Npy::read(at("lossy-webp.npy")).unwrap();
    let NpyValues::U8(wanted) = wanted.values() else { panic!("another type") };
    assert!(
        lossy.bytes().iter().zip(wanted).all(|(a, b)| a.abs_diff(*b) <= 1),
        "{:?} {wanted:?}",
        lossy.bytes()
    );
}

#[test]
fn archives_and_databases_of_pictures_are_read() {
    let open = |name: &str| pictures::open(at(name), &FolderOptions::default()).unwrap();
    let zip = open("faces.zip");
    let train = zip.training.read().unwrap();
    // Folder a has pictures 0 and 2, folder b picture 1.
    same(&train, (3, 4, 5), &[0, 2, 1]);
    assert_eq!(
        (train.labels().unwrap(), train.class_names()),
        (&[0, 0, 1][..], &["a".into(), "b".into()][..])
    );
    let held = zip.held_out.unwrap().read().unwrap();
    same(&held, (3, 4, 5), &[3]);
    assert_eq!(held.labels().unwrap(), [1]);
    let tar = open("shard-train-000000.tar").training.read().unwrap();
    same(&tar, (3, 4, 5), &[0, 1, 2]);
    assert_eq!(tar.labels().unwrap(), [4, 5, 6]);
    same(&open("celebahq-r02.tfrecords").training.read().unwrap(), (3, 4, 5), &[1, 2]);
    same(&open("encoded.tfrecord").training.read().unwrap(), (3, 4, 5), &[3]);
    same(&open("celeba-hq-npy").training.read().unwrap(), (3, 4, 5), &[1, 2]);
    let lsun = open("lsun_train_lmdb").training;
    let noise = Npy::read(at("lsun-noise.npy")).unwrap();
    let NpyValues::U8(noise) = noise.values() else { panic!("another type") };
    let set = lsun.read().unwrap();
    assert_eq!((set.len(), set.image(0).unwrap()), (3, &noise[..]));
    assert_eq!(set.image(1).unwrap(), picture(1, 3, 32, 32));
    assert!(set.image(2).unwrap().iter().all(|v| *v == 9));
}

#[test]
fn a_database_of_two_levels_is_walked_in_the_order_of_its_keys() {
    // Its values are no pictures: the error names the first key.
    let text = pictures::open(at("deep.mdb"), &FolderOptions::default()).unwrap_err().to_string();
    assert!(
        text.contains(&format!("deep.mdb/{:0400}", 0)) && text.contains("the picture is unreadable"),
        "{text}"
    );
}

#[test]
fn every_type_of_numpy_has_its_values() {
    let read = |name: &str| Npy::read(at("npy").join(name)).unwrap();
    let bools: Vec<u8> = (0..12).map(|i| u8::from(i % 3 == 0)).collect();
    let b = read("bool.npy");
    assert_eq!((b.values(), b.levels()), (&NpyValues::Bool(bools), 2));
    assert_eq!(read("i1.npy").values(), &NpyValues::I8(vec![-1, 0, 1, 2, 100, 127]));
    for name in ["i2.npy", "big-i2.npy"] {
        assert_eq!(read(name).values(), &NpyValues::I16(vec![-1, 0, 1, 2, 100, 127]));
    }
    assert_eq!(read("u2.npy").values(), &NpyValues::U16(vec![65535, 0, 1, 2, 100, 127]));
    assert_eq!(read("u8.npy").values(), &NpyValues::U64(vec![u64::MAX, 0, 1, 2, 100, 127]));
    for name in ["i4.npy", "i8.npy", "f8.npy", "big-f2.npy"] {
        assert_eq!(read(name).into_array().unwrap().values(), [-1.0, 0.0, 1.0, 2.0, 100.0, 127.0], "{name}");
    }
    // As numpy says: np.load("f2.npy").astype("f4").
    let least = (-24f32).exp2();
    let half = read("f2.npy").into_array().unwrap();
    let wanted = [0.0, -0.0, 1.0, -2.5, least, 1023.0 * least, 65504.0, f32::INFINITY, f32::NEG_INFINITY];
    assert!(half.values().iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits()), "{half:?}");
}

#[test]
fn fortran_order_and_channels_last_are_turned() {
    let fortran = Npy::read(at("npy/fortran.npy")).unwrap();
    let wanted: Vec<u8> = (0..60).collect();
    assert_eq!((fortran.dims(), fortran.values()), (&[5, 3, 4][..], &NpyValues::U8(wanted.clone())));
    let path = at("npy/fortran.npy");
    let mut rows = NpyRows::open(&path).unwrap();
    assert_eq!(rows.next(2).unwrap(), NpyValues::U8(wanted[..24].to_vec()));
    assert_eq!(rows.next(9).unwrap(), NpyValues::U8(wanted[24..].to_vec()));
    let frame = Npy::read(at("npy/frame.npy")).unwrap().into_array().unwrap();
    assert_eq!((frame.dims(), frame.values()), (&[3, 2][..], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0][..]));
    let last = Npy::read(at("npy/last.npy")).unwrap();
    let text = last.clone().into_images().unwrap_err().to_string();
    assert!(text.contains("channels last, (N, H, W, C)") && text.contains("layout"), "{text}");
    same(&last.clone().channels_first().unwrap().into_images().unwrap(), (3, 8, 9), &[0, 1, 2]);
    same(&last.into_images_channels_last().unwrap(), (3, 8, 9), &[0, 1, 2]);
}

#[test]
fn archives_of_arrays_have_their_halves_and_labels() {
    let mut mnist = Npz::open(at("mnist.npz")).unwrap();
    assert_eq!(mnist.names(), ["x_test", "x_train", "y_test", "y_train"]);
    same(&mnist.array("x_test").unwrap().into_images().unwrap(), (1, 6, 6), &[0, 1]);
    assert_eq!(mnist.array("y_test").unwrap().into_labels().unwrap(), [8, 9]);
    let mut medical = Npz::open(at("medmnist.npz")).unwrap();
    assert_eq!(medical.array("train_labels").unwrap().into_labels().unwrap(), [0, 1, 0]);
    let sprites = Npz::open(at("dsprites.npz")).unwrap().array("imgs").unwrap();
    assert_eq!(sprites.levels(), 2);
    let set = sprites.into_images_of(2).unwrap();
    assert!(set.unit_values().iter().enumerate().all(|(i, v)| *v == f32::from(u8::from(i % 5 == 0))));
    let labels = Idx::read(at("qmnist-test-labels-idx2-int.gz")).unwrap().into_labels().unwrap();
    assert_eq!(labels, [5, 9]);
}

#[test]
fn parquet_is_read_in_every_packing_and_from_every_writer() {
    let open = |name: &str| {
        let path = at("parquet").join(format!("{name}.parquet"));
        ParquetImages::open(&[path], &ParquetOptions::default()).unwrap().read().unwrap()
    };
    for codec in ["zstd", "gzip", "brotli", "lz4", "snappy", "none"] {
        for version in ["", "-v2"] {
            let set = open(&format!("{codec}{version}"));
            same(&set, (3, 4, 5), &[0, 1, 2, 3]);
            assert_eq!(set.labels().unwrap(), [0, 1, 0, 1], "{codec}{version}");
        }
    }
    for writer in ["polars", "duckdb"] {
        let set = open(writer);
        same(&set, (3, 4, 5), &[0, 1, 2]);
        assert_eq!(set.labels().unwrap(), [2, 1, 0], "{writer}");
    }
    let set = open("datasets");
    same(&set, (3, 4, 5), &[0, 1, 2]);
    assert_eq!(
        (set.labels().unwrap(), set.class_names()),
        (&[1, 0, 1][..], &["circle".into(), "square".into()][..])
    );
}

#[test]
fn labels_may_be_words_missing_or_hidden_and_stop_only_who_asks() {
    let open = |name: &str, labels| {
        let options = ParquetOptions { labels, ..Default::default() };
        ParquetImages::open(&[at("parquet").join(format!("{name}.parquet"))], &options)
    };
    let words = open("words", true).unwrap();
    assert_eq!(words.class_names(), ["cat", "dog"]);
    assert_eq!(words.labels().unwrap(), [1, 0, 1, 0]);
    for (name, wanted) in [
        ("nulls", "row 1 is missing"),
        ("hidden", "row 0 is missing or -1"),
        ("floats", "row 0 of a row group is 0.5"),
    ] {
        let set = open(name, false).unwrap();
        assert!(set.labels().is_none() && !set.read().unwrap().is_empty(), "{name}");
        let text = open(name, true).unwrap_err().to_string();
        assert!(text.contains(wanted), "{text}");
    }
    // A held-out part is numbered as the training part is.
    let classes = Some(vec!["bird".into(), "cat".into(), "dog".into()]);
    let options = ParquetOptions { classes, ..Default::default() };
    let held = ParquetImages::open(&[at("parquet/words.parquet")], &options).unwrap();
    assert_eq!(held.labels().unwrap(), [2, 1, 2, 1]);
}
