//! Writing results to standard output and words to standard error, either of which may be closed.

use std::io::{self, BufWriter, Stdout, Write as _};

use ebm::core::class_list;
use serde::Serialize;

use crate::outcome::{End, Failure, Outcome};

/// Standard output.
pub(crate) struct Output {
    out: BufWriter<Stdout>,
    /// Whether a command goes on after its reader has gone, as it has more to do than to print; and whether that happened.
    goes_on: bool,
    gone: bool,
}

impl Output {
    pub fn new() -> Self {
        Output { out: BufWriter::new(io::stdout()), goes_on: false, gone: false }
    }

    /// From here on a reader that goes away does not end the command: what it would have read is dropped.
    pub fn go_on_without_reader(&mut self) {
        self.goes_on = true;
    }

    /// The outcome of a write.
    fn done(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Err(e) if self.goes_on && e.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            other => other.map_err(failed),
        }
    }

    /// Writes a line.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        let text = text.as_ref();
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        if self.gone {
            return Ok(());
        }
        let written = write!(self.out, "{text}{newline}");
        self.done(written)
    }

    /// Writes a value as JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(ebm::whole_file::json(value)?)?;
        self.flush()
    }

    /// Writes what a command found: as JSON if asked to, else as the lines of its table.
    pub fn found(&mut self, json: bool, value: &impl Serialize, table: impl FnOnce() -> String) -> Outcome {
        if json {
            self.json(value)?;
        } else {
            self.line(table())?;
            self.flush()?;
        }
        Ok(End::Done)
    }

    /// Hands everything to the reader.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if self.gone {
            return Ok(());
        }
        let written = self.out.flush();
        self.done(written)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // What could not be written was reported by `flush`, or nobody listens.
        let _ = self.out.flush();
    }
}

fn failed(e: io::Error) -> Failure {
    match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => ebm::Error::Io { path: "standard output".into(), source: e }.into(),
    }
}

/// A line on standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A condition of this length in words, with the names of the classes if they have any; `None` for none.
pub(crate) fn classes(condition: usize, names: &[String]) -> Option<String> {
    match (condition, names.is_empty()) {
        (0, _) => None,
        (n, true) => Some(format!("of length {n}")),
        (n, false) => Some(format!("{n} classes: {}", class_list(names))),
    }
}

/// A field of a CSV line (RFC 4180).
pub(crate) fn field(text: &str) -> String {
    // Looked at by byte: no part of a longer character is one of these.
    if text.bytes().any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r')) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}
