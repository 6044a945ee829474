//! Files that are written: never over what is there unless told, and whole or not at all.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Blocked, Error, Result};

/// Checks that a file can be written where `setting` says.
///
/// # Errors
/// If its folder is not there or cannot be written, or there is something that may not be replaced.
pub fn free(setting: &'static str, out: &Path, overwrite: bool) -> Result<()> {
    match out.try_exists() {
        Ok(true) if out.is_dir() => Err(blocked(setting, out, Blocked::Folder)),
        Ok(true) if !overwrite => Err(blocked(setting, out, Blocked::File)),
        _ => writable(setting, out),
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
    let probe = folder.join(format!(".writing-{}", std::process::id()));
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

/// Replaces a file as a whole, or leaves it as it was.
///
/// # Errors
/// If it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    ebm_data::atomic::write(path, bytes).map_err(|e| match e {
        ebm_data::DataError::Io { path, source, .. } => Error::Io { path, source },
        other => other.into(),
    })
}
