//! Samples of an IDX file a few at a time, for files that do not fit in memory.

use std::path::Path;

use crate::Result;
use crate::idx::{Header, IdxValues, decode};
use crate::unpack::Unpacked;

/// Reads the samples of an IDX file `(N, ...)` in order, plain or gzipped; memory is that of the samples asked for.
///
/// ```
/// use ebm_data::idx::{IdxRows, IdxValues};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("three-idx3-ubyte");
/// std::fs::write(&path, [0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6])?;
/// let mut rows = IdxRows::open(&path)?;
/// assert_eq!((rows.left(), rows.sample_dims()), (3, &[1, 2][..]));
/// assert_eq!(rows.next(2)?, IdxValues::U8(vec![1, 2, 3, 4]));
/// assert_eq!(rows.next(2)?, IdxValues::U8(vec![5, 6]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IdxRows<'a> {
    from: Unpacked<'a>,
    header: Header,
    left: u64,
}

impl<'a> IdxRows<'a> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// As [`Idx::read`](crate::idx::Idx::read), but what follows the header is looked at only by [`next`](Self::next).
    pub fn open(path: &'a Path) -> Result<Self> {
        let mut from = Unpacked::open(path)?;
        let header = Header::read(&mut from)?;
        let left = header.dims.first().copied().unwrap_or(0) as u64;
        Ok(IdxRows { from, header, left })
    }

    /// Shape of one sample.
    pub fn sample_dims(&self) -> &[usize] {
        self.header.dims.get(1..).unwrap_or(&[])
    }

    /// Samples that were not read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next `n` samples, fewer at the end of the file, none after it.
    ///
    /// # Errors
    /// If the file is truncated, or goes on after its last sample.
    // Not an iterator: how many samples come at a time is the caller's to say each time.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self, n: usize) -> Result<IdxValues> {
        let n = self.left.min(n as u64);
        // The product of all sizes was checked; this is a part of it.
        let size = self.sample_dims().iter().map(|d| *d as u64).product::<u64>() * self.header.size();
        let raw = self.from.exactly(n * size, "the samples")?;
        self.left -= n;
        if self.left == 0 && n > 0 {
            self.from.rest(0, "the samples")?;
        }
        Ok(decode(raw, self.header.code))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(bytes: &[u8], n: usize) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, bytes).unwrap();
        let mut rows = IdxRows::open(&path)?;
        let mut all = Vec::new();
        while rows.left() > 0 {
            let IdxValues::U8(bytes) = rows.next(n)? else { panic!("another type") };
            all.extend(bytes);
        }
        Ok(all)
    }

    #[test]
    fn pieces_of_any_size_are_the_file_and_damage_is_found_at_its_end() {
        let values: Vec<u8> = (0..30).collect();
        let file = [&[0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 3][..], &values].concat();
        for n in [1, 2, 5, 9] {
            assert_eq!(read(&file, n).unwrap(), values);
        }
        let text = read(&file[..file.len() - 1], 2).unwrap_err().to_string();
        assert!(text.contains("the samples is 5 bytes, expected 6 bytes"), "{text}");
        assert!(read(&[&file[..], &[0]].concat(), 2).is_err());
    }
}
