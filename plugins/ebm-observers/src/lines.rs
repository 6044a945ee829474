//! A text file with one line a step, which a resumed run continues where its checkpoint stands.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ebm_core::{Error, Result};

/// Lines reach the disk at least this often, so that `tail -f` shows a running program.
const FLUSH: Duration = Duration::from_secs(1);

/// An open file of lines.
pub(crate) struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
    flushed: Instant,
}

impl Lines {
    /// Opens `path` and cuts off every line whose step, as told by `step_of`, lies beyond `step`: those of
    /// steps that a resumed run will do again. A line that was not finished ends the file, too.
    /// Lines without a step (a header) stay.
    pub fn open(path: &Path, step: u64, step_of: impl Fn(&str) -> Option<u64>) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut keep = 0;
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = reader.read_until(b'\n', &mut line).map_err(io)?;
            let whole = line.ends_with(b"\n");
            let beyond = step_of(&String::from_utf8_lossy(&line)).is_some_and(|s| s > step);
            if n == 0 || !whole || beyond {
                break;
            }
            keep += n as u64;
        }
        file.set_len(keep).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(Lines { path: path.to_path_buf(), out: BufWriter::new(file), flushed: Instant::now() })
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&mut self) -> Result<bool> {
        Ok(self.out.stream_position().map_err(|e| Error::io(&self.path, e))? == 0)
    }

    /// Appends a line.
    pub fn write(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}").map_err(|e| Error::io(&self.path, e))?;
        if self.flushed.elapsed() > FLUSH { self.flush() } else { Ok(()) }
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        self.out.flush().map_err(|e| Error::io(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_resumed_file_ends_where_the_checkpoint_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let step = |l: &str| l.trim().parse().ok();
        std::fs::write(&path, "head\n1\n2\n3\n4\nunfinis").unwrap();
        let mut lines = Lines::open(&path, 2, step).unwrap();
        lines.write("3").unwrap();
        drop(lines);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "head\n1\n2\n3\n");
        std::fs::write(&path, "1\n2").unwrap();
        drop(Lines::open(&path, 9, step).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let text = Lines::open(Path::new("/no/such/x"), 0, |_| None).err().unwrap().to_string();
        assert!(text.starts_with("/no/such/x: "), "{text}");
    }
}
