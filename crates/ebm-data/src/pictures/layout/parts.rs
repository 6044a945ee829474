//! Which pictures are trained on and which are held out, by the words in the names of their folders and files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Set, by_folder, folders_of, shared_depth};
use crate::pictures::decode::Splits;
use crate::split::{self, SplitName};
use crate::{DataError, Result};

/// Pictures by the name of a folder.
type Folders = BTreeMap<String, Vec<usize>>;

/// What to do where a word may be a part or a class.
const OR_CLASSES: &str = "or set splits = false if these are no parts of the set but classes";

/// Words of folders that are no classes but kinds of pictures of the same things.
const KINDS: [&str; 14] = [
    "image",
    "images",
    "img",
    "imgs",
    "label",
    "labels",
    "mask",
    "masks",
    "annotation",
    "annotations",
    "gt",
    "truth",
    "groundtruth",
    "depth",
];

impl Set<'_> {
    /// Divides `rows`, of which the first `from` folders are known; `told` is the part that these tell.
    pub(super) fn divide(&mut self, rows: &[usize], from: usize, told: Option<SplitName>) -> Result<()> {
        let depth = shared_depth(self.names, rows).max(from);
        let folders = by_folder(self.names, rows, depth);
        let (train, other) = told_by(&folders);
        let all = folders.keys().all(|f| part(f).is_some());
        if all && train && other {
            return self.parts(&folders, depth);
        }
        // The folders that were passed, and the only one here, are a part by themselves.
        let way = rows.first().map_or_else(Vec::new, |i| folders_of(&self.names[*i]));
        let end = if folders.len() == 1 { depth + 1 } else { depth };
        let passed: Vec<&String> = way.iter().take(end).skip(from).collect();
        let named = told.or_else(|| own_part(self.root));
        let is_part = |f: &&&String| not_training(f) && (named.is_none() || exact(f));
        let own = |f: &str| self.root.file_stem().is_some_and(|stem| stem == f);
        if let Some(folder) = passed.iter().find(is_part).filter(|f| !held_out(named) && !own(f)) {
            self.whole(folder, &passed)?;
        }
        let told = passed.iter().rev().find(|f| exact(f)).and_then(|f| part(f)).or(told);
        let named = told.or(named);
        // Where the part is known, classes may have names such as `test_tubes`.
        let counts = |f: &str| not_training(f) && (named.is_none() || exact(f));
        if folders.len() > 1 && folders.keys().any(|f| counts(f)) {
            self.mixed(&folders, depth, all, train)?;
        } else if self.inside(&folders, rows, depth, &counts)? {
            return Ok(());
        }
        self.classes(rows, depth)?;
        self.by_file(rows, told, named)
    }

    /// Folders that are all parts.
    fn parts(&mut self, folders: &Folders, depth: usize) -> Result<()> {
        let before = self.report.training.len();
        let mut training = Vec::new();
        for (folder, inside) in folders {
            training.extend(self.take(folder, inside, &self.place(inside, depth).join(folder)));
        }
        // The parts of a part are told in its place.
        let own = self.report.training.len();
        self.divide(&training, depth + 1, Some(SplitName::Train))?;
        let further = self.report.training.split_off(own);
        if self.layout.training.len() < training.len() {
            self.report.training.splice(before.., further);
        }
        Ok(())
    }

    /// Takes the pictures of the folder of a part at `place`; those of a training part are returned.
    fn take(&mut self, folder: &str, inside: &[usize], place: &Path) -> Vec<usize> {
        match part(folder) {
            Some(SplitName::Train) => {
                self.report.training.push((place.to_path_buf(), inside.len()));
                return inside.to_vec();
            }
            Some(SplitName::HeldOut) => {
                self.report.held_out.push((place.to_path_buf(), inside.len()));
                self.layout.held_out.extend(inside);
            }
            _ => self.leave(inside),
        }
        Vec::new()
    }

    /// Folders that hold parts: classes in parts, or several sets. Whether they were divided.
    fn inside(
        &mut self,
        folders: &Folders,
        rows: &[usize],
        depth: usize,
        counts: &dyn Fn(&str) -> bool,
    ) -> Result<bool> {
        if self.splits == Splits::HeldOut {
            return Ok(false);
        }
        let deeper = |i: &usize| folders_of(&self.names[*i]).into_iter().skip(depth + 1).find(|f| counts(f));
        let found = rows.iter().find_map(|i| deeper(i).map(|f| (*i, f)));
        let below = |inside: &[usize]| by_folder(self.names, inside, depth + 1);
        let only_train = |inside: &Vec<usize>| {
            let below = below(inside);
            below.len() == 1 && below.keys().all(|f| part(f) == Some(SplitName::Train))
        };
        let several = folders.len() > 1 && folders.values().all(only_train);
        let Some((at, word)) = found.or_else(|| several.then(|| (rows[0], "train".to_string()))) else {
            return Ok(false);
        };
        let in_parts = |inside: &Vec<usize>| {
            let flat = inside.iter().all(|i| folders_of(&self.names[*i]).len() == depth + 2);
            flat && below(inside).keys().all(|f| part(f).is_some()) && told_by(&below(inside)) == (true, true)
        };
        let kinds = folders
            .keys()
            .any(|f| f.to_lowercase().split(|c: char| !c.is_alphabetic()).any(|w| KINDS.contains(&w)));
        if several || kinds || !folders.values().all(in_parts) {
            let names: Vec<String> = folders
                .keys()
                .map(|f| if f.is_empty() { "pictures without a folder".into() } else { format!("`{f}`") })
                .collect();
            let what = format!("{}: folders {}", self.root.display(), some(&names));
            let found = format!("`{word}` inside of them, such as {}", self.names[at].display());
            // `images` is a better example than `annotations`.
            let first = folders.keys().find(|f| f.to_lowercase().starts_with("im")).or(folders.keys().next());
            let first = self.place(rows, depth).join(first.map_or("", String::as_str));
            let expected = format!(
                "one set: give the folder of one as root, such as {}, or of one part as root and of another as held_out; {OR_CLASSES}",
                first.display()
            );
            return Err(DataError::mismatch(what, found, expected));
        }
        let mut training = Vec::new();
        for (class, inside) in folders {
            for (folder, inside) in &by_folder(self.names, inside, depth + 1) {
                training.extend(self.take(
                    folder,
                    inside,
                    &self.place(inside, depth).join(class).join(folder),
                ));
            }
        }
        self.classes(&training, depth)?;
        self.layout.training = training;
        Ok(true)
    }

    /// The parts of pictures that no folder tells, by the names of their files.
    fn by_file(&mut self, rows: &[usize], told: Option<SplitName>, named: Option<SplitName>) -> Result<()> {
        let of =
            |i: &usize| split::of_name(&self.names[*i].file_stem().unwrap_or_default().to_string_lossy());
        let worded: Vec<(usize, SplitName)> = rows.iter().filter_map(|i| Some((*i, of(i)?))).collect();
        let train = worded.iter().find(|(_, part)| *part == SplitName::Train);
        let other = worded.iter().find(|(_, part)| *part != SplitName::Train);
        let shown = |i: usize| self.names[i].display().to_string();
        let known = |part: Option<SplitName>| part.is_some() || self.splits == Splits::HeldOut;
        let mut kept = rows.to_vec();
        match (train, other) {
            (Some((train, _)), Some((other, _))) if !known(told) => {
                if worded.len() < rows.len() {
                    let rest = rows.iter().find(|i| of(i).is_none()).map_or(String::new(), |i| shown(*i));
                    let what = format!(
                        "{}: pictures such as {} and {}",
                        self.root.display(),
                        shown(*train),
                        shown(*other)
                    );
                    let found =
                        format!("beside {} without such a word, such as {rest}", rows.len() - worded.len());
                    let expected = "a word of a part in the name of each: put the parts into folders of their own and give these as root and held_out, or set splits = false if the names tell no parts";
                    return Err(DataError::mismatch(what, found, expected));
                }
                kept.clear();
                let (mut held, mut left) = (Vec::new(), Vec::new());
                for (i, part) in &worded {
                    match part {
                        SplitName::Train => kept.push(*i),
                        SplitName::HeldOut => held.push(*i),
                        SplitName::Extra => left.push(*i),
                    }
                }
                let note = format!(
                    "names of files tell the parts: {} pictures such as {} are trained on, {} such as {} are not",
                    kept.len(),
                    shown(*train),
                    rows.len() - kept.len(),
                    shown(*other)
                );
                self.report.notes.push(note);
                self.leave(&left);
                // Classes are those of what is trained on.
                held.iter().chain(&left).for_each(|i| self.layout.labels[*i] = None);
                if !held.is_empty() {
                    self.report.held_out.push((self.root.to_path_buf(), held.len()));
                }
                self.layout.held_out.extend(held);
            }
            (None, Some((other, _))) if !known(named) => {
                let n = worded.len();
                self.report.notes.push(format!(
                    "{n} pictures have the word of a part that is not trained on in their names, such as {}, and are trained on all the same: {} none is named as training",
                    shown(*other),
                    if n == rows.len() { "of all," } else { "of the others," },
                ));
            }
            _ => {}
        }
        self.report.training.push((self.root.to_path_buf(), kept.len()));
        self.layout.training.extend(kept);
        Ok(())
    }

    /// Refuses a set all of which is in the folder of a held-out or further part.
    fn whole(&self, folder: &str, passed: &[&String]) -> Result<()> {
        if self.splits == Splits::HeldOut {
            return Ok(());
        }
        let at = passed.iter().position(|f| *f == folder).unwrap_or(0);
        let place = passed[..=at].iter().fold(self.root.to_path_buf(), |p, f| p.join(f));
        let what = format!("{}: all pictures", self.root.display());
        let wanted = format!(
            "a folder called train, too; to use this part as it is, give {} as root, or set splits = false",
            place.display()
        );
        Err(DataError::mismatch(what, format!("in `{folder}`, which would be held out"), wanted))
    }

    /// Refuses folders of parts beside others, or without one of training.
    fn mixed(&self, folders: &Folders, depth: usize, all: bool, train: bool) -> Result<()> {
        if self.splits == Splits::HeldOut {
            return Ok(());
        }
        let here = folders.values().next().map_or(self.root.to_path_buf(), |rows| self.place(rows, depth));
        let named = |wanted: bool| -> Vec<String> {
            folders.keys().filter(|f| part(f).is_some() == wanted).map(|f| format!("`{f}`")).collect()
        };
        let what = format!("{}: folders of parts of the set, {}", self.root.display(), some(&named(true)));
        if all {
            let expected = format!(
                "one called train, too; give one of them as root, such as {}, {OR_CLASSES}",
                here.join(folders.keys().next().map_or("", String::as_str)).display()
            );
            return Err(DataError::mismatch(what, "none of training", expected));
        }
        let found = match folders.contains_key("") {
            true => "beside pictures without a folder".to_string(),
            false => format!("beside {}", some(&named(false))),
        };
        let held = folders.keys().find(|f| not_training(f)).map_or("", String::as_str);
        let first = folders.keys().find(|f| match train {
            true => part(f) == Some(SplitName::Train),
            false => part(f).is_none() && !f.is_empty(),
        });
        let example = match first {
            Some(first) => format!(
                "give what is trained on as root and the rest as held_out, such as root = \"{}\" and held_out = \"{}\"",
                here.join(first).display(),
                here.join(held).display()
            ),
            None => "move them into a folder called train".to_string(),
        };
        Err(DataError::mismatch(
            what,
            found,
            format!("parts alone, or classes alone: {example}; {OR_CLASSES}"),
        ))
    }

    /// The folder of these pictures at `depth`.
    fn place(&self, rows: &[usize], depth: usize) -> PathBuf {
        let way =
            rows.first().map_or_else(PathBuf::new, |i| self.names[*i].components().take(depth).collect());
        self.root.join(way)
    }

    fn leave(&mut self, rows: &[usize]) {
        for i in rows {
            self.report.leave("pictures of a further split", &self.root.join(&self.names[*i]));
        }
    }
}

/// Whether any of these files of the folder `root` is trained on; not where all have the word of another part.
///
/// # Errors
/// If none is, unless the folder itself is named so.
pub(crate) fn some_to_train(root: &Path, files: &[PathBuf], splits: Splits) -> Result<()> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let none = files.iter().all(|f| not_training(&name(f)));
    match files.first() {
        Some(first) if none && splits == Splits::Told && !held_out(own_part(root)) => {
            let found = format!("{}, which would be held out", first.display());
            let wanted = "one called train, too; to use this part as it is, give the file itself as root, or set splits = false";
            Err(DataError::mismatch(format!("{}: files of the set", root.display()), found, wanted))
        }
        _ => Ok(()),
    }
}

/// Refuses pictures of which the folders or names tell parts, where the set is not arranged by them; `named` where the name of
/// their archive tells its part, so that classes may have such words.
///
/// # Errors
/// Names the first of them.
pub(crate) fn undivided<'a>(
    names: impl Iterator<Item = &'a PathBuf>,
    root: &Path,
    named: bool,
) -> Result<()> {
    let word = |f: &String| not_training(f) && (!named || exact(f));
    let stem = |n: &PathBuf| part(&n.file_stem().unwrap_or_default().to_string_lossy());
    let names: Vec<&PathBuf> = names.collect();
    let in_folder = names.iter().copied().find_map(|n| Some((n, folders_of(n).into_iter().find(word)?)));
    let some_train = !named && names.iter().copied().any(|n| stem(n) == Some(SplitName::Train));
    let by_name = || {
        let other = names.iter().copied().find(|n| some_train && held_out(stem(n)));
        other.map(|n| (n, String::new()))
    };
    match in_folder.or_else(by_name) {
        None => Ok(()),
        Some((name, folder)) => {
            let what = format!("{}: the picture {}", root.display(), name.display());
            let wanted = "parts as archives of their own with train and test in their names, for classes in .cls members and shards are not divided by names inside; or splits = false";
            let found = match folder.is_empty() {
                true => "named as of another part".to_string(),
                false => format!("in the folder `{folder}` of another part"),
            };
            Err(DataError::mismatch(what, found, wanted))
        }
    }
}

/// The part that a set is by its own name, which is that of a part alone: `data/val2017`, `test.zip`.
fn own_part(root: &Path) -> Option<SplitName> {
    let name = root.file_stem().unwrap_or_default().to_string_lossy();
    part(&name).filter(|_| exact(&name))
}

/// The part that the name of a folder tells; none for pictures without a folder.
fn part(folder: &str) -> Option<SplitName> {
    split::of_name(folder)
}

fn held_out(part: Option<SplitName>) -> bool {
    part.is_some_and(|p| p != SplitName::Train)
}

fn not_training(folder: &str) -> bool {
    held_out(part(folder))
}

/// Whether a name is nothing but words of parts and numbers: `test`, `val2017`, and not `test_tubes`.
fn exact(folder: &str) -> bool {
    let words = folder.split(|c: char| !c.is_alphabetic()).filter(|w| !w.is_empty());
    words.map(part).all(|p| p.is_some())
}

/// Whether some folder is of training, and some of another part.
fn told_by(folders: &Folders) -> (bool, bool) {
    let train = folders.keys().any(|f| part(f) == Some(SplitName::Train));
    (train, folders.keys().any(|f| not_training(f)))
}

/// The first of many names.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}
