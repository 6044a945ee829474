//! Files that are read are files: a pipe would wait for ever, and a device has no end.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Origin;
use crate::{DataError, Result};

/// Opens `path`.
///
/// # Errors
/// If it cannot be opened or is a folder, a pipe, a device, or a link to one.
pub fn open(path: &Path) -> Result<File> {
    // Asked before opening: opening a pipe that nobody writes to would wait for ever.
    if !path.metadata().map_err(DataError::io(path, "open"))?.is_file() {
        return Err(Origin(path).format(0, "the path", "no regular file", "a file"));
    }
    File::open(path).map_err(DataError::io(path, "open"))
}

/// All bytes of `path`.
///
/// # Errors
/// As [`open`], and if it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(DataError::io(path, "read"))?;
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use crate::folder::{self, FolderOptions};
    use crate::png::Sheet;

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        Sheet::default().write(dir.path().join("a.png"), &[0.5; 4], (1, 1, 2, 2)).unwrap();
        let pipe = dir.path().join("b.png");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let device = dir.path().join("b.npy");
        std::os::unix::fs::symlink("/dev/zero", &device).unwrap();
        let (to, from) = channel();
        let folder = dir.path().to_path_buf();
        // On a thread, for a reader that waits would wait for ever.
        std::thread::spawn(move || {
            let all = folder::read(&folder, &FolderOptions::default()).map(|_| ()).map_err(|e| e.to_string());
            let _ = to.send([all, super::read(&device).map(|_| ()).map_err(|e| e.to_string())]);
        });
        let found =
            from.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|e| panic!("{e}: a reader waits"));
        for found in found {
            let message = found.unwrap_err();
            assert!(message.contains("is no regular file"), "{message}");
        }
    }
}
