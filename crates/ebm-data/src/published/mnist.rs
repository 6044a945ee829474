//! The IDX files of MNIST and of the sets that took its form, by their names: MNIST, Fashion-MNIST, KMNIST, EMNIST,
//! QMNIST, with torchvision's folders and Kaggle's names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::split::{self, SplitName};
use crate::{DataError, Result};

/// Folders of pictures have a million files; those of these sets a dozen.
const MOST_LOOKED_AT: usize = 1000;

/// Images and their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Such as `train-images-idx3-ubyte.gz`.
    pub images: PathBuf,
    /// Such as `train-labels-idx1-ubyte.gz`, if it is there.
    pub labels: Option<PathBuf>,
}

/// The files of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The training part.
    pub training: Pair,
    /// The part that is held out, if it is there.
    pub held_out: Option<Pair>,
    /// What whoever looks at the pictures should know.
    pub note: Option<&'static str>,
}

/// The files below a folder, at most two folders deep (torchvision's `MNIST/raw`); `None` if there are no images in the
/// format of MNIST.
///
/// # Errors
/// If there are several sets, which the message names.
pub fn find(folder: impl AsRef<Path>) -> Result<Option<Files>> {
    let root = folder.as_ref();
    let mut files = Vec::new();
    list(root, 0, &mut files);
    // Sets by their folder and what stands before the split in the name, such as `emnist-letters`.
    let mut sets = BTreeMap::<(PathBuf, String), Vec<(Option<SplitName>, PathBuf)>>::new();
    for path in files.iter().filter(|f| idx(f) == Some(true)) {
        let name = name_of(path);
        let key = (path.parent().unwrap_or(root).to_path_buf(), before_split(&name));
        sets.entry(key).or_default().push((split::of_name(&name), path.clone()));
    }
    // The further handwritten digits of QMNIST's `xnist-images` are another set.
    sets.retain(|_, images| images.iter().any(|(part, _)| *part == Some(SplitName::Train)));
    if sets.len() > 1 {
        let names: Vec<String> = sets
            .keys()
            .map(|(folder, name)| {
                folder.join(name).strip_prefix(root).unwrap_or(folder).display().to_string()
            })
            .collect();
        let what = format!("{}: sets in the format of MNIST", root.display());
        let expected = "one: name its own folder, or its files by the kind `idx`";
        return Err(DataError::mismatch(what, names.join(", "), expected));
    }
    let Some(((_, set), images)) = sets.into_iter().next() else { return Ok(None) };
    let pair = |wanted| {
        let (_, images) = images.iter().find(|(part, _)| *part == Some(wanted))?;
        let labels = files.iter().find(|f| {
            let name = name_of(f);
            idx(f) == Some(false)
                && f.parent() == images.parent()
                && split::of_name(&name) == Some(wanted)
                && before_split(&name) == set
        });
        Some(Pair { images: images.clone(), labels: labels.cloned() })
    };
    let note = set.contains("emnist").then_some(
        "the pictures of EMNIST are stored with rows and columns exchanged, unlike those of MNIST",
    );
    Ok(pair(SplitName::Train).map(|training| Files { training, held_out: pair(SplitName::HeldOut), note }))
}

/// Whether a file has images (or labels) by its name; `None` for other files.
fn idx(path: &Path) -> Option<bool> {
    let name = name_of(path);
    let rank = |n: &str| name.contains(&format!("-idx{n}-")) || name.contains(&format!(".idx{n}-"));
    match () {
        () if name.contains("images") && rank("3") => Some(true),
        () if name.contains("labels") && (rank("1") || rank("2")) => Some(false),
        () => None,
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// What stands before the word of the split.
fn before_split(name: &str) -> String {
    let at = ["train", "test", "t10k", "valid"].iter().filter_map(|w| name.find(w)).min();
    name[..at.unwrap_or(0)].trim_end_matches(['-', '_', '.']).to_string()
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    // A plain file is taken before its packed twin.
    entries.sort();
    entries.truncate(MOST_LOOKED_AT);
    for path in entries {
        match () {
            () if path.is_file() => files.push(path),
            () if depth < 2 && !name_of(&path).starts_with('.') => list(&path, depth + 1, files),
            () => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(names: &[&str]) -> (tempfile::TempDir, Result<Option<Files>>) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let files = find(folder.path());
        (folder, files)
    }

    #[test]
    fn every_naming_of_the_four_files_is_known() {
        for (prefix, dash, test, ending) in [
            ("", "-", "t10k", ""),
            ("", "-", "t10k", ".gz"),
            ("", ".", "t10k", ""),
            ("MNIST/raw/", "-", "t10k", ""),
            ("emnist-letters-", "-", "test", ".gz"),
        ] {
            let name =
                |part: &str, what: &str, n: u8| format!("{prefix}{part}-{what}{dash}idx{n}-ubyte{ending}");
            let names = [
                name("train", "images", 3),
                name("train", "labels", 1),
                name(test, "images", 3),
                name(test, "labels", 1),
            ];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (folder, files) = found(&names);
            let files = files.unwrap().unwrap();
            assert_eq!(files.training.images, folder.path().join(names[0]));
            assert_eq!(files.training.labels, Some(folder.path().join(names[1])));
            assert_eq!(files.held_out.unwrap().labels, Some(folder.path().join(names[3])));
            assert_eq!(files.note.is_some(), prefix.contains("emnist"));
        }
        let qmnist = [
            "qmnist-train-images-idx3-ubyte.gz",
            "qmnist-train-labels-idx2-int.gz",
            "xnist-images-idx3-ubyte.xz",
        ];
        let files = found(&qmnist).1.unwrap().unwrap();
        assert!(files.training.labels.is_some() && files.held_out.is_none());
    }

    #[test]
    fn several_sets_are_refused_by_name_and_none_is_none() {
        let names = ["emnist-letters-train-images-idx3-ubyte", "emnist-mnist-train-images-idx3-ubyte"];
        let text = found(&names).1.unwrap_err().to_string();
        assert!(text.contains("emnist-letters, emnist-mnist"), "{text}");
        let names = ["MNIST/raw/train-images-idx3-ubyte", "FashionMNIST/raw/train-images-idx3-ubyte"];
        assert!(found(&names).1.unwrap_err().to_string().contains("FashionMNIST/raw"));
        assert_eq!(found(&["a.png", "train-labels-idx1-ubyte"]).1.unwrap(), None);
    }
}
