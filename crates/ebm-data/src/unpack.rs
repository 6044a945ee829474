//! Bytes of a file or of embedded data, plain or gzipped, without trusting any claimed size.

use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::Origin;
use crate::{DataError, Result};

/// The best ratio deflate can reach; a header that claims more than this is a lie.
pub(crate) const DEFLATE_RATIO: u64 = 1032;

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
        let mut file = crate::regular::open(path)?;
        let length = file.metadata().map_err(DataError::io(path, "open"))?.len();
        let mut magic = Vec::with_capacity(2);
        file.by_ref().take(2).read_to_end(&mut magic).map_err(DataError::io(path, "read"))?;
        let gz = magic == GZIP;
        let whole = BufReader::new(std::io::Cursor::new(magic).chain(file));
        Ok(Self::gzip_or_plain(whole, gz, length, Origin(path)))
    }

    /// Bytes in memory; `name` stands in error messages.
    pub fn from_bytes(bytes: &'a [u8], name: &'a Path) -> Self {
        Self::gzip_or_plain(bytes, bytes.starts_with(&GZIP), bytes.len() as u64, Origin(name))
    }

    /// Unpacked bytes that are in memory; `origin` stands in error messages.
    pub fn owned(bytes: Vec<u8>, origin: Origin<'a>) -> Self {
        let bound = bytes.len() as u64;
        Self { inner: Box::new(std::io::Cursor::new(bytes)), origin, offset: 0, bound, exact: true }
    }

    /// A part of a file that is in memory.
    pub fn part(bytes: &'a [u8], origin: Origin<'a>) -> Self {
        Self { inner: Box::new(bytes), origin, offset: 0, bound: bytes.len() as u64, exact: true }
    }

    /// The stream of a member of an archive whose packed size is `packed`.
    pub fn member(inner: impl Read + 'a, packed: u64, name: &'a Path) -> Self {
        let bound = packed.saturating_mul(DEFLATE_RATIO);
        Self { inner: Box::new(inner), origin: Origin(name), offset: 0, bound, exact: false }
    }

    fn gzip_or_plain(whole: impl Read + 'a, gz: bool, len: u64, origin: Origin<'a>) -> Self {
        if gz {
            let inner = BufReader::new(MultiGzDecoder::new(whole));
            return Self { origin, ..Self::member(inner, len, origin.0) };
        }
        Self { inner: Box::new(whole), origin, offset: 0, bound: len, exact: true }
    }

    pub fn origin(&self) -> Origin<'a> {
        self.origin
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `N` bytes of a header.
    pub fn header<const N: usize>(&mut self, item: &str) -> Result<[u8; N]> {
        let mut header = [0; N];
        header.copy_from_slice(&self.exactly(N as u64, item)?);
        Ok(header)
    }

    /// The next `len` bytes, of which there may be more.
    pub fn exactly(&mut self, len: u64, item: &str) -> Result<Vec<u8>> {
        let start = self.offset;
        let bytes = self.take(len)?;
        if (bytes.len() as u64) < len {
            let found = format!("{} bytes", bytes.len());
            return Err(self.origin.format(start, item, found, format!("{len} bytes")));
        }
        Ok(bytes)
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
        let bytes = self.exactly(len, item)?;
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
    pub fn until_end(&mut self, limit: u64, item: &str) -> Result<Vec<u8>> {
        let start = self.offset;
        let bytes = self.take(limit.saturating_add(1))?;
        if bytes.len() as u64 > limit {
            return Err(self.origin.format(start, item, "longer", format!("at most {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Most bytes that can still follow.
    pub fn most_left(&self) -> u64 {
        self.bound.saturating_sub(self.offset)
    }

    /// Up to `len` bytes; fewer only at the end.
    pub fn up_to(&mut self, len: u64) -> Result<Vec<u8>> {
        self.take(len)
    }

    fn take(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let start = self.offset;
        let end = self.inner.by_ref().take(len).read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        match end {
            Ok(_) => Ok(bytes),
            // What a damaged packed stream looks like: the file was readable, its content was not.
            Err(e) if !self.exact => Err(self.origin.format(
                start + bytes.len() as u64,
                "the packed stream",
                e.to_string(),
                "sound packed data; fetch the file again",
            )),
            Err(e) => Err(DataError::io(self.origin.0, "read")(e)),
        }
    }
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
