//! Layouts of sets as they are distributed, one picture for many.
#![allow(clippy::unwrap_used)]

use super::*;

fn arranged_as(root: &str, names: &[&str], splits: Splits) -> Result<(Layout, Report)> {
    let mut names: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    names.sort();
    let mut report = Report::default();
    arrange(Path::new(root), &names, splits, &mut report).map(|l| (l, report))
}

fn arranged(names: &[&str]) -> Result<(Layout, Report)> {
    arranged_as("set", names, Splits::Told)
}

/// Numbers of pictures that are trained on, held out and left out.
fn counts(names: &[&str]) -> (usize, usize, usize) {
    let (l, report) = arranged(names).unwrap_or_else(|e| panic!("{names:?}: {e}"));
    let sum = |part: &[(PathBuf, usize)]| part.iter().map(|p| p.1).sum::<usize>();
    assert_eq!(sum(&report.training), l.training.len(), "{report}");
    assert_eq!(sum(&report.held_out), l.held_out.len(), "{report}");
    (l.training.len(), l.held_out.len(), report.left_out.iter().map(|l| l.count).sum())
}

fn refused(names: &[&str], parts: &[&str]) {
    let text = arranged(names).err().unwrap_or_else(|| panic!("{names:?} is taken")).to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{part} is not in: {text}"));
    // Every refusal has a way out that takes all folders as classes, where they can be.
    assert!(text.contains("splits = false"), "{text}");
}

#[test]
fn train_and_val_are_splits_and_what_is_below_them_classes() {
    let names = ["train/cat/0.png", "train/cat/a/1.png", "train/dog/2.png", "val/dog/3.png", "extra/4.png"];
    let (l, report) = arranged(&names).unwrap();
    assert_eq!((l.training, l.held_out), (vec![1, 2, 3], vec![4]));
    assert_eq!(l.classes, ["cat", "dog"]);
    assert_eq!(l.labels, [None, Some(0), Some(0), Some(1), Some(1)]);
    assert_eq!(report.left_out[0].count, 1);
    assert_eq!(report.training, [(PathBuf::from("set/train"), 3)]);
    // The layout of ILSVRC: a path to the splits, and a validation part without folders.
    let names = ["Data/CLS-LOC/train/n01/0.JPEG", "Data/CLS-LOC/train/n02/1.JPEG", "Data/CLS-LOC/val/2.JPEG"];
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
    let text = arranged(&["a/1.png", "0.png"]).err().unwrap().to_string();
    assert!(text.contains("0.png: the place of the picture: found beside sub-folders"), "{text}");
    refused(
        &["cats/0.png", "test/1.png", "train/2.png"],
        &["beside `cats`", "root = \"set/train\" and held_out = \"set/test\""],
    );
    refused(&["test/0.png", "val/1.png"], &["one called train, too"]);
}

#[test]
fn parts_are_found_at_any_depth_and_behind_any_delimiter() {
    let intel = [
        "seg_train/seg_train/buildings/0.jpg",
        "seg_train/seg_train/sea/1.jpg",
        "seg_test/seg_test/sea/2.jpg",
        "seg_pred/seg_pred/3.jpg",
    ];
    assert_eq!(counts(&intel), (2, 1, 1));
    let (l, _) = arranged(&intel).unwrap();
    assert_eq!(l.classes, ["buildings", "sea"]);
    assert_eq!(l.labels, [None, Some(1), Some(0), Some(1)]);
    assert_eq!(counts(&["train/a/0.png", "train/b/1.png", "predict/2.png"]), (2, 0, 1));
    assert_eq!(counts(&["a/b/train2017/0.png", "a/b/val2017/1.png", "a/b/unlabeled2017/2.png"]), (1, 1, 1));
    // A part in parts.
    assert_eq!(counts(&["train/train/0.png", "train/val/1.png", "test/2.png"]), (1, 2, 0));
    refused(&["train/a/0.png", "train/test/1.png", "val/a/2.png"], &["`test`", "beside `a`"]);
}

#[test]
fn classes_in_parts_are_classes_and_sets_in_parts_are_refused_by_name() {
    let names = ["cat/train/0.png", "cat/test/1.png", "dog/train/2.png", "dog/test/3.png"];
    assert_eq!(counts(&names), (2, 2, 0));
    let (l, _) = arranged(&names).unwrap();
    assert_eq!((l.classes, l.labels), (vec!["cat".into(), "dog".into()], [0, 0, 1, 1].map(Some).to_vec()));
    let cityscapes =
        ["leftImg8bit/train/aachen/0.png", "leftImg8bit/val/lindau/1.png", "gtFine/train/aachen/2.png"];
    refused(&cityscapes, &["`gtFine`, `leftImg8bit`", "set/gtFine"]);
    let ade = [
        "images/training/0.jpg",
        "images/validation/1.jpg",
        "annotations/training/0.png",
        "annotations/validation/1.png",
    ];
    refused(&ade, &["`annotations`, `images`", "such as set/images"]);
    refused(&["a/train/x/0.png", "b/train/x/1.png"], &["`a`, `b`"]);
    let mvtec = ["bottle/train/good/0.png", "bottle/test/broken/1.png", "bottle/ground_truth/broken/2.png"];
    refused(&mvtec, &["`test`", "beside `ground_truth`", "root = \"set/bottle/train\""]);
    let cable = mvtec.map(|name| name.replace("bottle", "cable"));
    refused(
        &[&mvtec[..], &cable.each_ref().map(String::as_str)].concat(),
        &["`bottle`, `cable`", "set/bottle"],
    );
    // One of them is deeper than the others.
    refused(&["cat/0.png", "dog/deep/test/1.png"], &["`test` inside", "dog/deep/test/1.png"]);
}

#[test]
fn names_of_files_tell_parts_if_each_has_a_word() {
    let names = ["train_0.png", "train_1.png", "test_0.png", "extra_0.png"];
    assert_eq!(counts(&names), (2, 1, 1));
    let (_, report) = arranged(&names).unwrap();
    assert!(report.notes[0].contains("2 pictures such as train_0.png are trained on"), "{report}");
    let names = ["a/x-train-0.png", "a/x-val-1.png", "b/x-train-2.png"];
    assert_eq!(counts(&names), (2, 1, 0));
    assert_eq!(arranged(&names).unwrap().0.labels, [0, 0, 1].map(Some));
    refused(&["train_0.png", "test_0.png", "cat.png"], &["test_0.png", "cat.png"]);
    // Nothing is called training: the pictures are taken, with a word.
    let (l, report) = arranged(&["0.png", "test_1.png"]).unwrap();
    assert!(l.training.len() == 2 && report.notes[0].contains("such as test_1.png"), "{report}");
    // Who names the part needs no word.
    let (_, report) = arranged_as("coco/val2017", &["val2017_0.png"], Splits::Told).unwrap();
    assert!(report.notes.is_empty(), "{report}");
}

#[test]
fn a_test_part_alone_is_taken_where_it_is_named_only() {
    refused(&["test/a/0.png"], &["`test`", "set/test as root"]);
    refused(&["test/0.png"], &["`test`"]);
    refused(&["unlabeled/0.png"], &["`unlabeled`"]);
    // A set whose name has the word among others may hold more than that part.
    assert!(arranged_as("only_test", &["test/a/0.png"], Splits::Told).is_err());
    for (root, splits) in [
        ("set/test", Splits::Told),
        ("test.zip", Splits::Told),
        ("set", Splits::HeldOut),
        ("set", Splits::Ignored),
    ] {
        let (l, _) = arranged_as(root, &["test/a/0.png", "test/b/1.png"], splits).unwrap();
        assert_eq!((l.training.len(), l.classes.len()), (2, 2), "{root}");
    }
}

#[test]
fn words_in_names_of_classes_are_asked_about_unless_the_part_is_known() {
    refused(&["beakers/0.png", "test_tubes/1.png"], &["`test_tubes`", "beside `beakers`"]);
    refused(&["invalid/0.png", "valid/1.png"], &["`valid`", "root = \"set/invalid\""]);
    let names = ["train/beakers/0.png", "train/test_tubes/1.png", "val/test_tubes/2.png"];
    assert_eq!(counts(&names), (2, 1, 0));
    assert_eq!(arranged(&names).unwrap().0.classes, ["beakers", "test_tubes"]);
    for (root, splits) in [("set/train", Splits::Told), ("set", Splits::Ignored), ("set", Splits::HeldOut)] {
        let (l, _) = arranged_as(root, &["beakers/0.png", "test_tubes/1.png"], splits).unwrap();
        assert_eq!(l.classes, ["beakers", "test_tubes"], "{root}");
    }
}

#[test]
fn shards_with_classes_of_their_own_hold_one_part_each() {
    let undivided = |names: &[&str], named| {
        let names: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        undivided(names.iter(), Path::new("a.tar"), named).map_err(|e| e.to_string())
    };
    assert!(undivided(&["train/0.png", "test/1.png"], false).unwrap_err().contains("`test`"));
    assert!(undivided(&["train_0.png", "test_1.png"], false).unwrap_err().contains("test_1.png"));
    assert!(undivided(&["test_tubes/0.png"], false).is_err());
    assert!(undivided(&["test_tubes/0.png"], true).is_ok());
    assert!(undivided(&["0.png", "a/test_1.png"], false).is_ok());
}
