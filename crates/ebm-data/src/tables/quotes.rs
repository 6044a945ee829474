//! Quotes of a table in text, held to RFC 4180: the reader of lines takes what stands behind a closing quote for a part of the
//! value, and a quote that nothing closes for the rest of the file.

use std::fmt;
use std::io::{self, Read};

/// Bytes of a table on their way to the reader of lines.
pub(super) struct Quotes<R> {
    from: R,
    delimiter: u8,
    at: At,
    /// From 1.
    line: u64,
    /// From 0.
    column: usize,
    /// Line of the quote that was opened last.
    opened: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    /// Before the mark of UTF-8, of which so many bytes were seen.
    Mark(usize),
    /// Before the first byte of a value.
    Begin,
    /// In a value without quotes.
    Plain,
    Quoted,
    /// Behind a quote that closes the value, unless another one follows.
    Closed,
}

/// What is wrong with a quote, and where.
#[derive(Debug)]
pub(super) struct Misquoted {
    /// From 1.
    pub line: u64,
    /// From 0.
    pub column: usize,
    pub found: String,
}

impl fmt::Display for Misquoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column + 1, self.found)
    }
}

impl std::error::Error for Misquoted {}

const MARK: &[u8] = "\u{feff}".as_bytes();

impl<R> Quotes<R> {
    pub fn new(from: R, delimiter: u8) -> Self {
        Quotes { from, delimiter, at: At::Mark(0), line: 1, column: 0, opened: 0 }
    }

    fn wrong(&self, line: u64, found: String) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Misquoted { line, column: self.column, found })
    }

    fn see(&mut self, byte: u8) -> io::Result<()> {
        if let At::Mark(n) = self.at {
            if MARK.get(n) == Some(&byte) {
                self.at = if n + 1 == MARK.len() { At::Begin } else { At::Mark(n + 1) };
                return Ok(());
            }
            self.at = if n == 0 { At::Begin } else { At::Plain };
        }
        let ends = byte == self.delimiter || byte == b'\n' || byte == b'\r';
        self.at = match (self.at, byte) {
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) => At::Quoted,
            (At::Closed, b'"') => At::Quoted,
            (At::Begin, b'"') => {
                self.opened = self.line;
                At::Quoted
            }
            _ if ends => {
                self.column = if byte == self.delimiter { self.column + 1 } else { 0 };
                At::Begin
            }
            (At::Closed, other) => {
                let shown = char::from(other).escape_default();
                return Err(self.wrong(self.line, format!("`{shown}` behind the quote that closes a value")));
            }
            _ => At::Plain,
        };
        self.line += u64::from(byte == b'\n');
        Ok(())
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(to)?;
        if n == 0 && !to.is_empty() && self.at == At::Quoted {
            return Err(self.wrong(self.opened, "a quote that nothing closes".into()));
        }
        to[..n].iter().try_for_each(|byte| self.see(*byte))?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn passed(text: &str) -> Result<String, String> {
        let mut all = String::new();
        Quotes::new(text.as_bytes(), b',').read_to_string(&mut all).map_err(|e| e.to_string())?;
        Ok(all)
    }

    #[test]
    fn quotes_of_the_standard_pass_and_others_are_named_by_line_and_column() {
        for sound in ["\u{feff}\"a\",b\r\n\"1\"\"x\n\",\"\"\n", "a,b\n5\" pipe,x\"y\"\n", "", "\"a\""] {
            assert_eq!(passed(sound).unwrap(), sound);
        }
        let wrong = passed("a,b\n3,\"1\"2\n").unwrap_err();
        assert_eq!(wrong, "line 2, column 2: `2` behind the quote that closes a value");
        let wrong = passed("a,b\n\"3,1\n2,4\n").unwrap_err();
        assert_eq!(wrong, "line 2, column 1: a quote that nothing closes");
        let wrong = passed("a,b\n\"x\ny\" ,1\n").unwrap_err();
        assert_eq!(wrong, "line 3, column 1: ` ` behind the quote that closes a value");
    }
}
