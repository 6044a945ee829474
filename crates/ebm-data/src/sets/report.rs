//! What was read of a set, what of it is held out, and what was left out: nothing goes without a word.

use std::fmt;
use std::path::{Path, PathBuf};

/// A set as its publisher divided it, or as names of folders and files divide it.
#[derive(Clone, Debug)]
pub struct Parts<T> {
    /// What may be trained on.
    pub training: T,
    /// What must not be, if it is known.
    pub held_out: Option<T>,
    /// Where it came from.
    pub report: Report,
}

/// Counts of a reader: samples by file, and what was passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files (or folders, or members of an archive) of the training part, each with its number of samples.
    pub training: Vec<(PathBuf, usize)>,
    /// The same of the held-out part.
    pub held_out: Vec<(PathBuf, usize)>,
    /// What was passed over, by the reason.
    pub left_out: Vec<LeftOut>,
    /// What a reader did that its user may not expect, such as labels counted from 1.
    pub notes: Vec<String>,
}

/// Files or samples that were passed over for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What they are, such as `hidden files`.
    pub what: String,
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: PathBuf,
}

impl Report {
    /// Counts something that is passed over.
    pub(crate) fn leave(&mut self, what: &str, path: &Path) {
        match self.left_out.iter_mut().find(|l| l.what == what) {
            Some(known) => known.count += 1,
            None => self.left_out.push(LeftOut { what: what.into(), count: 1, first: path.to_path_buf() }),
        }
    }

    /// One line for each thing to say: files with their counts only where there is more than one, what was left out
    /// always.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (part, files) in [("training", &self.training), ("held out", &self.held_out)] {
            if self.training.len() + self.held_out.len() > 1 {
                lines.extend(files.iter().map(|(path, n)| format!("{part}: {n} of {}", path.display())));
            }
        }
        for l in &self.left_out {
            lines.push(format!("left out: {} {}, the first {}", l.count, l.what, l.first.display()));
        }
        lines.extend(self.notes.iter().cloned());
        lines
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_by_its_reason() {
        let mut report = Report::default();
        report.leave("hidden files", Path::new("a/.x"));
        report.leave("files of another kind", Path::new("a/notes.txt"));
        report.leave("hidden files", Path::new("a/.y"));
        report.training.push(("a".into(), 3));
        assert_eq!(
            report.to_string(),
            "left out: 2 hidden files, the first a/.x\nleft out: 1 files of another kind, the first a/notes.txt"
        );
        report.held_out.push(("b".into(), 1));
        assert!(report.to_string().starts_with("training: 3 of a\nheld out: 1 of b\n"));
    }
}
