//! Samples of an `.npy` file a few at a time, for files that do not fit in memory.

use std::path::Path;

use crate::Result;
use crate::npy::{NpyValues, c_order, decode};
use crate::npy_header::{self, Header};
use crate::unpack::Unpacked;

/// Reads the samples of an `.npy` file `(N, ...)` in order; memory is that of the samples asked for.
///
/// ```
/// use ebm_data::npy::{NpyRows, write};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("three.npy");
/// write(&path, &[1.0, 2.0, 3.0], &[3, 1])?;
/// let mut rows = NpyRows::open(&path)?;
/// assert_eq!((rows.left(), rows.sample_dims()), (3, &[1][..]));
/// assert_eq!(rows.next(2)?.into_f32(), [1.0, 2.0]);
/// assert_eq!(rows.next(2)?.into_f32(), [3.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NpyRows<'a> {
    from: Unpacked<'a>,
    header: Header,
    sample: Vec<usize>,
    left: u64,
}

impl<'a> NpyRows<'a> {
    /// Opens a file of version 1 to 3, plain or gzipped, and reads its header.
    ///
    /// # Errors
    /// As [`Npy::read`](crate::npy::Npy::read); also for a file of a single number.
    pub fn open(path: &'a Path) -> Result<Self> {
        Self::new(Unpacked::open(path)?)
    }

    pub(crate) fn new(mut from: Unpacked<'a>) -> Result<Self> {
        let header = npy_header::read(&mut from)?;
        let wrong = || {
            let shape = format!("{:?}", header.dims);
            from.origin().format(
                from.offset(),
                "the npy shape",
                shape,
                "(N, ...) of sizes that fit in memory",
            )
        };
        let (left, rest) = header.dims.split_first().ok_or_else(wrong)?;
        let sample: Vec<usize> =
            rest.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let bytes = header.bytes().ok_or_else(wrong)?;
        let left = *left;
        // Samples of an array in Fortran order do not lie together: it is read as a whole and turned.
        if header.fortran {
            let dims: Vec<usize> = std::iter::once(usize::try_from(left).map_err(|_| wrong())?)
                .chain(sample.iter().copied())
                .collect();
            let raw = from.rest(bytes, "the samples")?;
            from = Unpacked::owned(c_order(&raw, &dims, header.stored.size as usize), from.origin());
        }
        Ok(NpyRows { left, sample, from, header })
    }

    /// Shape of one sample.
    pub fn sample_dims(&self) -> &[usize] {
        &self.sample
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
    pub fn next(&mut self, n: usize) -> Result<NpyValues> {
        let n = self.left.min(n as u64);
        let size = self.header.dims[1..].iter().product::<u64>() * self.header.stored.size;
        let raw = self.from.exactly(n * size, "the samples")?;
        self.left -= n;
        if self.left == 0 && n > 0 {
            self.from.rest(0, "the samples")?;
        }
        Ok(decode(raw, self.header.stored))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::npy::encode;

    fn read(bytes: &[u8], n: usize) -> Result<Vec<f32>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        std::fs::write(&path, bytes).unwrap();
        let mut rows = NpyRows::open(&path)?;
        let mut all = Vec::new();
        while rows.left() > 0 {
            all.extend(rows.next(n)?.into_f32());
        }
        Ok(all)
    }

    #[test]
    fn pieces_of_any_size_are_the_file() {
        let values: Vec<f32> = (0..30).map(|i| i as f32).collect();
        let file = encode(&values, &[5, 2, 3]).unwrap();
        for n in [1, 2, 5, 9] {
            assert_eq!(read(&file, n).unwrap(), values);
        }
    }

    #[test]
    fn a_truncated_or_longer_file_is_an_error() {
        let file = encode(&[0.0; 30], &[5, 6]).unwrap();
        let text = read(&file[..file.len() - 1], 2).unwrap_err().to_string();
        assert!(text.contains("the samples is 23 bytes, expected 24 bytes"), "{text}");
        assert!(read(&[&file[..], &[0]].concat(), 2).is_err());
    }
}
