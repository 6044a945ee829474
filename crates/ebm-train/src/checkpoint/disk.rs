//! Writes files so that a crash or a full disk never leaves half of one in place of a whole one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use ebm_core::{Error, Result};

use crate::checkpoint::content::Content;

/// How bytes reach a file. Tests put a full disk here.
pub(crate) trait Disk {
    /// Creates `path` with this content and waits until it is on the medium.
    fn write(&self, path: &Path, content: &Content) -> io::Result<()>;
}

/// The file system.
pub(crate) struct Files;

impl Disk for Files {
    fn write(&self, path: &Path, content: &Content) -> io::Result<()> {
        let mut file = File::create(path)?;
        content.pieces(&mut |piece| file.write_all(piece))?;
        file.sync_all()
    }
}

/// Whether a file could not be written for want of room.
pub(crate) fn is_full(e: &Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(e, Error::Io { source, .. } if [StorageFull, QuotaExceeded, FileTooLarge].contains(&source.kind()))
}

/// Writes a folder of files beside `path` and renames it into place; an older folder of that name is replaced.
pub(crate) fn write_folder(disk: &dyn Disk, path: &Path, files: &[(&str, Content)]) -> Result<()> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
    let partial = parent.join(format!(".{name}.partial"));
    let old = parent.join(format!(".{name}.old"));
    put_back(path, &old)?;
    for rest in [&partial, &old] {
        if rest.exists() {
            fs::remove_dir_all(rest).map_err(|e| Error::io(rest, e))?;
        }
    }
    let written = (|| {
        fs::create_dir(&partial).map_err(|e| Error::io(&partial, e))?;
        for (file, content) in files {
            disk.write(&partial.join(file), content).map_err(|e| Error::io(path.join(file), e))?;
        }
        sync_folder(&partial)
    })();
    if let Err(e) = written {
        // Best effort: what is left is hidden and removed by the next attempt.
        let _ = fs::remove_dir_all(&partial);
        return Err(e);
    }
    if path.exists() {
        fs::rename(path, &old).map_err(|e| Error::io(path, e))?;
    }
    fs::rename(&partial, path).map_err(|e| Error::io(path, e))?;
    if old.exists() {
        fs::remove_dir_all(&old).map_err(|e| Error::io(&old, e))?;
    }
    sync_folder(parent)
}

/// Gives a folder its name again that a writer had set aside as `old` when it was killed.
fn put_back(path: &Path, old: &Path) -> Result<()> {
    if old.exists() && !path.exists() {
        fs::rename(old, path).map_err(|e| Error::io(path, e))
    } else {
        Ok(())
    }
}

/// Puts in order what a writer of folders and files left in `folder` when it was killed: what it had set aside has its name
/// again, and what it had not finished is gone. Nobody else may write there.
///
/// # Errors
/// If something cannot be renamed or removed.
pub(crate) fn sweep(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(whole) = name.strip_prefix('.').and_then(|n| n.strip_suffix(".old")) {
            put_back(&folder.join(whole), &path)?;
        }
        let hidden = name.starts_with('.') && (name.ends_with(".partial") || name.ends_with(".old"));
        if path.is_dir() && hidden {
            fs::remove_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        } else if path.is_file() && (name.ends_with(".partial") || name.starts_with(".writing-")) {
            fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}

/// Replaces one file as a whole.
pub(crate) fn write_file(disk: &dyn Disk, path: &Path, bytes: Vec<u8>) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = std::path::PathBuf::from(partial);
    disk.write(&partial, &Content::Bytes(bytes)).map_err(|e| Error::io(path, e))?;
    fs::rename(&partial, path).map_err(|e| Error::io(path, e))?;
    sync_folder(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Waits until the names in a folder are on the medium.
fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io(path, e))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
