//! ImageNet-32 and ImageNet-64 of Chrabaszcz et al. 2017, as pickles or `.npz`: rows of 3·side² bytes, R, G, B.
//!
//! Labels are counted from 1 in these files; here, as everywhere, from 0.

use std::path::{Path, PathBuf};

use super::cifar::Part;
use crate::npz::Npz;
use crate::pickle::Pickle;
use crate::{DataError, ImageSet, Result};

/// Number of classes.
const CLASSES: i64 = 1000;

/// The files of a part in a folder: `train_data_batch_1` … or `val_data`, with or without the ending `npz`.
pub fn files(folder: impl AsRef<Path>, part: Part) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".npz").unwrap_or(&name);
        path.is_file()
            && match part {
                Part::Train => {
                    stem.strip_prefix("train_data_batch_").is_some_and(|n| n.parse::<u32>().is_ok())
                }
                Part::Test => stem == "val_data",
            }
    };
    let mut files: Vec<PathBuf> = entries.map(|e| e.path()).filter(wanted).collect();
    // Batch 10 comes after batch 9.
    files.sort_by_key(|f| (f.as_os_str().len(), f.clone()));
    files
}

/// Images `(3, 32, 32)` (or of 64) of a part, with labels from 0.
///
/// # Errors
/// If there are no files of the part, or one is damaged or holds other sizes.
pub fn read(folder: impl AsRef<Path>, part: Part) -> Result<ImageSet> {
    let folder = folder.as_ref();
    let files = files(folder, part);
    if files.is_empty() {
        let name = if part == Part::Train { "train_data_batch_1" } else { "val_data" };
        let what = format!("{}: files of ImageNet-32", folder.display());
        return Err(DataError::mismatch(what, "none", format!("{name}, as a pickle or with the ending npz")));
    }
    let (mut bytes, mut labels, mut shape) = (Vec::new(), Vec::new(), None);
    for path in &files {
        let (images, classes) = read_file(path)?;
        if *shape.get_or_insert(images.shape()) != images.shape() {
            let what = format!("{}: the shape of its images", path.display());
            return Err(DataError::mismatch(what, format!("{:?}", images.shape()), format!("{shape:?}")));
        }
        bytes.extend_from_slice(images.bytes());
        for (i, class) in classes.into_iter().enumerate() {
            if !(1..=CLASSES).contains(&class) {
                let what = format!("{}: label of image {i}", path.display());
                return Err(DataError::mismatch(what, class.to_string(), "1 to 1000, as this set counts"));
            }
            labels.push(class as u32 - 1);
        }
    }
    ImageSet::new(bytes, shape.unwrap_or((3, 32, 32)), 256)?.with_labels(labels, Vec::new())
}

fn read_file(path: &Path) -> Result<(ImageSet, Vec<i64>)> {
    if path.extension().is_some_and(|e| e == "npz") {
        let mut npz = Npz::open(path)?;
        let images = npz.array("data")?.into_planes()?.into_images()?;
        return Ok((images, npz.array("labels")?.into_whole_numbers()?));
    }
    let bytes = crate::regular::read(path)?;
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
    Ok((get("data")?.array()?.into_planes()?.into_images()?, get("labels")?.whole_numbers()?))
}
