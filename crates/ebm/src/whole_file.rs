//! Files that are written: never over what is there unless told, and whole or not at all.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// Checks that the file of an option such as `--out` can be written.
pub fn free(option: &str, out: &Path, overwrite: bool) -> Result<()> {
    let refuse = |why: &str| Err(Error::Usage(format!("{option} {}: {why}", out.display())));
    match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            return refuse("its folder is not there");
        }
        _ => {}
    }
    match out.try_exists() {
        Ok(true) if out.is_dir() => refuse("is a folder, wanted a file"),
        Ok(true) if !overwrite => refuse("already exists; choose another name, or replace it with --force"),
        _ => writable(option, out),
    }
}

/// Checks that something can be made at `out`, before work begins that would be lost.
pub fn writable(option: &str, out: &Path) -> Result<()> {
    let folder = out.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = folder.join(format!(".writing-{}", std::process::id()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    made.and_then(|_| std::fs::remove_file(&probe))
        .map_err(|e| Error::Usage(format!("{option} {}: its folder cannot be written: {e}", out.display())))
}

/// Checks that no two options name the same file.
pub fn apart(files: &[(&str, Option<&Path>)]) -> Result<()> {
    let place = |path: &Path| -> PathBuf {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        path.file_name().map_or(folder.clone(), |name| folder.join(name))
    };
    let there: Vec<(&str, PathBuf)> = files.iter().filter_map(|(o, p)| Some((*o, place((*p)?)))).collect();
    for (i, (first, path)) in there.iter().enumerate() {
        if let Some((second, _)) = there[i + 1..].iter().find(|(_, p)| p == path) {
            return Err(Error::Usage(format!(
                "{first} and {second}: name the same file, {}; wanted two",
                path.display()
            )));
        }
    }
    Ok(())
}

/// A value as JSON for people, with the newline that ends a file.
pub fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| ebm_core::Error::plugin("json", e))?;
    Ok(text + "\n")
}

/// Replaces a file as a whole, or leaves it as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    ebm_data::atomic::write(path, bytes).map_err(|e| match e {
        ebm_data::DataError::Io { path, source, .. } => Error::Io { path, source },
        other => other.into(),
    })
}
