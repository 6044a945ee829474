//! Files that are read are files: a pipe would wait for ever, and a device has no end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Opens `path`.
///
/// # Errors
/// If it cannot be opened or is a folder, a pipe, a device, or a link to one.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    if !path.as_ref().metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file, expected one"));
    }
    File::open(path)
}

/// All bytes of `path`.
///
/// # Errors
/// As [`open`], and if it cannot be read.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All text of `path`.
///
/// # Errors
/// As [`read`], and if it is not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}
