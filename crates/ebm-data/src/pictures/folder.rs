//! Folders of pictures at any depth; sub-folders are splits or classes.

use std::fs;
use std::path::{Path, PathBuf};

use super::decode::{Gauge, is_picture, left_out};
use super::index::Place;
use super::layout;
use crate::error::Origin;
use crate::sets::report::{Parts, Report};
use crate::{DataError, ImageSet, Result};

pub use super::decode::{Channels, FolderOptions, Splits, luma};
pub use super::index::Pictures;

/// Folders inside of folders are followed so far; links in a circle end here.
const DEEPEST: usize = 64;

/// Images of a folder, 256 levels, in the order of their names (bytewise, class by class); of a folder in splits the
/// training part.
///
/// With sub-folders each of them is a class, numbered and named in the order of the names, and pictures at any depth
/// inside belong to it; sub-folders named as splits (`train`, `val`) are splits with classes inside, and a single
/// sub-folder of folders is passed through. Names that begin with a dot and other files are left out and counted by
/// [`parts`]. Transparency is dropped, 16 bits a channel become 8, of moving pictures the first is taken, and rotation
/// marks of cameras are ignored.
///
/// # Errors
/// If there is no picture, one is damaged or of another size or sort than the first, pictures stand beside sub-folders
/// (which would have no class), or names tell parts of the set that are not clear (see `splits`).
pub fn read(root: impl AsRef<Path>, options: &FolderOptions) -> Result<ImageSet> {
    parts(root.as_ref(), options)?.training.read()
}

/// The parts of a folder, and what was left out.
///
/// # Errors
/// As [`read`], but for what is wrong with later pictures.
pub fn parts(root: impl AsRef<Path>, options: &FolderOptions) -> Result<Parts<Pictures>> {
    let root = root.as_ref();
    let (names, layout, report) = arranged(root, options.splits)?;
    let places = names.iter().map(|n| Some(Place::File(root.join(n)))).collect();
    Pictures::parts(places, layout, report, options)
}

impl Pictures {
    /// Lists a folder as [`read`] does and reads its first picture, which settles size
    /// and colours; of a set in splits the training part. [`open`](super::open) has all parts.
    ///
    /// # Errors
    /// As [`read`], but for what is wrong with later pictures.
    pub fn open(root: impl AsRef<Path>, options: &FolderOptions) -> Result<Self> {
        Ok(parts(root.as_ref(), options)?.training)
    }
}

/// The files of the training part of a folder, and what was left out.
pub(super) fn training(root: &Path, splits: Splits) -> Result<(Vec<PathBuf>, Report)> {
    let (names, layout, report) = arranged(root, splits)?;
    Ok((layout.training.iter().map(|i| root.join(&names[*i])).collect(), report))
}

fn arranged(root: &Path, splits: Splits) -> Result<(Vec<PathBuf>, layout::Layout, Report)> {
    let mut report = Report::default();
    let names = list(root, &mut report)?;
    if names.is_empty() {
        return Err(no_picture(root, &report));
    }
    if let Some(arrays) = arrays_of_samples(root, &names) {
        return Err(arrays);
    }
    let layout = layout::arrange(root, &names, splits, &mut report)?;
    Ok((names, layout, report))
}

/// One picture, 256 levels.
///
/// # Errors
/// If it is damaged or no picture.
pub fn read_picture(path: impl AsRef<Path>, options: &FolderOptions) -> Result<ImageSet> {
    let path = path.as_ref();
    let raw = crate::regular::read(path)?;
    let (gauge, bytes) = Gauge::of(&raw, path, options)?;
    ImageSet::new(bytes, gauge.shape, 256)
}

/// The files of the training part of a folder, and of its held-out part if it has one, in the order in which [`read`] takes
/// them.
///
/// # Errors
/// As [`parts`], but for what is wrong with the pictures.
pub fn files(root: impl AsRef<Path>) -> Result<Parts<Vec<PathBuf>>> {
    let root = root.as_ref();
    let (names, layout, report) = arranged(root, Splits::Told)?;
    let of = |rows: &[usize]| -> Vec<PathBuf> { rows.iter().map(|i| root.join(&names[*i])).collect() };
    let held_out = Some(of(&layout.held_out)).filter(|files| !files.is_empty());
    Ok(Parts { training: of(&layout.training), held_out, report })
}

/// The pictures of a folder and of its sub-folders, in the order in which [`read`] takes them.
///
/// # Errors
/// If a folder cannot be listed.
pub fn pictures(root: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let root = root.as_ref();
    Ok(list(root, &mut Report::default())?.into_iter().map(|n| root.join(n)).collect())
}

/// The error of a folder of arrays that hold samples each, as `X_train.npy` and `y_train.npy`, and are no pictures.
fn arrays_of_samples(root: &Path, names: &[PathBuf]) -> Option<DataError> {
    /// Sets are in a few files, pictures in many.
    const MOST: usize = 16;
    let is_array = |n: &PathBuf| n.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
    if names.len() > MOST || !names.iter().all(is_array) {
        return None;
    }
    let words = |name: &Path| -> Vec<String> {
        let stem = name.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        stem.split(|c: char| !c.is_alphabetic()).map(String::from).collect()
    };
    let has = |name: &Path, of: &[&str]| words(name).iter().any(|w| of.contains(&w.as_str()));
    let is_labels = |name: &Path| has(name, &["y", "label", "labels", "target", "targets", "classes"]);
    let is_data = |name: &Path| has(name, &["x", "data", "images", "features", "samples", "inputs"]);
    let held_out = |name: &Path| {
        crate::split::of_name(&name.to_string_lossy()) == Some(crate::split::SplitName::HeldOut)
    };
    if !names.iter().any(|n| is_labels(n) || is_data(n)) {
        return None;
    }
    let find = |labels: bool, held: bool| {
        names.iter().find(|n| is_labels(n) == labels && held_out(n) == held).map(|n| root.join(n))
    };
    let settings = [
        ("path", find(false, false)),
        ("label_file", find(true, false)),
        ("held_out", find(false, true)),
        ("held_out_label_file", find(true, true)),
    ];
    let shown = |(name, path): (&str, Option<PathBuf>)| path.map(|path| format!("{name}={}", path.display()));
    let settings: Vec<String> = settings.into_iter().filter_map(shown).collect();
    let all: Vec<String> = names.iter().take(6).map(|n| n.display().to_string()).collect();
    let found = format!("of arrays of samples ({})", all.join(", "));
    let expected =
        format!("pictures; arrays are read by the kind npy with their files: npy:{}", settings.join(","));
    Some(Origin(root).format(0, "the folder", found, expected))
}

fn no_picture(folder: &Path, report: &Report) -> DataError {
    let found = match (crate::foreign::of_folder(folder), report.left_out.first()) {
        (Some(foreign), _) => format!("without pictures; it holds {foreign}"),
        (None, Some(left)) => format!("without pictures among {} {}", left.count, left.what),
        (None, None) => "without pictures".to_string(),
    };
    Origin(folder).format(
        0,
        "the folder",
        found,
        "files ending in png, jpg, webp, bmp, tiff, gif, ppm or npy",
    )
}

/// Names of the pictures below a folder, sorted folder by folder; arrays `.npy` are pictures where there are no others.
fn list(root: &Path, report: &mut Report) -> Result<Vec<PathBuf>> {
    let (mut pictures, mut arrays) = (Vec::new(), Vec::new());
    walk(root, Path::new(""), 0, &mut |name: &Path, kind| match kind {
        Kind::Picture => pictures.push(name.to_path_buf()),
        Kind::Array => arrays.push(name.to_path_buf()),
        Kind::Hidden => report.leave("hidden files", &root.join(name)),
        Kind::Other => report.leave(left_out(name), &root.join(name)),
    })?;
    if pictures.is_empty() {
        return Ok(arrays);
    }
    arrays.iter().for_each(|name| report.leave("files that are no pictures", &root.join(name)));
    Ok(pictures)
}

enum Kind {
    Picture,
    Array,
    Hidden,
    Other,
}

fn walk(root: &Path, below: &Path, depth: usize, each: &mut impl FnMut(&Path, Kind)) -> Result<()> {
    // Without the slash that joining nothing leaves behind.
    let folder = if depth == 0 { root.to_path_buf() } else { root.join(below) };
    if depth > DEEPEST {
        let expected = format!("at most {DEEPEST} folders deep; is there a link to a folder above it?");
        return Err(Origin(&folder).format(0, "the folder", "deeper", expected));
    }
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&folder).map_err(DataError::io(&folder, "list"))? {
        let path = entry.map_err(DataError::io(&folder, "list"))?.path();
        let Some(name) = path.file_name() else { continue };
        let name = below.join(name);
        if path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")) {
            each(&name, Kind::Hidden);
        } else if path.is_dir() {
            folders.push(name);
        } else {
            files.push(name);
        }
    }
    folders.sort();
    files.sort();
    for name in files {
        let kind = match name.extension() {
            _ if is_picture(&name) => Kind::Picture,
            Some(e) if e.eq_ignore_ascii_case("npy") => Kind::Array,
            _ => Kind::Other,
        };
        each(&name, kind);
    }
    folders.iter().try_for_each(|name| walk(root, name, depth + 1, each))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use image::{GrayImage, RgbImage};

    use super::*;

    fn grey(path: PathBuf, w: u32, h: u32, v: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(w, h, [v].into()).save(path).unwrap();
    }

    fn message(r: Result<ImageSet>) -> String {
        r.unwrap_err().to_string()
    }

    #[test]
    fn sub_folders_are_classes_in_the_order_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        grey(at("b/2.png"), 3, 2, 4);
        grey(at("b/10.PNG"), 3, 2, 3);
        grey(at("a/x.png"), 3, 2, 1);
        fs::write(at("a/notes.txt"), "passed over").unwrap();
        fs::write(at("a/.hidden.png"), "passed over").unwrap();
        let set = read(root.path(), &FolderOptions::default()).unwrap();
        assert_eq!((set.len(), set.shape()), (3, (1, 2, 3)));
        assert_eq!(
            (set.labels().unwrap(), set.class_names()),
            (&[0, 1, 1][..], &["a".into(), "b".into()][..])
        );
        // "10" stands before "2": bytewise, not by number.
        assert_eq!([set.bytes()[0], set.bytes()[6], set.bytes()[12]], [1, 3, 4]);
    }

    #[test]
    fn pictures_are_read_when_they_are_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        (0..4u8).for_each(|i| grey(at(&format!("{}/{i}.png", ["a", "b"][usize::from(i / 2)])), 2, 1, i));
        let pictures = Pictures::open(root.path(), &FolderOptions::default()).unwrap();
        let (train, held) = pictures.split_every(2).unwrap();
        let mut bytes = Vec::new();
        (0..2).for_each(|i| train.image(i, &mut bytes).unwrap());
        assert_eq!((bytes, train.labels().unwrap(), held.len()), (vec![1, 1, 3, 3], &[0, 1][..], 2));
        // A file that is spoilt later is an error of that file alone.
        fs::write(at("a/1.png"), "text").unwrap();
        assert!(train.image(0, &mut Vec::new()).unwrap_err().to_string().contains("1.png"));
        train.image(1, &mut Vec::new()).unwrap();
        assert!(train.image(2, &mut Vec::new()).is_err());
    }

    #[test]
    fn colours_become_planes_or_pils_grey() {
        let root = tempfile::tempdir().unwrap();
        RgbImage::from_fn(2, 1, |x, _| if x == 0 { [255, 0, 0].into() } else { [10, 200, 30].into() })
            .save(root.path().join("c.png"))
            .unwrap();
        let rgb = read(root.path(), &FolderOptions::default()).unwrap();
        assert_eq!((rgb.shape(), rgb.bytes()), ((3, 1, 2), &[255, 10, 0, 200, 0, 30][..]));
        let options = FolderOptions { channels: Channels::Grey, ..Default::default() };
        // Image.new("RGB", (1, 1), (255, 0, 0)).convert("L") is 76, (10, 200, 30) is 124.
        assert_eq!(read(root.path(), &options).unwrap().bytes(), [76, 124]);
    }

    #[test]
    fn jpeg_and_resizing_work_together() {
        let root = tempfile::tempdir().unwrap();
        grey(root.path().join("a.jpg"), 9, 5, 80);
        grey(root.path().join("b.png"), 4, 4, 80);
        let text = message(read(root.path(), &FolderOptions::default()));
        assert!(
            text.contains("b.png: the size of the picture: found 4 x 4 (H x W), expected 5 x 9 (H x W) as"),
            "{text}"
        );
        let options = FolderOptions { resize: Some((3, 3)), channels: Channels::Rgb, ..Default::default() };
        let set = read(root.path(), &options).unwrap();
        assert_eq!((set.len(), set.shape(), set.labels()), (2, (3, 3, 3), None));
        // A flat grey block survives jpeg to within its rounding.
        assert!(set.bytes().iter().all(|&v| v.abs_diff(80) <= 1));
        let options = FolderOptions { resize: Some((0, 3)), ..Default::default() };
        assert!(message(read(root.path(), &options)).contains("option size"));
    }

    #[test]
    fn what_cannot_be_a_set_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        let read = || read(root.path(), &FolderOptions::default());
        assert!(message(read()).contains("without pictures"));
        grey(at("a/1.png"), 2, 2, 0);
        grey(at("0.png"), 2, 2, 0);
        assert!(message(read()).contains("0.png: the place of the picture"));
        fs::remove_file(at("0.png")).unwrap();
        fs::write(at("a/1.png"), "text").unwrap();
        assert!(message(read()).contains("1.png: the picture is unreadable"));
        assert!(message(super::read(at("none"), &FolderOptions::default())).contains("none: cannot list"));
    }

    #[test]
    fn what_is_left_out_is_counted_and_splits_are_held_apart() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        grey(at("train/a/deep/1.png"), 2, 2, 1);
        grey(at("train/b/2.PNG"), 2, 2, 2);
        grey(at("val/b/3.png"), 2, 2, 3);
        fs::write(at("train/a/.hidden.png"), "x").unwrap();
        fs::write(at("notes.txt"), "x").unwrap();
        let parts = parts(root.path(), &FolderOptions::default()).unwrap();
        let held = parts.held_out.unwrap().read().unwrap();
        assert_eq!((parts.training.len(), held.len(), held.labels().unwrap()), (2, 1, &[1][..]));
        assert_eq!(parts.training.read().unwrap().bytes(), [1, 1, 1, 1, 2, 2, 2, 2]);
        let lines = parts.report.lines().join("\n");
        assert!(
            lines.contains("1 hidden files") && lines.contains("1 files that are no pictures"),
            "{lines}"
        );
    }

    #[test]
    fn grey_and_coloured_pictures_together_have_three_channels() {
        let root = tempfile::tempdir().unwrap();
        RgbImage::from_pixel(2, 1, [9, 8, 7].into()).save(root.path().join("b.png")).unwrap();
        for grey_first in ["c.png", "a.png"] {
            grey(root.path().join(grey_first), 2, 1, 5);
            let set = read(root.path(), &FolderOptions::default()).unwrap();
            assert_eq!(
                (set.len(), set.shape(), set.bytes().contains(&7)),
                (if grey_first == "c.png" { 2 } else { 3 }, (3, 1, 2), true)
            );
        }
        // Read one by one, the first picture has to hold.
        let pictures = Pictures::open(root.path(), &FolderOptions::default()).unwrap();
        let text = pictures.image(1, &mut Vec::new()).unwrap_err().to_string();
        assert!(
            text.contains("b.png: the picture: found coloured, expected grey as")
                && text.contains("colour = true"),
            "{text}"
        );
        let options = FolderOptions { channels: Channels::Rgb, ..Default::default() };
        assert_eq!(read(root.path(), &options).unwrap().bytes()[..6], [5; 6]);
        let options = FolderOptions { channels: Channels::Grey, ..Default::default() };
        assert_eq!(read(root.path(), &options).unwrap().shape(), (1, 1, 2));
    }

    #[test]
    fn arrays_of_samples_in_a_folder_are_named_with_the_settings_of_their_kind() {
        let root = tempfile::tempdir().unwrap();
        for name in ["X_train.npy", "y_train.npy", "X_test.npy", "y_test.npy"] {
            crate::npy::write(root.path().join(name), &[0.0; 6], &[3, 2]).unwrap();
        }
        let text = message(read(root.path(), &FolderOptions::default()));
        let at = |name: &str| root.path().join(name).display().to_string();
        let settings = format!(
            "npy:path={},label_file={},held_out={},held_out_label_file={}",
            at("X_train.npy"),
            at("y_train.npy"),
            at("X_test.npy"),
            at("y_test.npy")
        );
        assert!(text.contains(&settings), "{text}");
    }

    #[test]
    fn a_pointer_instead_of_a_picture_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.png"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
            .unwrap();
        let text = message(read(root.path(), &FolderOptions::default()));
        assert!(text.contains("Git LFS pointer"), "{text}");
    }
}
