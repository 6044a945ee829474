//! The one error type of the readers and writers, with the place in the file and what stood there.

use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// Everything that can go wrong while data are read, checked or written.
///
/// Messages follow one pattern: where, what was found, what was wanted, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file system said no: the file is missing, unreadable, or the disk is full.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, such as `read`.
        action: &'static str,
        /// The answer of the operating system.
        source: std::io::Error,
    },
    /// The file is truncated, damaged or not what it claims to be.
    #[error("{}: {}{item} is {found}, expected {expected}", path.display(), at(*offset))]
    Format {
        /// The file, or the name of the embedded data.
        path: PathBuf,
        /// Where in the (unpacked) file, counted in bytes from its start.
        offset: u64,
        /// Which part of the format was read there.
        item: String,
        /// What stood there.
        found: String,
        /// What would have been right, and what to do about it.
        expected: String,
    },
    /// The file is of another format than the reader's.
    #[error("{}: is {what}, expected {wanted}: {advice}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// What the reader reads.
        wanted: String,
        /// What to do with it.
        advice: &'static str,
    },
    /// The file is sound but uses something that this reader refuses, with the reason.
    #[error("{}: {}{found} is not supported: {reason}", path.display(), at(*offset))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What was found.
        found: String,
        /// Why it is refused and how to convert the file.
        reason: String,
    },
    /// Values in memory, or files that should belong together, do not fit each other.
    #[error("{what}: found {found}, expected {expected}")]
    Mismatch {
        /// What was compared.
        what: String,
        /// What came.
        found: String,
        /// What was wanted, and what to do about it.
        expected: String,
    },
}

impl DataError {
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    /// The same error of values that were read from this file.
    #[must_use]
    pub fn in_file(self, path: impl AsRef<Path>) -> Self {
        match self {
            Self::Mismatch { what, found, expected } => {
                Self::Mismatch { what: format!("{}: {what}", path.as_ref().display()), found, expected }
            }
            other => other,
        }
    }

    pub(crate) fn mismatch(
        what: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Mismatch { what: what.into(), found: found.into(), expected: expected.into() }
    }
}

/// The file that a parser is working on: what every format error names.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a>(pub &'a Path);

impl Origin<'_> {
    pub fn format(
        self,
        offset: u64,
        item: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> DataError {
        DataError::Format {
            path: self.0.to_owned(),
            offset,
            item: item.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    pub fn unsupported(self, offset: u64, found: impl Into<String>, reason: impl Into<String>) -> DataError {
        DataError::Unsupported { path: self.0.to_owned(), offset, found: found.into(), reason: reason.into() }
    }
}

/// Where in the file, unless it is its start, which tells nothing.
fn at(offset: u64) -> String {
    if offset == 0 { String::new() } else { format!("byte {offset}: ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_error_names_the_file_the_place_and_both_values() {
        let e = Origin(Path::new("a/b.idx")).format(4, "count of images", "7 bytes", "16 bytes");
        assert_eq!(e.to_string(), "a/b.idx: byte 4: count of images is 7 bytes, expected 16 bytes");
    }
}
