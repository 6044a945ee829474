//! Which part of a set a file or a folder belongs to, by the words in its name.
//!
//! Source: `datasets` of Hugging Face, `data_files.py` (5.2.0): the words below, between any of the characters
//! `-._ 0-9` or at an end of the name. Words of other sets (`extra` of SVHN, `unlabeled` of STL-10, `pred` of Intel's scenes)
//! are added, and torchvision's `t10k` and `val`.

use std::path::{Component, Path};

/// Part of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitName {
    /// `train`, `training`.
    Train,
    /// `validation`, `valid`, `dev`, `val`, `test`, `testing`, `eval`, `evaluation`, `heldout`.
    HeldOut,
    /// `extra`, `unlabeled`, `unlabelled`, `unsupervised`, `pred`, `predict`: a further part, used only where it is named.
    Extra,
}

const WORDS: [(&str, SplitName); 31] = [
    ("train", SplitName::Train),
    ("training", SplitName::Train),
    ("trainset", SplitName::Train),
    ("trn", SplitName::Train),
    ("validation", SplitName::HeldOut),
    ("valid", SplitName::HeldOut),
    ("dev", SplitName::HeldOut),
    ("devset", SplitName::HeldOut),
    ("val", SplitName::HeldOut),
    ("valset", SplitName::HeldOut),
    ("test", SplitName::HeldOut),
    ("testing", SplitName::HeldOut),
    ("tests", SplitName::HeldOut),
    ("testset", SplitName::HeldOut),
    ("tst", SplitName::HeldOut),
    ("eval", SplitName::HeldOut),
    ("evaluation", SplitName::HeldOut),
    ("heldout", SplitName::HeldOut),
    ("holdout", SplitName::HeldOut),
    ("t10k", SplitName::HeldOut),
    ("extra", SplitName::Extra),
    ("unlabeled", SplitName::Extra),
    ("unlabelled", SplitName::Extra),
    ("unsupervised", SplitName::Extra),
    ("unsup", SplitName::Extra),
    ("unused", SplitName::Extra),
    ("pred", SplitName::Extra),
    ("predict", SplitName::Extra),
    ("prediction", SplitName::Extra),
    ("predictions", SplitName::Extra),
    ("inference", SplitName::Extra),
];

/// The part that one name tells, `None` if it has no such word. Of several words that of a held-out part counts
/// (`train-val`), then that of a further one (`train-extra`): rather too little is trained on than too much.
///
/// ```
/// use ebm_data::split::{SplitName, of_name};
/// assert_eq!(of_name("fashion-test.parquet"), Some(SplitName::HeldOut));
/// assert_eq!(of_name("train-00000-of-00005.parquet"), Some(SplitName::Train));
/// assert_eq!(of_name("trainable.npy"), None);
/// ```
pub fn of_name(name: &str) -> Option<SplitName> {
    let name = apart(name);
    let mut found = None;
    // `t10k` has digits inside, which are delimiters of all other words.
    let words = name.split(|c: char| !c.is_alphabetic()).chain(name.split(|c: char| !c.is_alphanumeric()));
    for word in words {
        let part = WORDS.iter().find(|(w, _)| *w == word).map(|(_, part)| *part);
        found = match (found, part) {
            (_, Some(SplitName::HeldOut)) => return part,
            (_, Some(SplitName::Extra)) => part,
            (None, part) => part,
            (found, _) => found,
        };
    }
    found
}

/// A name in small letters, `-` where a small letter stands before a capital (`TestImages`), and `held out` as one word.
fn apart(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_uppercase() && out.ends_with(char::is_lowercase) && !out.is_empty() {
            out.push('-');
        }
        // As it was written until the next one is seen.
        out.push(c);
    }
    let mut out = out.to_lowercase();
    for (two, one) in
        [("held-out", "heldout"), ("held_out", "heldout"), ("hold-out", "holdout"), ("hold_out", "holdout")]
    {
        out = out.replace(two, one);
    }
    out
}

/// The part that each of several files is by its name; of one file, and where no name tells, or names are not `told` to, the
/// training part. Files without
/// a word beside some named as training are a further part.
pub(crate) fn of_files(files: &[impl AsRef<Path>], told: bool) -> Vec<SplitName> {
    if !told {
        return vec![SplitName::Train; files.len()];
    }
    let told: Vec<Option<SplitName>> = files
        .iter()
        .map(|f| of_name(&f.as_ref().file_name().unwrap_or_default().to_string_lossy()))
        .map(|part| part.filter(|_| files.len() > 1))
        .collect();
    let named = told.contains(&Some(SplitName::Train));
    let rest = if named { SplitName::Extra } else { SplitName::Train };
    told.into_iter().map(|part| part.unwrap_or(rest)).collect()
}

/// The part that a path below the root of a set tells: the file's name, else the folder nearest to it that has a word.
pub fn of_path(below: &Path) -> Option<SplitName> {
    let names = below.components().filter_map(|c| match c {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    names.rev().find_map(of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_words_are_found_between_delimiters_only() {
        for name in [
            "test-0.parquet",
            "fashion-test.parquet",
            "my_val.tar",
            "Valid",
            "x.dev.1",
            "eval2",
            "t10k-images",
            "TestImages",
            "held_out.parquet",
            "Hold-Out 2",
            "testset",
        ] {
            assert_eq!(of_name(name), Some(SplitName::HeldOut), "{name}");
        }
        for name in [
            "train-00000-of-00001.parquet",
            "training",
            "seg_train",
            "data_train2",
            "partial-train",
            "dataTrain",
        ] {
            assert_eq!(of_name(name), Some(SplitName::Train), "{name}");
        }
        for name in ["trainable", "latest", "contest.parquet", "cats", "0.png", "devil", "protest", "Contest"]
        {
            assert_eq!(of_name(name), None, "{name}");
        }
        for name in ["extra-00000-of-00002", "train_extra-0.parquet", "extra_train", "seg_pred", "predict"] {
            assert_eq!(of_name(name), Some(SplitName::Extra), "{name}");
        }
        assert_eq!(of_name("train_val"), Some(SplitName::HeldOut));
    }

    #[test]
    fn the_name_nearest_to_the_file_decides() {
        assert_eq!(of_path(Path::new("test_suite/train-0.parquet")), Some(SplitName::Train));
        assert_eq!(of_path(Path::new("default/test/0000.parquet")), Some(SplitName::HeldOut));
        assert_eq!(of_path(Path::new("plain_text/0000.parquet")), None);
    }
}
