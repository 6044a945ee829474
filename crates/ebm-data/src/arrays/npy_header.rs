//! The header of an `.npy` file: a Python dictionary with the type, the order and the shape.
//!
//! Source: NumPy enhancement proposal 1 and `numpy.lib.format`, versions 1.0, 2.0 and 3.0.

use crate::Result;
use crate::error::Origin;
use crate::unpack::Unpacked;

/// The longest header taken: real ones have about 100 bytes, and the length field claims up to 4 GB.
const LONGEST: u32 = 1 << 16;

/// One number as it is stored: kind (`b`, `u`, `i`, `f`; of texts `U`, `S`), bytes, byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub kind: u8,
    pub size: u64,
    pub big_endian: bool,
}

impl Stored {
    /// The type of a name such as `u1`, `None` for what is no plain number.
    pub fn of_name(name: &str, big_endian: bool) -> Option<Self> {
        let (kind, size) = match name {
            "b1" | "bool" => (b'b', 1),
            "u1" | "uint8" => (b'u', 1),
            "u2" => (b'u', 2),
            "u4" => (b'u', 4),
            "u8" => (b'u', 8),
            "i1" => (b'i', 1),
            "i2" => (b'i', 2),
            "i4" => (b'i', 4),
            "i8" => (b'i', 8),
            "f2" => (b'f', 2),
            "f4" => (b'f', 4),
            "f8" => (b'f', 8),
            _ => return None,
        };
        Some(Stored { kind, size, big_endian })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub stored: Stored,
    /// Sizes, slowest first in C order, whatever the order of the bytes.
    pub dims: Vec<u64>,
    /// Whether the first size is the one that changes fastest in the file.
    pub fortran: bool,
}

impl Header {
    /// Length of all values, unless it is beyond any file.
    pub fn bytes(&self) -> Option<u64> {
        self.dims.iter().try_fold(self.stored.size, |n, &d| n.checked_mul(d))
    }
}

/// Reads magic number, version and dictionary of an array of numbers; `from` then stands at the first value.
pub(crate) fn read(from: &mut Unpacked<'_>) -> Result<Header> {
    let header = read_any(from)?;
    if !matches!(header.stored.kind, b'U' | b'S') {
        return Ok(header);
    }
    let found = format!("an array of texts of {} bytes", header.stored.size);
    let reason = "b1, u1 to u8, i1 to i8, f2, f4 and f8 are read; texts only as classes";
    Err(from.origin().unsupported(from.offset(), found, reason))
}

/// The same of an array of numbers or of texts.
pub(crate) fn read_any(from: &mut Unpacked<'_>) -> Result<Header> {
    let origin = from.origin();
    let magic: [u8; 6] = from.header("the npy magic number")?;
    if &magic != b"\x93NUMPY" {
        return Err(crate::foreign::refused(origin, &magic, "an npy file", "93 then NUMPY"));
    }
    let [major, minor]: [u8; 2] = from.header("the npy version")?;
    let len = match (major, minor) {
        (1, 0) => u32::from(u16::from_le_bytes(from.header("the header length")?)),
        (2 | 3, 0) => u32::from_le_bytes(from.header("the header length")?),
        _ => return Err(origin.format(6, "the npy version", format!("{major}.{minor}"), "1.0, 2.0 or 3.0")),
    };
    let at = from.offset();
    if len > LONGEST {
        return Err(origin.format(8, "the header length", len.to_string(), format!("at most {LONGEST}")));
    }
    let text = from.exactly(u64::from(len), "the npy header")?;
    let Ok(text) = std::str::from_utf8(&text) else {
        return Err(origin.format(at, "the npy header", "not UTF-8", "a Python dictionary"));
    };
    parse(text, origin, at)
}

fn parse(text: &str, origin: Origin<'_>, at: u64) -> Result<Header> {
    let mut scan = Scan { text, pos: 0, origin, at };
    let (mut descr, mut fortran, mut dims) = (None, None, None);
    scan.symbol('{')?;
    while !scan.accept('}') {
        let key_at = scan.here();
        let key = scan.string()?;
        scan.symbol(':')?;
        match key {
            "descr" => descr = Some(scan.descr()?),
            "fortran_order" => fortran = Some(scan.boolean()?),
            "shape" => dims = Some(scan.shape()?),
            _ => {
                return Err(origin.format(
                    key_at,
                    "a key of the npy header",
                    format!("`{key}`"),
                    "descr, fortran_order or shape",
                ));
            }
        }
        if !scan.accept(',') {
            scan.symbol('}')?;
            break;
        }
    }
    if !scan.rest().trim().is_empty() {
        return Err(scan.wrong("the end of the header"));
    }
    let (Some(stored), Some(fortran), Some(dims)) = (descr, fortran, dims) else {
        return Err(origin.format(
            at,
            "the npy header",
            format!("`{}`", text.trim_end()),
            "the keys descr, fortran_order and shape",
        ));
    };
    // With at most one size above 1 both orders are the same bytes.
    let fortran = fortran && dims.iter().filter(|&&d| d != 1).count() > 1;
    Ok(Header { stored, dims, fortran })
}

/// A cursor over the dictionary's text, which knows where in the file it stands.
struct Scan<'a> {
    text: &'a str,
    pos: usize,
    origin: Origin<'a>,
    at: u64,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }

    fn skip_space(&mut self) {
        self.pos = self.text.len() - self.rest().trim_start().len();
    }

    fn here(&mut self) -> u64 {
        self.skip_space();
        self.at + self.pos as u64
    }

    fn wrong(&mut self, expected: &str) -> crate::DataError {
        let offset = self.here();
        let found: String = self.rest().chars().take(20).collect();
        let found = if found.is_empty() { "the end of the header".to_owned() } else { format!("{found:?}") };
        self.origin.format(offset, "the npy header", found, expected)
    }

    fn accept(&mut self, symbol: char) -> bool {
        self.skip_space();
        let hit = self.rest().starts_with(symbol);
        if hit {
            self.pos += symbol.len_utf8();
        }
        hit
    }

    fn symbol(&mut self, symbol: char) -> Result<()> {
        if self.accept(symbol) { Ok(()) } else { Err(self.wrong(&format!("`{symbol}`"))) }
    }

    fn string(&mut self) -> Result<&'a str> {
        self.skip_space();
        for quote in ['\'', '"'] {
            if let Some(body) = self.rest().strip_prefix(quote)
                && let Some(end) = body.find(quote)
            {
                self.pos += end + 2;
                return Ok(&body[..end]);
            }
        }
        Err(self.wrong("a string in quotes"))
    }

    fn boolean(&mut self) -> Result<bool> {
        self.skip_space();
        for (word, value) in [("True", true), ("False", false)] {
            if self.rest().starts_with(word) {
                self.pos += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong("True or False"))
    }

    fn shape(&mut self) -> Result<Vec<u64>> {
        let mut dims = Vec::new();
        self.symbol('(')?;
        while !self.accept(')') {
            self.skip_space();
            let digits =
                self.rest().len() - self.rest().trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let Ok(dim) = self.rest()[..digits].parse() else {
                return Err(self.wrong("a size below 2^64"));
            };
            self.pos += digits;
            dims.push(dim);
            if !self.accept(',') {
                self.symbol(')')?;
                break;
            }
        }
        Ok(dims)
    }

    fn descr(&mut self) -> Result<Stored> {
        let offset = self.here();
        if self.rest().starts_with('[') {
            return Err(self.origin.unsupported(
                offset,
                "a structured type",
                "one plain number a value is read; save the fields as arrays of their own",
            ));
        }
        let text = self.string()?;
        let refuse = |reason: &str| Err(self.origin.unsupported(offset, format!("type '{text}'"), reason));
        let (order, kind) = match text.as_bytes() {
            [order @ (b'<' | b'>' | b'|' | b'='), rest @ ..] => (*order, rest),
            rest => (b'=', rest),
        };
        let name = std::str::from_utf8(kind).unwrap_or_default();
        let texts = match kind {
            [kind @ (b'U' | b'S'), length @ ..] => {
                let length = std::str::from_utf8(length).ok().and_then(|n| n.parse::<u64>().ok());
                let width = if *kind == b'U' { 4 } else { 1 };
                let size = length.and_then(|n| n.checked_mul(width)).filter(|n| *n > 0);
                size.map(|size| Stored { kind: *kind, size, big_endian: order == b'>' })
            }
            _ => None,
        };
        match Stored::of_name(name, order == b'>').or(texts) {
            Some(stored) => Ok(stored),
            None if name.starts_with('O') => {
                refuse("Python objects are pickled code, which is never run; save plain numbers")
            }
            None => refuse("b1, u1 to u8, i1 to i8, f2, f4 and f8 are read; convert with .astype"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    fn header(text: &str) -> Result<Header> {
        parse(text, Origin(Path::new("f")), 10)
    }

    #[test]
    fn every_spelling_that_numpy_writes_is_read() {
        let h = header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n").unwrap();
        assert_eq!(h.dims, [3, 4]);
        assert_eq!(h.stored, Stored { kind: b'f', size: 4, big_endian: false });
        assert_eq!(
            header("{\"shape\":(5,),\"descr\":\">i8\",\"fortran_order\":False}").unwrap().stored,
            Stored { kind: b'i', size: 8, big_endian: true }
        );
        assert_eq!(
            header("{'descr': '|u1', 'fortran_order': False, 'shape': ()}").unwrap().dims,
            Vec::<u64>::new()
        );
        // numpy marks (N, 1) as fortran order too at times; the bytes are the same.
        assert!(!header("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 1)}").unwrap().fortran);
        assert!(header("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2)}").unwrap().fortran);
    }

    #[test]
    fn each_refusal_says_what_stood_there_and_why() {
        let text = |t: &str| header(t).unwrap_err().to_string();
        assert!(
            text("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}").contains("'|O' is not supported")
        );
        assert!(text("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}").contains(".astype"));
        assert!(text("{'descr': [('x', '<f4')]}").contains("structured"));
        assert!(text("{'descr': '<f4', 'shape': (1,)}").contains("expected the keys"));
        assert!(text("{'descr': '<f4', 'shape': (-1,)}").contains("\"-1,)}\", expected a size"));
        assert!(text("{'descr': '<f4', 'shape': (99999999999999999999999,)}").contains("below 2^64"));
        assert!(text("{'descr': '<f4").contains("a string in quotes"));
        assert!(text("{'colour': 1}").contains("`colour`"));
        assert!(text("").contains("the end of the header, expected `{`"));
        assert!(text("{'fortran_order': Maybe}").contains("True or False"));
        assert!(text("{} x").contains("expected the end of the header"));
    }
}
