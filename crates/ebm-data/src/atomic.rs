//! Files that appear whole or not at all: written beside their place, synced, renamed.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::{Builder, NamedTempFile};

use crate::{DataError, Result};

/// What names of files begin with that are being written, or that a program left which was killed while it wrote.
pub const UNFINISHED: &str = ".writing-";
/// An unfinished file that nobody has worked on for so long belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(60);

/// Files that must be new when they are written.
static NEW: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// From now on the next [`write()`] of `path` replaces nothing: a file that comes to be there meanwhile stays, and the write fails.
/// For what a command computes for a long time before it writes it.
pub fn must_be_new(path: &Path) {
    if let Ok(path) = std::path::absolute(path) {
        NEW.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
    }
}

/// Replaces `path` by `bytes`; on any error what stood there stays.
///
/// # Errors
/// If the folder is not there or cannot be written, or a folder stands at `path`; if it [`must_be_new`] and is there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    if NEW.lock().unwrap_or_else(PoisonError::into_inner).remove(&absolute) {
        let there = || DataError::io(path, "write")(std::io::Error::from(std::io::ErrorKind::AlreadyExists));
        return if write_new(path, bytes)? { Ok(()) } else { Err(there()) };
    }
    beside(path, bytes)?.persist(path).map_err(|e| DataError::io(path, "rename to")(e.error))?;
    sync_folder(path)
}

/// Writes `bytes` to `path` if nothing stands there; `false` if something does, which is left as it is.
///
/// # Errors
/// As [`write()`].
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    match beside(path, bytes)?.persist_noclobber(path) {
        Ok(_) => sync_folder(path).map(|()| true),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(DataError::io(path, "link to")(e.error)),
    }
}

/// Removes from `folder` what programs left that were killed while they wrote a file there. What cannot be removed stays.
pub fn sweep(folder: &Path) {
    let old = |entry: &std::fs::DirEntry| {
        let changed = entry.metadata().and_then(|m| m.modified());
        changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ABANDONED))
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && old(&entry) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the name of a file is on the medium.
fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder_of(path)).and_then(|f| f.sync_all()).map_err(DataError::io(path, "sync"))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// A synced file with these bytes in the folder of `path`.
fn beside(path: &Path, bytes: &[u8]) -> Result<NamedTempFile> {
    // The same folder, because a rename between file systems would be a copy.
    let folder = folder_of(path);
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is private by default; the user's umask decides, as for any new file.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file =
        builder.prefix(UNFINISHED).tempfile_in(folder).map_err(DataError::io(path, "write beside"))?;
    file.write_all(bytes).map_err(DataError::io(path, "write"))?;
    file.as_file().sync_all().map_err(DataError::io(path, "sync"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_is_not_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        assert!(write_new(&path, b"one").unwrap());
        assert!(!write_new(&path, b"two").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_comes_to_be_there_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        must_be_new(&path);
        std::fs::write(&path, b"another program's").unwrap();
        let text = write(&path, b"ours").unwrap_err().to_string();
        assert!(text.contains("a.bin: cannot write") && text.contains("exists"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), b"another program's");
        std::fs::remove_file(&path).unwrap();
        must_be_new(&path);
        write(&path, b"ours").unwrap();
        // What this program has written it may write again.
        write(&path, b"ours, too").unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let text = write(&folder.path().join("no/a.bin"), b"x").unwrap_err().to_string();
        assert!(text.contains("no/a.bin: cannot write beside"), "{text}");
        // A folder cannot be replaced by a file; the temporary file must go all the same.
        std::fs::create_dir_all(folder.path().join("taken/inside")).unwrap();
        assert!(write(&folder.path().join("taken"), b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_the_umask_lets_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write(&ours, b"x").unwrap();
        std::fs::write(&plain, b"x").unwrap();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
