//! What the names of folders say of pictures: splits and classes, in a folder and in an archive alike.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::sets::report::Report;
use crate::split::{self, SplitName};
use crate::{DataError, Result};

/// Pictures by part, as indices into the list of names.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub training: Vec<usize>,
    pub held_out: Vec<usize>,
    /// Class of each picture, in the order of all names, if folders tell.
    pub labels: Vec<Option<u32>>,
    /// Names of the classes, sorted bytewise; empty without classes.
    pub classes: Vec<String>,
}

/// The parts and classes of pictures of these names below `root`, which are sorted.
///
/// Folders that hold nothing but one further folder are passed through. Then, if folders are named as splits, of which
/// one is training, they are splits; what is below them, or the folders themselves, are the classes.
///
/// # Errors
/// If pictures stand beside sub-folders, folders of splits beside others, or there is nothing to train on.
pub(crate) fn arrange(root: &Path, names: &[PathBuf], report: &mut Report) -> Result<Layout> {
    let mut layout = Layout { labels: vec![None; names.len()], ..Layout::default() };
    let all: Vec<usize> = (0..names.len()).collect();
    let depth = shared_depth(names, &all);
    let folders = by_folder(names, &all, depth);
    let part = |name: &str| split::of_name(name).filter(|_| !name.is_empty());
    let parts: Vec<Option<SplitName>> = folders.keys().map(|f| part(f)).collect();
    let has = |wanted| parts.contains(&Some(wanted));
    let way = names.first().map_or_else(PathBuf::new, |name| name.components().take(depth).collect());
    let place = |folder: &str| root.join(&way).join(folder);
    if parts.iter().all(Option::is_some) && has(SplitName::HeldOut) {
        if !has(SplitName::Train) {
            let found = folders.keys().cloned().collect::<Vec<_>>().join(", ");
            let what = format!("{}: folders of splits", root.display());
            return Err(DataError::mismatch(what, found, "one called train, too; or name one of them"));
        }
        for ((folder, inside), part) in folders.iter().zip(&parts) {
            match part {
                Some(SplitName::Train) => layout.training.extend(inside),
                Some(SplitName::HeldOut) => layout.held_out.extend(inside),
                _ => inside
                    .iter()
                    .for_each(|i| report.leave("pictures of a further split", &root.join(&names[*i]))),
            }
            match part {
                Some(SplitName::Train) => report.training.push((place(folder), inside.len())),
                Some(SplitName::HeldOut) => report.held_out.push((place(folder), inside.len())),
                _ => {}
            }
        }
        let training = std::mem::take(&mut layout.training);
        let below = shared_depth(names, &training).max(depth + 1);
        classes(root, names, &training, below, &mut layout)?;
        layout.training = training;
        let held = layout.held_out.clone();
        held_out_classes(names, &held, &mut layout);
        return Ok(layout);
    }
    // Names that are splits and nothing else; as classes among classes, `train` is a vehicle.
    let exact = |words: &[&str]| folders.keys().find(|f| words.contains(&f.to_ascii_lowercase().as_str()));
    let (train, test) =
        (exact(&["train", "training"]), exact(&["test", "val", "valid", "validation", "testing"]));
    if let (Some(train), Some(test)) = (train, test) {
        let other = folders.iter().find(|(f, _)| part(f).is_none()).map_or("", |(f, _)| f.as_str());
        let what = format!("{}: folders `{train}` and `{test}`", root.display());
        let found = match other {
            "" => "beside pictures without a folder".to_string(),
            other => format!("beside `{other}`"),
        };
        return Err(DataError::mismatch(
            what,
            found,
            "splits alone, or classes alone: name the folder of one split",
        ));
    }
    classes(root, names, &all, depth, &mut layout)?;
    report.training.push((root.to_path_buf(), all.len()));
    layout.training = all;
    Ok(layout)
}

/// Sets labels of the training part by the folders at `depth`.
fn classes(root: &Path, names: &[PathBuf], part: &[usize], depth: usize, layout: &mut Layout) -> Result<()> {
    let folders = by_folder(names, part, depth);
    if folders.len() == 1 && folders.contains_key("") {
        return Ok(());
    }
    if let Some(alone) = folders.get("").and_then(|inside| inside.first()) {
        let what = format!("{}: the place of the picture", root.join(&names[*alone]).display());
        return Err(DataError::mismatch(
            what,
            "beside sub-folders",
            "inside one of them: each sub-folder is a class",
        ));
    }
    for (class, inside) in (0u32..).zip(folders.values()) {
        inside.iter().for_each(|i| layout.labels[*i] = Some(class));
    }
    layout.classes = folders.into_keys().collect();
    Ok(())
}

/// Labels of held-out pictures: those of the training classes of the same names, if each has one.
fn held_out_classes(names: &[PathBuf], part: &[usize], layout: &mut Layout) {
    let labels: Option<Vec<u32>> = part
        .iter()
        .map(|i| {
            let folders = names[*i].parent()?.components().rev();
            folders
                .filter_map(|c| match c {
                    Component::Normal(name) => name.to_str(),
                    _ => None,
                })
                .find_map(|f| layout.classes.iter().position(|c| c == f))
                .map(|c| c as u32)
        })
        .collect();
    for (i, label) in part.iter().zip(labels.into_iter().flatten()) {
        layout.labels[*i] = Some(label);
    }
}

/// Number of leading folders that all share, as long as the last shared one holds folders only.
fn shared_depth(names: &[PathBuf], part: &[usize]) -> usize {
    let mut depth = 0;
    loop {
        let folders = by_folder(names, part, depth);
        let Some((only, inside)) = folders.iter().next().filter(|_| folders.len() == 1) else { return depth };
        // A folder of pictures alone is a class, not a way to one.
        if only.is_empty() || by_folder(names, inside, depth + 1).contains_key("") {
            return depth;
        }
        depth += 1;
    }
}

/// Pictures by the name of their folder at `depth`; the empty name for those that lie higher.
fn by_folder(names: &[PathBuf], part: &[usize], depth: usize) -> BTreeMap<String, Vec<usize>> {
    let mut folders = BTreeMap::<String, Vec<usize>>::new();
    for i in part {
        let components: Vec<_> = names[*i].components().collect();
        let folder = match components.get(depth) {
            Some(Component::Normal(name)) if depth + 1 < components.len() => {
                name.to_string_lossy().into_owned()
            }
            _ => String::new(),
        };
        folders.entry(folder).or_default().push(*i);
    }
    folders
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn arranged(names: &[&str]) -> Result<(Layout, Report)> {
        let names: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        let mut report = Report::default();
        arrange(Path::new("set"), &names, &mut report).map(|l| (l, report))
    }

    #[test]
    fn train_and_val_are_splits_and_what_is_below_them_classes() {
        let names =
            ["train/cat/0.png", "train/cat/a/1.png", "train/dog/2.png", "val/dog/3.png", "extra/4.png"];
        let (l, report) = arranged(&names).unwrap();
        assert_eq!((l.training, l.held_out), (vec![0, 1, 2], vec![3]));
        assert_eq!(l.classes, ["cat", "dog"]);
        assert_eq!(l.labels, [Some(0), Some(0), Some(1), Some(1), None]);
        assert_eq!(report.left_out[0].count, 1);
        assert_eq!(report.training, [(PathBuf::from("set/train"), 3)]);
        // The layout of ILSVRC: a path to the splits, and a validation part without folders.
        let names =
            ["Data/CLS-LOC/train/n01/0.JPEG", "Data/CLS-LOC/train/n02/1.JPEG", "Data/CLS-LOC/val/2.JPEG"];
        let (l, _) = arranged(&names).unwrap();
        assert_eq!((l.classes.len(), l.labels, l.held_out), (2, vec![Some(0), Some(1), None], vec![2]));
        let (l, _) = arranged(&["faces/train/0.png", "faces/val/1.png"]).unwrap();
        assert_eq!((l.training, l.held_out, l.classes.len()), (vec![0], vec![1], 0));
    }

    #[test]
    fn other_folders_are_classes_and_a_single_way_to_them_is_passed() {
        let (l, _) = arranged(&["images/banded/0.jpg", "images/bubbly/1.jpg"]).unwrap();
        assert_eq!((l.classes, l.labels), (vec!["banded".into(), "bubbly".into()], vec![Some(0), Some(1)]));
        let (l, _) = arranged(&["n01/0.JPEG", "n01/1.JPEG"]).unwrap();
        assert_eq!((l.classes.len(), l.training.len()), (1, 2));
        let (l, _) = arranged(&["0.png", "1.png"]).unwrap();
        assert!(l.classes.is_empty());
        // A vehicle, not a split.
        let (l, _) = arranged(&["bus/0.png", "train/1.png", "truck/2.png"]).unwrap();
        assert_eq!(l.classes, ["bus", "train", "truck"]);
    }

    #[test]
    fn what_has_no_single_meaning_is_refused_by_name() {
        let text = |names: &[&str]| arranged(names).err().unwrap().to_string();
        assert!(
            text(&["a/1.png", "0.png"]).contains("0.png: the place of the picture: found beside sub-folders")
        );
        assert!(text(&["cats/0.png", "test/1.png", "train/2.png"]).contains("beside `cats`"));
        assert!(text(&["test/0.png", "val/1.png"]).contains("one called train, too"));
    }
}
