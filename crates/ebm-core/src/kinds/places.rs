//! Where relative paths of a configuration are looked for.

use std::path::{Component, Path, PathBuf};

/// Folders in which relative paths are looked for, in order. The first is the one that the configuration was written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places(Vec<PathBuf>);

impl Places {
    /// `first` alone.
    pub fn new(first: impl Into<PathBuf>) -> Self {
        Places(vec![first.into()])
    }

    /// The same with one more place at the end, unless it is there already.
    #[must_use]
    pub fn then(mut self, next: impl Into<PathBuf>) -> Self {
        let (next, same) = (next.into(), |a: &Path, b: &Path| a == b || physical(a) == physical(b));
        if !self.0.iter().any(|place| same(place, &next)) {
            self.0.push(next);
        }
        self
    }

    /// The folder that the configuration was written for.
    pub fn first(&self) -> &Path {
        self.0.first().map_or(Path::new("."), PathBuf::as_path)
    }

    /// `path` as seen from each place; an absolute path is the same from all.
    pub fn candidates(&self, path: &Path) -> Vec<PathBuf> {
        if path.is_absolute() {
            return vec![path.to_path_buf()];
        }
        self.0
            .iter()
            .map(|place| if place == Path::new(".") { path.into() } else { place.join(path) })
            .collect()
    }

    /// `path` in the first place that has it, or, if none has, as seen from the first.
    pub fn find(&self, path: &Path) -> PathBuf {
        let mut all = self.candidates(path);
        let at = all.iter().position(|p| p.exists());
        all.swap_remove(at.unwrap_or(0))
    }
}

impl From<&Path> for Places {
    fn from(first: &Path) -> Self {
        Places::new(first)
    }
}

impl From<&PathBuf> for Places {
    fn from(first: &PathBuf) -> Self {
        Places::new(first)
    }
}

impl From<PathBuf> for Places {
    fn from(first: PathBuf) -> Self {
        Places::new(first)
    }
}

impl From<&Places> for Places {
    fn from(all: &Places) -> Self {
        all.clone()
    }
}

/// The way from the folder `from` to `to` without an absolute part, links resolved, so that it still holds when both move
/// together; `None` where there is none (another drive).
pub fn way(from: &Path, to: &Path) -> Option<PathBuf> {
    let (from, to) = (physical(from), physical(to));
    let (mut a, mut b) = (from.components().peekable(), to.components().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek())
        && x == y
    {
        a.next();
        b.next();
    }
    let rooted = |c: &Component| matches!(c, Component::Prefix(_) | Component::RootDir);
    if a.peek().is_some_and(rooted) || b.peek().is_some_and(rooted) {
        return None;
    }
    let way: PathBuf = a.map(|_| Component::ParentDir).chain(b).collect();
    Some(if way.as_os_str().is_empty() { PathBuf::from(".") } else { way })
}

/// The absolute path without links; what is not there yet stands behind what is.
fn physical(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    whole
        .ancestors()
        .find_map(|a| Some((std::fs::canonicalize(a).ok()?, whole.strip_prefix(a).ok()?)))
        .map_or(
            whole.clone(),
            |(there, rest)| if rest.as_os_str().is_empty() { there } else { there.join(rest) },
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_found_in_the_first_place_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        for place in [&a, &b] {
            std::fs::create_dir(place).unwrap();
        }
        std::fs::write(b.join("x"), "").unwrap();
        let places = Places::new(&a).then(&b).then(&a);
        assert_eq!(places.candidates(Path::new("x")), [a.join("x"), b.join("x")]);
        assert_eq!(places.find(Path::new("x")), b.join("x"));
        std::fs::write(a.join("x"), "").unwrap();
        assert_eq!(places.find(Path::new("x")), a.join("x"));
        assert_eq!(places.find(Path::new("no")), a.join("no"), "the first place is the one to complain of");
        assert_eq!(places.candidates(&b), [b], "an absolute path is the same from everywhere");
        assert_eq!(Places::new(".").find(Path::new("no")), Path::new("no"));
    }

    #[test]
    fn a_way_leads_there_and_has_no_absolute_part() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("p/runs")).unwrap();
        let of = |from: &str, to: &str| way(&root.join(from), &root.join(to)).unwrap();
        assert_eq!(of("p/runs/a/checkpoints/step-1", "p"), Path::new("../../../.."));
        assert_eq!(of("p", "p"), Path::new("."));
        assert_eq!(of("p", "p/runs"), Path::new("runs"));
        assert_eq!(of("q/x", "p/runs"), Path::new("../../p/runs"));
    }

    #[cfg(unix)]
    #[test]
    fn a_way_out_of_a_linked_folder_is_the_one_that_the_system_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("scratch/runs/a")).unwrap();
        std::fs::create_dir(root.join("p")).unwrap();
        std::os::unix::fs::symlink(root.join("scratch/runs"), root.join("p/runs")).unwrap();
        let from = root.join("p/runs/a");
        let back = from.join(way(&from, &root.join("p")).unwrap());
        assert_eq!(std::fs::canonicalize(back).unwrap(), std::fs::canonicalize(root.join("p")).unwrap());
    }
}
