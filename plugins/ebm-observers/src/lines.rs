//! A text file with one line a step, which a resumed run continues where its checkpoint stands.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ebm_core::{Error, Result};

use crate::course::Course;

/// Lines reach the disk at least this often, so that `tail -f` shows a running program.
const FLUSH: Duration = Duration::from_secs(1);

/// An open file of lines.
pub(crate) struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
    flushed: Instant,
    /// Step of the last line, 0 without one.
    last: u64,
    /// Lines, the header among them.
    count: u64,
    remarks: Vec<String>,
}

impl Lines {
    /// Opens `path` and cuts off every line whose step, as told by `step_of`, lies beyond `course`: those of steps that a
    /// resumed run will do again, and one that was written because the run was interrupted. A line that was not finished
    /// ends the file, too. The first line may be a header without a step, if there is to be one.
    pub fn open(
        path: &Path,
        course: Course,
        header: bool,
        step_of: impl Fn(&str) -> Option<u64>,
    ) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        // Ends of the last line, and of the line before those of its step.
        let (mut keep, mut before) = (0, 0);
        let (mut last, mut earlier) = (0, 0);
        let (mut number, mut unread, mut unordered) = (0, Vec::new(), None);
        let (mut count, mut count_before) = (0, 0);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = reader.read_until(b'\n', &mut line).map_err(io)?;
            if n == 0 || !line.ends_with(b"\n") {
                break;
            }
            number += 1;
            match step_of(&String::from_utf8_lossy(&line)) {
                Some(step) if step > course.step => break,
                Some(step) if step > last => {
                    (earlier, last, before, count_before) = (last, step, keep, count);
                }
                Some(step) if step == last => {}
                Some(_) => unordered = unordered.or(Some(number)),
                None if header && number == 1 => {}
                None => unread.push(number),
            }
            count += 1;
            keep += n as u64;
        }
        if course.cut_by_interruption(last, earlier) {
            (keep, last, count) = (before, earlier, count_before);
            earlier = 0;
        }
        file.set_len(keep).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut remarks: Vec<String> = course.gap(&name, last, earlier).into_iter().collect();
        if let Some(first) = unread.first() {
            let count = unread.len();
            remarks.push(format!("{name}: {count} of its lines cannot be read, the first is line {first}"));
        }
        if let Some(first) = unordered {
            remarks.push(format!(
                "{name}: its lines are not in the order of their steps, the first is line {first}"
            ));
        }
        Ok(Lines {
            path: path.to_path_buf(),
            out: BufWriter::new(file),
            flushed: Instant::now(),
            last,
            count,
            remarks,
        })
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&mut self) -> Result<bool> {
        Ok(self.out.stream_position().map_err(|e| Error::io(&self.path, e))? == 0)
    }

    /// Step of the last line that was found, 0 without one.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What is to be said of what was found.
    pub fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Name of the file and number of its lines, the header among them.
    pub fn entries(&self) -> (String, u64) {
        (self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(), self.count)
    }

    /// Appends a line.
    pub fn write(&mut self, line: &str) -> Result<()> {
        self.count += 1;
        writeln!(self.out, "{line}").map_err(|e| Error::io(&self.path, e))?;
        if self.flushed.elapsed() > FLUSH { self.flush() } else { Ok(()) }
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        self.out.flush().map_err(|e| Error::io(&self.path, e))
    }

    /// Waits until everything is on the medium.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.out.get_ref().sync_data().map_err(|e| Error::io(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(step: u64) -> Course {
        Course { step, of: 100, every: 1 }
    }

    #[test]
    fn a_resumed_file_ends_where_the_checkpoint_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let step = |l: &str| l.trim().parse().ok();
        std::fs::write(&path, "head\n1\n2\n3\n4\nunfinis").unwrap();
        let mut lines = Lines::open(&path, at(2), true, step).unwrap();
        assert_eq!((lines.last(), lines.remarks()), (2, vec![]));
        lines.write("3").unwrap();
        drop(lines);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "head\n1\n2\n3\n");
        std::fs::write(&path, "1\n2").unwrap();
        drop(Lines::open(&path, at(1), false, step).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn a_file_that_ends_before_its_checkpoint_or_cannot_be_read_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let step = |l: &str| l.trim().parse().ok();
        let remarks = |text: &str, course: Course| {
            std::fs::write(&path, text).unwrap();
            Lines::open(&path, course, true, step).unwrap().remarks()
        };
        assert_eq!(remarks("head\n1\n2\n3\n", at(3)), Vec::<String>::new());
        assert!(remarks("head\n1\n2\n", at(4))[0].contains("x: ends at step 2"));
        assert!(remarks("", at(4))[0].contains("x: holds no step"));
        assert!(remarks("head\n1\n\0\0\0\n3\n", at(3))[0].contains("the first is line 3"));
        assert!(
            remarks("head\n1\n3\n2\n3\n", at(3))[0]
                .contains("not in the order of their steps, the first is line 4")
        );
        let mut counted = Lines::open(&path, at(3), true, step).unwrap();
        counted.write("4").unwrap();
        assert_eq!(counted.entries(), ("x".into(), 6));
        // Nothing is missing: lines came every ten steps before, and come at every step from now on.
        assert!(remarks("head\n10\n20\n", at(25)).is_empty());
        assert!(remarks("head\n10\n20\n", Course { every: 10, ..at(25) }).is_empty());
    }

    #[test]
    fn a_line_of_an_interruption_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let found = |course: Course| {
            std::fs::write(&path, "10\n20\n25\n").unwrap();
            let lines = Lines::open(&path, course, false, |l: &str| l.trim().parse().ok()).unwrap();
            (lines.last(), std::fs::read_to_string(&path).unwrap())
        };
        let every = |step, of| Course { step, of, every: 10 };
        assert_eq!(found(every(25, 100)), (20, "10\n20\n".into()));
        // The last step of a run has its line.
        assert_eq!(found(every(25, 25)), (25, "10\n20\n25\n".into()));
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let text = Lines::open(Path::new("/no/such/x"), at(0), false, |_| None).err().unwrap().to_string();
        assert!(text.starts_with("/no/such/x: "), "{text}");
    }
}
