//! CIFAR-10 and CIFAR-100 as they are published: the binary version, or the Python version (pickles) that torchvision
//! downloads, too.
//!
//! Source: A. Krizhevsky's page; `batches.meta` and `meta` hold the names of the classes.

use std::path::{Path, PathBuf};

pub use super::cifar_binary::read_cifar10_files;
use crate::pickle::Pickle;
use crate::{DataError, ImageSet, Result};

/// Names of the ten classes by label, as in `batches.meta.txt`.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Which part of the published set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 50,000 images.
    Train,
    /// 10,000 images.
    Test,
}

/// Which of CIFAR-100's two labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// 20 groups.
    Coarse,
    /// 100 classes.
    Fine,
}

/// The folder of CIFAR-10 at `path`: itself, or `cifar-10-batches-py` or `cifar-10-batches-bin` in it; `None` if it holds
/// no batches.
pub fn cifar10_folder(path: &Path) -> Option<PathBuf> {
    let folders = ["", "cifar-10-batches-bin", "cifar-10-batches-py"].map(|f| path.join(f));
    folders.into_iter().find(|f| {
        ["data_batch_1", "test_batch"]
            .iter()
            .any(|n| f.join(n).is_file() || f.join(format!("{n}.bin")).is_file())
    })
}

/// The folder of CIFAR-100 at `path`: itself, or `cifar-100-python` or `cifar-100-binary` in it; `None` if it is not
/// there.
pub fn cifar100_folder(path: &Path) -> Option<PathBuf> {
    let folders = ["", "cifar-100-binary", "cifar-100-python"].map(|f| path.join(f));
    folders.into_iter().find(|f| {
        let binary = f.join("train.bin").is_file() && f.join("test.bin").is_file();
        binary || (f.join("train").is_file() && f.join("test").is_file() && f.join("meta").is_file())
    })
}

/// CIFAR-10 `(3, 32, 32)` from the folder that holds `data_batch_1.bin` … `test_batch.bin`, or the files of these names
/// without the ending, which are pickles; or from the folder above it, or one such file, whatever the part.
///
/// # Errors
/// If a file is missing or damaged, holds other sizes, or has a label above 9.
pub fn read_cifar10(folder: impl AsRef<Path>, part: Part) -> Result<ImageSet> {
    let given = folder.as_ref();
    if given.is_file() {
        return match given.extension() {
            None => read_pickles(&[given.to_path_buf()], "labels", 10)?
                .with_names(CIFAR10_CLASSES.map(String::from).to_vec()),
            Some(_) => read_cifar10_files(&[given]),
        };
    }
    let folder = cifar10_folder(given).unwrap_or_else(|| given.to_path_buf());
    let names: Vec<String> = match part {
        Part::Train => (1..=5).map(|i| format!("data_batch_{i}")).collect(),
        Part::Test => vec!["test_batch".into()],
    };
    if names.iter().any(|n| folder.join(n).is_file()) {
        let files: Vec<PathBuf> = names.iter().map(|n| folder.join(n)).collect();
        let images = read_pickles(&files, "labels", 10)?;
        let meta = folder.join("batches.meta");
        let names = if meta.is_file() {
            class_names(&meta, "label_names", 10)?
        } else {
            CIFAR10_CLASSES.map(String::from).to_vec()
        };
        return images.with_names(names);
    }
    let files: Vec<PathBuf> = names.iter().map(|n| folder.join(format!("{n}.bin"))).collect();
    read_cifar10_files(&files)
}

/// CIFAR-100 `(3, 32, 32)` from the folder that holds `train.bin` and `test.bin`, or `train`, `test` and `meta`, which
/// are pickles; or from the folder above it.
///
/// Class names come from `fine_label_names.txt` or `coarse_label_names.txt` beside the binary files, if present, or
/// from `meta`.
///
/// # Errors
/// If a file is missing or damaged, holds other sizes, or has a label above its bound, or if the names are not one a
/// class.
pub fn read_cifar100(folder: impl AsRef<Path>, part: Part, labels: Granularity) -> Result<ImageSet> {
    let given = folder.as_ref();
    let folder = cifar100_folder(given).unwrap_or_else(|| given.to_path_buf());
    let file = folder.join(if part == Part::Train { "train" } else { "test" });
    if !file.is_file() {
        return super::cifar_binary::read_cifar100(&folder, part, labels);
    }
    let (key, names, classes) = match labels {
        Granularity::Coarse => ("coarse_labels", "coarse_label_names", 20),
        Granularity::Fine => ("fine_labels", "fine_label_names", 100),
    };
    let images = read_pickles(&[file], key, classes as u32)?;
    images.with_names(class_names(&folder.join("meta"), names, classes)?)
}

/// Images of pickled dictionaries with the rows `data` `(N, 3·side²)` and a list of labels under `key`.
pub(super) fn read_pickles(files: &[PathBuf], key: &str, classes: u32) -> Result<ImageSet> {
    let (mut all, mut labels, mut shape) = (Vec::new(), Vec::new(), None);
    for path in files {
        let bytes = crate::regular::read(path)?;
        // Protocols from 2 on begin with this byte, text protocols with the mark of a dictionary.
        if !matches!(bytes.first(), Some(0x80 | b'(' | b'}')) {
            let foreign = crate::foreign::what_is(&bytes[..bytes.len().min(crate::foreign::HEAD)], path);
            let found =
                foreign.map_or(format!("{} bytes that are no Python pickle", bytes.len()), |f| f.to_string());
            let expected =
                "a file of the Python version, or the binary version (.bin): fetch one of them again";
            return Err(DataError::mismatch(path.display().to_string(), found, expected));
        }
        let pickle = Pickle::parse(&bytes, path)?;
        let get = |key: &str| {
            pickle.get(key).ok_or_else(|| {
                let what = format!("{}: the pickled dictionary", path.display());
                DataError::mismatch(
                    what,
                    format!("the keys {}", pickle.keys().join(", ")),
                    format!("`{key}`, too"),
                )
            })
        };
        let images = get("data")?.array()?.into_planes()?.into_images()?;
        if *shape.get_or_insert(images.shape()) != images.shape() {
            let what = format!("{}: the shape of its images", path.display());
            return Err(DataError::mismatch(what, format!("{:?}", images.shape()), format!("{shape:?}")));
        }
        all.extend_from_slice(images.bytes());
        for (i, label) in get(key)?.whole_numbers()?.into_iter().enumerate() {
            let label = u32::try_from(label).ok().filter(|l| *l < classes).ok_or_else(|| {
                let what = format!("{}: label of image {i}", path.display());
                DataError::mismatch(
                    what,
                    label.to_string(),
                    format!("0 to {}; is this the right set?", classes - 1),
                )
            })?;
            labels.push(label);
        }
    }
    let shape = shape.ok_or_else(|| DataError::mismatch("files of images", "none", "at least one"))?;
    ImageSet::new(all, shape, 256)?.with_labels(labels, Vec::new())
}

fn class_names(path: &Path, key: &str, classes: usize) -> Result<Vec<String>> {
    let bytes = crate::regular::read(path)?;
    let pickle = Pickle::parse(&bytes, path)?;
    let names = pickle.get(key).map(|v| v.texts()).transpose()?.unwrap_or_default();
    if names.len() != classes {
        let what = format!("{}: `{key}`", path.display());
        return Err(DataError::mismatch(what, format!("{} names", names.len()), classes.to_string()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PIXELS: usize = 3 * 32 * 32;

    fn record(labels: &[u8], value: u8) -> Vec<u8> {
        let mut out = labels.to_vec();
        out.extend(std::iter::repeat_n(value, PIXELS));
        out
    }

    #[test]
    fn batches_are_joined_in_order_and_classes_have_names() {
        let folder = tempfile::tempdir().unwrap();
        for i in 1..=5u8 {
            let path = folder.path().join(format!("data_batch_{i}.bin"));
            std::fs::write(path, record(&[i], 10 * i)).unwrap();
        }
        let set = read_cifar10(folder.path(), Part::Train).unwrap();
        assert_eq!(set.labels().unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!((set.shape(), set.image(4).unwrap()[0]), ((3, 32, 32), 50));
        assert_eq!(set.class_names()[9], "truck");
        let text = read_cifar10(folder.path(), Part::Test).unwrap_err().to_string();
        assert!(text.contains("test_batch.bin: cannot open"), "{text}");
    }

    #[test]
    fn both_labels_of_cifar100_can_be_had() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.bin"), record(&[19, 99], 1)).unwrap();
        let read = |g| read_cifar100(folder.path(), Part::Test, g).unwrap();
        assert_eq!(read(Granularity::Coarse).labels().unwrap(), [19]);
        assert_eq!(read(Granularity::Fine).labels().unwrap(), [99]);
        std::fs::write(folder.path().join("fine_label_names.txt"), "apple\n").unwrap();
        let text = read_cifar100(folder.path(), Part::Test, Granularity::Fine).unwrap_err().to_string();
        assert!(text.contains("list of names is 1 names, expected 100"), "{text}");
    }
}
