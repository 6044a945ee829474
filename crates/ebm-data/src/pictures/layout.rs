//! What the names of folders and files say of pictures: parts of the set and classes, in a folder and in an archive alike.

mod parts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::decode::Splits;
use crate::sets::report::Report;
use crate::{DataError, Result};

pub(super) use parts::{some_to_train, undivided};

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
/// Folders that hold nothing but one further folder are passed through. Then folders whose names all have the word of a
/// part ([`of_name`](crate::split::of_name)) are parts, and what is below them, or the folders themselves, are the
/// classes; folders that each hold such parts and pictures below them are classes in parts. Of pictures in no folder of a
/// part the names of the files tell, if each has a word. Other places of a word of a held-out or further part are
/// refused: what is tested on is never trained on.
///
/// # Errors
/// If pictures stand beside sub-folders, words do not tell every folder beside a held-out one, several sets have parts of
/// their own, or there is nothing to train on.
pub(crate) fn arrange(root: &Path, names: &[PathBuf], splits: Splits, report: &mut Report) -> Result<Layout> {
    let mut set = Set { root, names, splits, report, layout: Layout::default() };
    set.layout.labels = vec![None; names.len()];
    let all: Vec<usize> = (0..names.len()).collect();
    if splits == Splits::Ignored {
        let depth = shared_depth(names, &all);
        set.classes(&all, depth)?;
        set.report.training.push((root.to_path_buf(), all.len()));
        set.layout.training = all;
        return Ok(set.layout);
    }
    set.divide(&all, 0, None)?;
    set.held_out_classes();
    Ok(set.layout)
}

/// A set that is being arranged.
struct Set<'a> {
    root: &'a Path,
    names: &'a [PathBuf],
    splits: Splits,
    report: &'a mut Report,
    layout: Layout,
}

impl Set<'_> {
    /// Sets labels of the training part by the folders at `depth`.
    fn classes(&mut self, part: &[usize], depth: usize) -> Result<()> {
        let folders = by_folder(self.names, part, depth);
        if folders.len() == 1 && folders.contains_key("") {
            return Ok(());
        }
        if let Some(alone) = folders.get("").and_then(|inside| inside.first()) {
            let what = format!("{}: the place of the picture", self.root.join(&self.names[*alone]).display());
            return Err(DataError::mismatch(
                what,
                "beside sub-folders",
                "inside one of them: each sub-folder is a class",
            ));
        }
        for (class, inside) in (0u32..).zip(folders.values()) {
            inside.iter().for_each(|i| self.layout.labels[*i] = Some(class));
        }
        self.layout.classes = folders.into_keys().collect();
        Ok(())
    }

    /// Labels of held-out pictures: those of the training classes of the same names, if each has one.
    fn held_out_classes(&mut self) {
        let class = |i: &usize| {
            let folders = folders_of(&self.names[*i]).into_iter().rev();
            let mut known = folders.filter_map(|f| self.layout.classes.iter().position(|c| *c == f));
            known.next().map(|c| c as u32)
        };
        let labels: Option<Vec<u32>> = self.layout.held_out.iter().map(class).collect();
        for (i, label) in self.layout.held_out.iter().zip(labels.into_iter().flatten()) {
            self.layout.labels[*i] = Some(label);
        }
    }
}

/// Names of the folders on the way to a picture.
fn folders_of(name: &Path) -> Vec<String> {
    let folders = name.parent().into_iter().flat_map(Path::components).filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    folders.collect()
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
