//! Files that are written: never over what is there unless told, and whole or not at all.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Blocked, Error, Result};

/// Checks that a file can be written where `setting` says, and unless it may be replaced has it written only if it is new then.
///
/// # Errors
/// If its folder is not there or cannot be written, or there is something that may not be replaced.
pub fn free(setting: &'static str, out: &Path, overwrite: bool) -> Result<()> {
    match out.try_exists() {
        Ok(true) if out.is_dir() => Err(blocked(setting, out, Blocked::Folder)),
        Ok(true) if !overwrite => Err(blocked(setting, out, Blocked::File)),
        _ => {
            writable(setting, out)?;
            if !overwrite {
                ebm_data::atomic::must_be_new(out);
            }
            Ok(())
        }
    }
}

/// Checks that there is nothing where `setting` says, and that something can be made.
///
/// # Errors
/// If there is something, or its folder is not there or cannot be written.
pub fn new(setting: &'static str, out: &Path) -> Result<()> {
    match out.exists() {
        true => Err(blocked(setting, out, Blocked::There)),
        false => writable(setting, out),
    }
}

/// Checks that something can be made at `out`, before work begins that would be lost.
fn writable(setting: &'static str, out: &Path) -> Result<()> {
    let folder = out.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(blocked(setting, out, Blocked::NoFolder));
    }
    ebm_data::atomic::sweep(folder);
    let probe = folder.join(format!("{}{}", ebm_data::atomic::UNFINISHED, std::process::id()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    made.and_then(|_| std::fs::remove_file(&probe)).map_err(|e| blocked(setting, out, Blocked::Unwritable(e)))
}

fn blocked(setting: &'static str, path: &Path, why: Blocked) -> Error {
    Error::Output { setting, path: path.to_path_buf(), why }
}

/// Checks that no two settings name the same file.
///
/// # Errors
/// If two do.
pub fn apart(files: &[(&'static str, Option<&Path>)]) -> Result<()> {
    let place = |path: &Path| -> PathBuf {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        path.file_name().map_or(folder.clone(), |name| folder.join(name))
    };
    let there: Vec<(&'static str, PathBuf)> =
        files.iter().filter_map(|(o, p)| Some((*o, place((*p)?)))).collect();
    for (i, (first, path)) in there.iter().enumerate() {
        if let Some((second, _)) = there[i + 1..].iter().find(|(_, p)| p == path) {
            return Err(blocked(first, path, Blocked::Same(second)));
        }
    }
    Ok(())
}

/// A value as JSON for people, with the newline that ends a file.
///
/// # Errors
/// If it has no form in JSON.
pub fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| ebm_core::Error::plugin("json", e))?;
    Ok(text + "\n")
}

/// Makes a file that is not there, as a whole or not at all.
///
/// # Errors
/// If it cannot be written, or has come to be there meanwhile; `setting` says where it was to be.
pub fn make(setting: &'static str, path: &Path, bytes: &[u8]) -> Result<()> {
    match ebm_data::atomic::write_new(path, bytes).map_err(io)? {
        true => Ok(()),
        false => Err(blocked(setting, path, Blocked::There)),
    }
}

/// Makes a folder that is not there, or is empty, as a whole or not at all: `fill` writes into a folder beside it, which then
/// takes its name.
///
/// # Errors
/// If `fill` fails or the folder cannot be made; then nothing is there.
pub fn make_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = parent.join(format!(".{name}.partial"));
    let clear = || match std::fs::remove_dir_all(&beside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&beside)(e)),
        _ => Ok(()),
    };
    // Of a program that was killed.
    clear()?;
    std::fs::create_dir(&beside).map_err(Error::io(&beside))?;
    let made = fill(&beside).and_then(|()| std::fs::rename(&beside, path).map_err(Error::io(path)));
    if made.is_err() {
        // Best effort: the error is what the user should hear of.
        let _ = clear();
    }
    made
}

/// Replaces a file as a whole, or leaves it as it was.
///
/// # Errors
/// If it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    ebm_data::atomic::write(path, bytes).map_err(io)
}

fn io(e: ebm_data::DataError) -> Error {
    match e {
        ebm_data::DataError::Io { path, source, .. } => Error::Io { path, source },
        other => other.into(),
    }
}
