//! What has happened to the files of a run since its ledger was written.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use ebm_core::{Error, Result};
use ebm_model::digest::hexadecimal;
use sha2::{Digest as _, Sha256};

use super::stored::{Extent, Found, Stored, unknown};

/// Whether [`note_ends`] was called for the end of the run; a run without a whole ledger does not tell.
pub fn has_ends(directory: &Path) -> bool {
    match Stored::read(directory) {
        Found::Whole(stored) => !stored.ends.is_empty(),
        Found::Missing | Found::Damaged => true,
    }
}

/// Notes the files `names` that were made below `directory` after the last step of its run, for [`changes`]. A run without a
/// ledger goes without.
///
/// # Errors
/// If a file cannot be read, or the ledger not written.
pub fn note_ends(directory: &Path, names: &[&str]) -> Result<()> {
    let Found::Whole(mut stored) = Stored::read(directory) else { return Ok(()) };
    for name in names {
        let path = directory.join(name);
        let mut digest = Sha256::new();
        let bytes = ebm_core::regular::open(&path).and_then(|file| digested(file, &mut digest));
        let bytes = bytes.map_err(|e| Error::io(&path, e))?;
        let extent = Extent { bytes, sha256: hexadecimal(&digest.finalize()) };
        stored.ends.insert((*name).to_string(), extent);
    }
    stored.write(directory)
}

/// Number of bytes that a file had, which are in the digest now.
pub(super) fn digested(file: impl io::Read, digest: &mut Sha256) -> io::Result<u64> {
    let mut bytes = 0;
    each_part(file, |part| {
        digest.update(part);
        bytes += part.len() as u64;
    })?;
    Ok(bytes)
}

/// Number of ends of lines in a file.
fn lines(file: File) -> io::Result<u64> {
    let mut lines = 0;
    each_part(file, |part| lines += part.iter().filter(|byte| **byte == b'\n').count() as u64)?;
    Ok(lines)
}

/// Reads a file to its end, some bytes at a time.
fn each_part(mut file: impl io::Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// What has happened to a file since the checkpoint of `step`, if it does not begin as it was then.
pub(super) fn changed(directory: &Path, file: &str, was: &Extent, step: u64) -> Option<String> {
    let mut digest = Sha256::new();
    let read = ebm_core::regular::open(directory.join(file))
        .and_then(|open| digested(open.take(was.bytes), &mut digest))
        .map_err(|e| e.kind());
    let what = match read {
        Err(io::ErrorKind::NotFound) => "is missing".to_string(),
        Err(kind) => format!("cannot be read ({kind})"),
        Ok(bytes) if bytes < was.bytes => format!("has {bytes} bytes of {}", was.bytes),
        Ok(_) if hexadecimal(&digest.finalize()) != was.sha256 => "has been changed".to_string(),
        Ok(_) => return None,
    };
    Some(format!("{file}: {what} since the checkpoint of step {step}"))
}

/// A file or folder with entries since the checkpoint of `step`, if there are fewer lines in it or if it is not there.
fn thinned(directory: &Path, name: &str, was: u64, step: u64) -> Option<String> {
    let path = directory.join(name);
    if path.is_dir() {
        // What its files hold only its observer can read.
        let empty = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        return (was > 0 && empty).then(|| format!("{name}: is empty since the checkpoint of step {step}"));
    }
    let what = match ebm_core::regular::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => (was > 0).then(|| "is missing".to_string()),
        Err(e) => Some(format!("cannot be read ({})", e.kind())),
        Ok(file) => {
            let now = lines(file).unwrap_or(0);
            (now < was).then(|| format!("has {now} lines of {was}"))
        }
    };
    what.map(|what| format!("{name}: {what} since the checkpoint of step {step}"))
}

/// What has happened to the files of a run's observers since its newest checkpoint, each with the name of the file, after what
/// was lost before; nothing if the run has no ledger.
pub fn changes(directory: &Path) -> Vec<String> {
    let stored = match Stored::read(directory) {
        Found::Whole(stored) => stored,
        Found::Missing => return Vec::new(),
        Found::Damaged => return vec![unknown("damaged")],
    };
    let newest = stored.steps.last().copied().unwrap_or(0);
    let counts = stored.counts.get(&newest).into_iter().flatten();
    let mut all = stored.losses.clone();
    let now = stored.at(newest).filter_map(|(file, was)| changed(directory, file, was, newest));
    let ends = stored.ends.iter().filter_map(|(file, was)| changed(directory, file, was, newest));
    all.extend(
        ends.chain(now).chain(counts.filter_map(|(name, was)| thinned(directory, name, *was, newest))),
    );
    all
}
