//! Text files that a call begins with: configurations, studies, thresholds.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// No configuration is longer.
const MOST: u64 = 64 << 20;

/// The text of a file that is taken for `what`.
///
/// # Errors
/// If it cannot be read, or is no UTF-8: the message has the byte and the line.
pub(crate) fn read(what: &'static str, path: &Path) -> Result<String> {
    let unread = |source| Error::Unread { what, path: path.to_path_buf(), source };
    // A pipe will do, so nothing tells beforehand how much there is.
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes)).map_err(unread)?;
    if bytes.len() as u64 > MOST {
        let message = format!("has more than {MOST} bytes, wanted a text that a person wrote");
        return Err(unread(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
        let byte = e.as_bytes().get(at).copied().unwrap_or_default();
        let message = format!(
            "byte {at} (line {line}) is {byte:#04x}, wanted UTF-8 text: save the file as such, or name another one"
        );
        unread(io::Error::new(io::ErrorKind::InvalidData, message))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_named_by_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, b"format = 1\n# caf\xe9\n").unwrap();
        let text = read("configuration", &path).unwrap_err().to_string();
        for part in ["run.toml", "configuration", "byte 16 (line 2) is 0xe9", "UTF-8"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        std::fs::write(&path, "a").unwrap();
        assert_eq!(read("configuration", &path).unwrap(), "a");
    }
}
