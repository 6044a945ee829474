//! Which files of a repository of a data set are its training part, which are held out, and which configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::Origin;
use crate::sets::report::{Parts, Report};
use crate::split::{self, SplitName};
use crate::{DataError, Result};

/// Folders of a snapshot are a few levels deep.
const DEEPEST: usize = 16;

/// Folders of pictures have a million files; those of a repository few.
const MOST_LOOKED_AT: usize = 10_000;

/// The Parquet files of a set at `path`: the file itself, or those below a folder, at any depth.
///
/// Splits are told by words in the names of files, or of folders, nearest first ([`of_path`](crate::split::of_path)).
/// Validation and test are held out; `extra` and, where some file is named as training, files without such a word are
/// left out and counted. Folders that are neither splits nor `data` are configurations.
///
/// # Errors
/// If a folder cannot be listed, there are several configurations (the message names them), or nothing is left to train
/// on.
pub fn parts(path: impl AsRef<Path>) -> Result<Parts<Vec<PathBuf>>> {
    let root = path.as_ref();
    let mut report = Report::default();
    if !root.is_dir() {
        return Ok(Parts { training: vec![root.to_path_buf()], held_out: None, report });
    }
    let mut all = Vec::new();
    walk(root, Path::new(""), 0, &mut all, &mut report)?;
    let configurations: BTreeSet<String> = all.iter().map(|f| configuration(f)).collect();
    if configurations.len() > 1 {
        let names: Vec<String> = configurations
            .iter()
            .map(|c| if c.is_empty() { "(files without a folder)".into() } else { format!("`{c}`") })
            .collect();
        let what = format!("{}: configurations of the data set", root.display());
        let expected = "one: name its folder instead, such as ";
        let example = configurations.iter().next_back().map_or_else(PathBuf::new, |c| root.join(c));
        return Err(DataError::mismatch(what, names.join(", "), format!("{expected}{}", example.display())));
    }
    let named = all.iter().any(|f| split::of_path(f) == Some(SplitName::Train));
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for below in all {
        let full = root.join(&below);
        match split::of_path(&below) {
            Some(SplitName::HeldOut) => held_out.push(full),
            Some(SplitName::Extra) => report.leave("files of a further split", &full),
            None if named => report.leave("files beside those named as training", &full),
            _ => training.push(full),
        }
    }
    if training.is_empty() {
        let found = match held_out.first() {
            Some(held) => format!("without training files; {} would be held out", held.display()),
            None => crate::foreign::of_folder(root).map_or("without training files".to_string(), |f| {
                format!("without training files; it holds {f}")
            }),
        };
        let expected = "files ending in parquet; those named test, validation, val, dev or eval are held out";
        return Err(Origin(root).format(0, "the folder", found, expected));
    }
    let held_out = (!held_out.is_empty()).then_some(held_out);
    Ok(Parts { training, held_out, report })
}

/// The files of [`parts`], `(training, held-out)`.
///
/// # Errors
/// As [`parts`].
pub fn files(path: impl AsRef<Path>) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let parts = parts(path)?;
    Ok((parts.training, parts.held_out.unwrap_or_default()))
}

/// Whether there is a Parquet file in a folder or up to three folders below it.
pub fn is_repository(folder: &Path) -> bool {
    fn holds(folder: &Path, depth: usize) -> bool {
        let entries: Vec<PathBuf> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .take(MOST_LOOKED_AT)
            .map(|e| e.path())
            .collect();
        let hidden = |p: &PathBuf| p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        entries.iter().any(|p| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")))
            || depth > 0 && entries.iter().any(|p| !hidden(p) && p.is_dir() && holds(p, depth - 1))
    }
    holds(folder, 3)
}

/// The folders of a file that are neither splits nor `data`.
fn configuration(below: &Path) -> String {
    let folders = below.parent().into_iter().flat_map(Path::components).filter_map(|c| match c {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let names: Vec<&str> = folders.filter(|f| *f != "data" && split::of_name(f).is_none()).collect();
    names.join("/")
}

fn walk(root: &Path, below: &Path, depth: usize, all: &mut Vec<PathBuf>, report: &mut Report) -> Result<()> {
    let folder = if depth == 0 { root.to_path_buf() } else { root.join(below) };
    if depth > DEEPEST {
        let expected = format!("at most {DEEPEST} folders deep; is there a link to a folder above it?");
        return Err(Origin(&folder).format(0, "the folder", "deeper", expected));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(DataError::io(&folder, "list"))? {
        names.push(below.join(entry.map_err(DataError::io(&folder, "list"))?.file_name()));
    }
    names.sort();
    for name in names {
        let hidden = name.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let full = root.join(&name);
        match () {
            // `.cache` and `.gitattributes` come with every snapshot.
            () if hidden => {}
            () if full.is_dir() => walk(root, &name, depth + 1, all, report)?,
            () if name.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) => all.push(name),
            () if ["md", "json", "txt", "yaml", "py"]
                .iter()
                .any(|e| name.extension().is_some_and(|x| x == *e)) => {}
            () => report.leave("files that are no Parquet", &full),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn repository(names: &[&str]) -> (tempfile::TempDir, Result<Parts<Vec<PathBuf>>>) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let parts = parts(folder.path());
        (folder, parts)
    }

    fn counts(names: &[&str]) -> (usize, usize, usize) {
        let (_folder, parts) = repository(names);
        let parts = parts.unwrap();
        let left = parts.report.left_out.iter().map(|l| l.count).sum();
        (parts.training.len(), parts.held_out.map_or(0, |h| h.len()), left)
    }

    #[test]
    fn no_layout_of_a_repository_trains_on_its_test_part() {
        assert_eq!(
            counts(&["plain_text/train-0.parquet", "plain_text/test-0.parquet", "README.md"]),
            (1, 1, 0)
        );
        assert_eq!(
            counts(&["data/train-0.parquet", "data/validation-0.parquet", "data/test-0.parquet"]),
            (1, 2, 0)
        );
        assert_eq!(counts(&["default/train/0000.parquet", "default/test/0000.parquet"]), (1, 1, 0));
        for word in ["val", "valid", "dev", "eval", "validation", "testing"] {
            assert_eq!(counts(&["train-0.parquet", &format!("{word}-0.parquet")]), (1, 1, 0), "{word}");
        }
        assert_eq!(counts(&["fashion-train.parquet", "fashion-test.parquet"]), (1, 1, 0));
        assert_eq!(counts(&["x/train-0.parquet", "x/test-0.parquet", "x/extra-0.parquet"]), (1, 1, 1));
        assert_eq!(counts(&["train-0.parquet", "train_extra-0.parquet", "test-0.parquet"]), (1, 1, 1));
        assert_eq!(counts(&["part-0.parquet", "test-0.parquet"]), (1, 1, 0));
        assert_eq!(counts(&[".cache/huggingface/train.parquet", "train.parquet"]), (1, 0, 0));
    }

    #[test]
    fn several_configurations_are_refused_by_name() {
        let names =
            ["cropped_digits/train-0.parquet", "full_numbers/train-0.parquet", "full_numbers/test-0.parquet"];
        let text = repository(&names).1.unwrap_err().to_string();
        assert!(text.contains("`cropped_digits`, `full_numbers`"), "{text}");
        let text = repository(&["x/test-0.parquet"]).1.unwrap_err().to_string();
        assert!(text.contains("without training files; ") && text.contains("would be held out"), "{text}");
    }
}
