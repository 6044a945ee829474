//! TensorBoard's event files: what is in them, and how a folder of them is continued.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ebm_core::{Error, Result};

use crate::course::Course;
use crate::probe::Bins;
use crate::protobuf::{Message, Value, field};
use crate::tfrecord::{self, Next};

/// Events reach the disk at least this often.
const FLUSH: Duration = Duration::from_secs(1);
/// What TensorBoard recognises an event file by.
const PREFIX: &str = "events.out.tfevents.";

/// States of a session log: whatever was read of this step or later is void; a checkpoint was made.
const BEGUN: u64 = 1;
const SAVED: u64 = 3;

/// An event file that is being written, in whole records only.
pub(crate) struct Events {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
    flushed: Instant,
    /// Step of the last numbers that were found, 0 without any.
    last: u64,
    /// Records of numbers, histograms and pictures in all files of the folder.
    count: u64,
    remarks: Vec<String>,
}

impl Events {
    /// Begins a new file in `folder` for a run that goes on as `course` says. Events of later steps, which the run
    /// will do again, numbers that were written because it was interrupted, and a record that a crash cut are taken off the
    /// files that are there; a TensorBoard that has read them already is told to forget them.
    pub fn open(folder: &Path, course: Course) -> Result<Self> {
        let io = |e| Error::io(folder, e);
        std::fs::create_dir_all(folder).map_err(io)?;
        let all: std::io::Result<Vec<_>> = std::fs::read_dir(folder).map_err(io)?.collect();
        let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut all: Vec<PathBuf> = all.map_err(io)?.into_iter().map(|e| e.path()).collect();
        all.retain(|path| name_of(path).starts_with(PREFIX));
        all.sort();
        let (mut newest, mut next) = (0, all.len());
        let (mut last, mut earlier, mut place) = (0, 0, None);
        let (mut saved, mut beyond) = (None, false);
        let (mut remarks, mut count) = (Vec::new(), 0);
        for (i, path) in all.iter().enumerate() {
            let name = name_of(path);
            let mut parts = name[PREFIX.len()..].split('.');
            newest = parts.next().and_then(|s| s.parse().ok()).unwrap_or(0).max(newest);
            // One in the middle may have been taken out.
            next =
                parts.next().and_then(|s| s.parse().ok()).map_or(0, |n: usize| n.saturating_add(1)).max(next);
            let cut = cut(path, course.step)?;
            for (step, from, to) in cut.numbers {
                if step != last {
                    (earlier, last) = (last, step);
                }
                place = (to == cut.length).then_some((path, from));
            }
            saved = cut.saved.or(saved);
            count += cut.values;
            beyond |= cut.beyond;
            // The end of the newest file is where a program was killed; the others were ended in good order, or cut then.
            if cut.unsound > 0 && (cut.damaged || i + 1 < all.len()) {
                let lost = cut.unsound;
                remarks.push(format!("tensorboard/{name}: is damaged, its last {lost} bytes are taken off"));
            }
        }
        if let Some((path, from)) = place.filter(|_| course.cut_by_interruption(last, earlier)) {
            shorten(path, from)?;
            (last, earlier) = (earlier, 0);
            count -= 1;
        }
        remarks.extend(course.gap("tensorboard", last, earlier));
        if let Some(saved) = saved.filter(|saved| !beyond && *saved < course.step && remarks.is_empty()) {
            let step = course.step;
            remarks.push(format!(
                "tensorboard: ends before the checkpoint of step {step}, the last one that it tells of is of step {saved}"
            ));
        }
        // Files are read in the order of their names: a clock that went back must not turn it around.
        let seconds = (now() as u64).max(newest);
        let path = folder.join(format!("{PREFIX}{seconds:010}.{next:04}.ebm"));
        let file =
            OpenOptions::new().append(true).create_new(true).open(&path).map_err(|e| Error::io(&path, e))?;
        let mut events =
            Events { path, file, waiting: Vec::new(), flushed: Instant::now(), last, count, remarks };
        events.push(Message::default().double(1, now()).bytes(3, b"brain.Event:2"));
        if course.step > 0 || !all.is_empty() {
            events.push(event(course.step + 1).message(7, Message::default().int(1, BEGUN)));
        }
        events.flush()?;
        Ok(events)
    }

    /// Step of the last numbers that were found, 0 without any.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Records of numbers, histograms and pictures in all files of the folder.
    pub fn entries(&self) -> u64 {
        self.count
    }

    /// What is to be said of what was found.
    pub fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Appends one event with these values of a step.
    pub fn write(&mut self, step: u64, values: impl IntoIterator<Item = Message>) -> Result<()> {
        self.count += 1;
        let summary = values.into_iter().fold(Message::default(), |s, v| s.message(1, v));
        self.push(event(step).message(5, summary));
        if self.flushed.elapsed() > FLUSH { self.flush() } else { Ok(()) }
    }

    fn push(&mut self, event: Message) {
        tfrecord::append(&mut self.waiting, &event.0);
    }

    /// Writes that a checkpoint is made of `step`, and waits until everything is on the medium.
    pub fn save(&mut self, step: u64) -> Result<()> {
        self.push(event(step).message(7, Message::default().int(1, SAVED)));
        self.sync()
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        self.file.write_all(&self.waiting).map_err(|e| Error::io(&self.path, e))?;
        self.waiting.clear();
        Ok(())
    }

    /// Waits until everything is on the medium.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_data().map_err(|e| Error::io(&self.path, e))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn event(step: u64) -> Message {
    Message::default().double(1, now()).int(2, step)
}

/// The step of an event, 0 if it has none.
pub(crate) fn step_of(mut event: &[u8]) -> u64 {
    while let Some((number, value)) = field(&mut event) {
        if let (2, Value::Int(step)) = (number, value) {
            return step;
        }
    }
    0
}

/// Whether an event says that a checkpoint was made.
fn is_saved(mut event: &[u8]) -> bool {
    std::iter::from_fn(|| field(&mut event)).any(|(number, value)| {
        let Value::Bytes(mut log) = value else { return false };
        number == 7 && field(&mut log) == Some((1, Value::Int(SAVED)))
    })
}

/// Whether an event holds numbers, histograms or pictures.
fn has_values(mut event: &[u8]) -> bool {
    std::iter::from_fn(|| field(&mut event)).any(|(number, _)| number == 5)
}

/// Whether an event holds numbers under names, and no histogram or picture.
fn has_numbers(mut event: &[u8]) -> bool {
    while let Some((number, value)) = field(&mut event) {
        let (5, Value::Bytes(mut summary)) = (number, value) else { continue };
        let Some((1, Value::Bytes(mut first))) = field(&mut summary) else { return false };
        // The name, then the number.
        return field(&mut first).is_some() && matches!(field(&mut first), Some((2, _)));
    }
    false
}

/// What is left of a file.
struct Cut {
    /// Its length.
    length: u64,
    /// Step, beginning and end of each record with numbers.
    numbers: Vec<(u64, u64, u64)>,
    /// Records of numbers, histograms and pictures.
    values: u64,
    /// Bytes that were no sound records.
    unsound: u64,
    /// Whether they begin with a record that no crash left so.
    damaged: bool,
    /// Whether events of later steps were taken off.
    beyond: bool,
    /// Step of the last checkpoint that it tells of.
    saved: Option<u64>,
}

/// Shortens a file to its sound records of steps up to `step`.
fn cut(path: &Path, step: u64) -> Result<Cut> {
    let io = |e| Error::io(path, e);
    let file = ebm_core::regular::open(path).map_err(io)?;
    let mut from = BufReader::new(&file);
    let mut cut = Cut {
        length: 0,
        numbers: Vec::new(),
        values: 0,
        unsound: 0,
        damaged: false,
        beyond: false,
        saved: None,
    };
    loop {
        let record = match tfrecord::next(&mut from).map_err(io)? {
            Next::Record(record) => record,
            Next::End => break,
            Next::Damaged => {
                cut.damaged = true;
                break;
            }
        };
        cut.beyond = step_of(&record) > step;
        if cut.beyond {
            break;
        }
        // Eight bytes of length, two checksums of four.
        let end = cut.length + record.len() as u64 + 16;
        if has_numbers(&record) {
            cut.numbers.push((step_of(&record), cut.length, end));
        }
        cut.values += u64::from(has_values(&record));
        if is_saved(&record) {
            cut.saved = Some(step_of(&record));
        }
        cut.length = end;
    }
    let rest = file.metadata().map_err(io)?.len() - cut.length;
    cut.unsound = if cut.beyond { 0 } else { rest };
    if rest > 0 {
        shorten(path, cut.length)?;
    }
    Ok(cut)
}

fn shorten(path: &Path, length: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).map_err(|e| Error::io(path, e))?;
    file.set_len(length).map_err(|e| Error::io(path, e))
}

/// A number under a name.
pub(crate) fn scalar(tag: &str, v: f64) -> Message {
    Message::default().bytes(1, tag.as_bytes()).float(2, v as f32)
}

/// A histogram under a name.
pub(crate) fn histogram(tag: &str, bins: &Bins) -> Message {
    let all = Message::default()
        .double(1, bins.low)
        .double(2, bins.high)
        .double(3, bins.count() as f64)
        .double(4, bins.sum)
        .double(5, bins.squares)
        .doubles(6, (0..bins.counts.len()).map(|i| bins.edges(i).1))
        .doubles(7, bins.counts.iter().map(|n| *n as f64));
    Message::default().bytes(1, tag.as_bytes()).message(5, all)
}

/// A png file under a name.
pub(crate) fn image(tag: &str, png: &[u8]) -> Message {
    // Signature, length and name of the first chunk take 16 bytes; then width and height, colours at 25.
    let size =
        |at: usize| png.get(at..at + 4).map_or(0, |b| b.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)));
    let channels = if png.get(25) == Some(&0) { 1 } else { 3 };
    let picture = Message::default().int(1, size(20)).int(2, size(16)).int(3, channels).bytes(4, png);
    Message::default().bytes(1, tag.as_bytes()).message(4, picture)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// All sound events of a folder, file by file in the order of their names.
    pub fn read(folder: &Path) -> Vec<Vec<u8>> {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        let mut all = Vec::new();
        for path in files {
            let mut file = File::open(path).unwrap();
            while let Next::Record(record) = tfrecord::next(&mut file).unwrap() {
                all.push(record);
            }
        }
        all
    }

    /// The values of an event: tag and the rest of the value's fields.
    pub fn values(mut event: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((number, value)) = field(&mut event) {
            let (5, Value::Bytes(mut summary)) = (number, value) else { continue };
            while let Some((1, Value::Bytes(mut value))) = field(&mut summary) {
                let Some((1, Value::Bytes(tag))) = field(&mut value) else { panic!("no tag") };
                let (number, content) = field(&mut value).unwrap();
                let (Value::Bytes(content) | Value::Fixed(content)) = content else { panic!("a number") };
                all.push((String::from_utf8(tag.to_vec()).unwrap(), number, content.to_vec()));
            }
        }
        all
    }

    fn steps(folder: &Path) -> Vec<u64> {
        read(folder).iter().filter(|e| !values(e).is_empty()).map(|e| step_of(e)).collect()
    }

    fn write(folder: &Path, after: u64, to: u64) {
        let mut events = Events::open(folder, Course { step: after, of: 100, every: 1 }).unwrap();
        (after + 1..=to).for_each(|s| events.write(s, [scalar("a", s as f64)]).unwrap());
        events.flush().unwrap();
    }

    #[test]
    fn a_crash_or_a_resume_leaves_every_step_once() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 0, 6);
        let first = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&first).unwrap();
        // Killed at any byte of the file, resumed after step 3 or after all that is there.
        for length in [1, 30, whole.len() - 1, whole.len()] {
            for resumed in [3, 6] {
                std::fs::write(&first, &whole[..length]).unwrap();
                write(folder.path(), resumed, 8);
                let steps = steps(folder.path());
                assert!(
                    steps.windows(2).all(|w| w[1] == w[0] + 1 || w[1] == resumed + 1),
                    "{length} {steps:?}"
                );
                assert_eq!(steps.iter().filter(|s| **s == 8).count(), 1);
                std::fs::read_dir(folder.path()).unwrap().for_each(|e| {
                    let path = e.unwrap().path();
                    if path != first {
                        std::fs::remove_file(path).unwrap();
                    }
                });
            }
        }
        write(folder.path(), 4, 7);
        write(folder.path(), 5, 6);
        assert_eq!(steps(folder.path()), [1, 2, 3, 4, 5, 6]);
        let again = Events::open(folder.path(), Course { step: 6, of: 100, every: 1 }).unwrap();
        assert_eq!(again.entries(), 6);
        std::fs::remove_file(again.path).unwrap();
        // What a TensorBoard that is running must forget: SessionLog START at the first step to come.
        let starts: Vec<u64> = read(folder.path())
            .iter()
            .filter(|e| {
                let mut rest = &e[..];
                std::iter::from_fn(|| field(&mut rest)).any(|f| f == (7, Value::Bytes(&[8, 1])))
            })
            .map(|e| step_of(e))
            .collect();
        assert_eq!(starts, [5, 6]);
    }

    #[test]
    fn a_changed_bit_is_told_and_a_cut_by_a_crash_is_not() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 0, 6);
        let first = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&first).unwrap();
        let remarks = |bytes: &[u8]| {
            std::fs::read_dir(folder.path())
                .unwrap()
                .for_each(|e| std::fs::remove_file(e.unwrap().path()).unwrap());
            std::fs::write(&first, bytes).unwrap();
            Events::open(folder.path(), Course { step: 6, of: 100, every: 2 }).unwrap().remarks()
        };
        assert_eq!(remarks(&whole), [""; 0]);
        assert_eq!(remarks(&whole[..whole.len() - 1]), [""; 0]);
        // A file that says of its checkpoints is missed what came before the last of them.
        let (mut earlier, mut later) = (Vec::new(), Vec::new());
        let saved = |step: u64| event(step).message(7, Message::default().int(1, SAVED)).0;
        tfrecord::append(&mut earlier, &saved(4));
        tfrecord::append(&mut later, &saved(6));
        assert_eq!(remarks(&[&whole[..], &earlier, &later].concat()), [""; 0]);
        assert_eq!(remarks(&[&whole[..], &earlier, &later[..9]].concat()).len(), 1);
        for at in [3, 9, whole.len() - 20, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            let found = remarks(&changed);
            assert!(found.iter().any(|r| r.contains("is damaged")), "{at}: {found:?}");
        }
    }

    #[test]
    fn files_keep_their_order_when_the_clock_does_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("{PREFIX}9999999999.0000.ebm")), "").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "kept").unwrap();
        drop(Events::open(folder.path(), Course { step: 0, of: 1, every: 1 }).unwrap());
        assert!(folder.path().join(format!("{PREFIX}9999999999.0001.ebm")).is_file());
        assert_eq!(std::fs::read(folder.path().join("notes.txt")).unwrap(), b"kept");
    }
}
