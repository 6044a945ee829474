//! Bytes of a file or of embedded data, plain or gzipped, without trusting any claimed size.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::Origin;
use crate::{DataError, Result};

/// The best ratio deflate can reach; a header that claims more than this is a lie.
const DEFLATE_RATIO: u64 = 1032;

/// A stream of unpacked bytes that knows how many there can be at most.
pub(crate) struct Unpacked<'a> {
    inner: Box<dyn Read + 'a>,
    origin: Origin<'a>,
    /// Unpacked bytes handed out so far.
    offset: u64,
    /// Upper bound of the unpacked length; exact if `exact`.
    bound: u64,
    exact: bool,
}

impl<'a> Unpacked<'a> {
    /// Opens a file; gzip is recognised by its first two bytes, not by its name.
    pub fn open(path: &'a Path) -> Result<Self> {
        let mut file = File::open(path).map_err(DataError::io(path, "open"))?;
        let meta = file.metadata().map_err(DataError::io(path, "read the size"))?;
        if !meta.is_file() {
            return Err(Origin(path).format(0, "the path", "no regular file", "a file"));
        }
        let mut magic = Vec::with_capacity(2);
        file.by_ref().take(2).read_to_end(&mut magic).map_err(DataError::io(path, "read"))?;
        let gz = magic == GZIP;
        let whole = BufReader::new(std::io::Cursor::new(magic).chain(file));
        Ok(Self::new(whole, gz, meta.len(), Origin(path)))
    }

    /// Bytes in memory; `name` stands in error messages.
    pub fn from_bytes(bytes: &'a [u8], name: &'a Path) -> Self {
        Self::new(bytes, bytes.starts_with(&GZIP), bytes.len() as u64, Origin(name))
    }

    fn new(whole: impl Read + 'a, gz: bool, len: u64, origin: Origin<'a>) -> Self {
        let inner: Box<dyn Read + 'a> =
            if gz { Box::new(BufReader::new(MultiGzDecoder::new(whole))) } else { Box::new(whole) };
        let bound = if gz { len.saturating_mul(DEFLATE_RATIO) } else { len };
        Self { inner, origin, offset: 0, bound, exact: !gz }
    }

    pub fn origin(&self) -> Origin<'a> {
        self.origin
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `N` bytes of a header.
    pub fn header<const N: usize>(&mut self, item: &str) -> Result<[u8; N]> {
        let bytes = self.take(N as u64)?;
        let found = bytes.len();
        bytes.try_into().map_err(|_| {
            self.origin.format(self.offset, item, format!("{found} bytes"), format!("{N} bytes"))
        })
    }

    /// Exactly `len` more bytes, after which the data must end.
    ///
    /// The length is compared with what the file can hold before memory is taken, and memory grows only
    /// with the bytes that do arrive.
    pub fn rest(&mut self, len: u64, item: &str) -> Result<Vec<u8>> {
        let start = self.offset;
        let left = self.bound.saturating_sub(start);
        let wanted = format!("{len} bytes");
        if len > left || (self.exact && len < left) {
            let at_most = if self.exact { "" } else { "at most " };
            return Err(self.origin.format(start, item, format!("{at_most}{left} bytes"), wanted));
        }
        let bytes = self.take(len)?;
        if (bytes.len() as u64) < len {
            return Err(self.origin.format(start, item, format!("{} bytes", bytes.len()), wanted));
        }
        if !self.take(1)?.is_empty() {
            return Err(self.origin.format(
                start + len,
                "the end of the data",
                "more bytes",
                format!("nothing after {wanted} of {item}"),
            ));
        }
        Ok(bytes)
    }

    /// All remaining bytes, at most `limit` of them.
    pub fn at_most(&mut self, limit: u64, item: &str) -> Result<Vec<u8>> {
        let start = self.offset;
        let bytes = self.take(limit.saturating_add(1))?;
        if bytes.len() as u64 > limit {
            return Err(self.origin.format(start, item, "longer", format!("at most {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Up to `len` bytes; fewer only at the end.
    fn take(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let start = self.offset;
        let end = self.inner.by_ref().take(len).read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        match end {
            Ok(_) => Ok(bytes),
            // What a damaged gzip stream looks like: the file was readable, its content was not.
            Err(e) if !self.exact => Err(self.origin.format(
                start + bytes.len() as u64,
                "the gzip stream",
                e.to_string(),
                "sound gzip data; fetch the file again",
            )),
            Err(e) => Err(DataError::io(self.origin.0, "read")(e)),
        }
    }
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
