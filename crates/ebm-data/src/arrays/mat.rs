//! MATLAB files of version 5, as SVHN is published: numeric arrays, plain or packed by zlib, either byte order.
//!
//! Source: MathWorks, "MAT-File Format" (2023), chapter 1. Cells, structures, texts and sparse matrices are passed
//! over. Version 7.3 is HDF5 and not read.

use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;

use crate::error::Origin;
use crate::npy::Npy;
use crate::npy_header::{Header, Stored};
use crate::unpack::Unpacked;
use crate::{DataError, Result};

/// Text and version that stand before the first element.
const HEAD: usize = 128;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// More dimensions than any array of data has.
const MOST_DIMS: u64 = 32;

/// The arrays of a file, read when asked for.
pub struct Mat {
    bytes: Vec<u8>,
    big_endian: bool,
    path: PathBuf,
    /// Name, and where its element starts.
    arrays: Vec<(String, usize)>,
}

impl Mat {
    /// Opens a file and lists its numeric arrays.
    ///
    /// # Errors
    /// If the file is missing, no MATLAB file of version 5, or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::regular::read(path)?;
        Self::parse(bytes, path)
    }

    /// The same of bytes in memory; `path` stands in error messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(bytes: Vec<u8>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let expected = "a MATLAB .mat file of version 5 (`save -v6` or `-v7`)";
        let big_endian = match bytes.get(HEAD - 4..HEAD) {
            Some([0, 1, b'I', b'M']) => false,
            Some([1, 0, b'M', b'I']) => true,
            _ => {
                let foreign =
                    crate::foreign::what_is(&bytes, &path).filter(|f| !f.what.contains("MATLAB .mat"));
                let found = foreign.map_or("without the mark of one".to_string(), |f| f.to_string());
                return Err(Origin(&path).format(0, "the head of the .mat file", found, expected));
            }
        };
        let mut mat = Mat { bytes, big_endian, path, arrays: Vec::new() };
        let mut at = HEAD;
        while at < mat.bytes.len() {
            let (kind, start, len) = mat.element(at)?;
            let head = mat.matrix(kind, start, len)?.1;
            mat.arrays.extend(head.map(|(name, _)| (name, at)));
            // Packed elements are not padded to eight bytes, all others are.
            at = start + if kind == COMPRESSED { len } else { len.next_multiple_of(8) };
        }
        Ok(mat)
    }

    /// Names of the numeric arrays, in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        self.arrays.iter().map(|(n, _)| n.as_str()).collect()
    }

    /// The array called `name`, in C order: its first size is MATLAB's first.
    ///
    /// # Errors
    /// If there is none of that name (the message lists those there are), it is complex, or damaged.
    pub fn array(&self, name: &str) -> Result<Npy> {
        let Some((_, at)) = self.arrays.iter().find(|(n, _)| n == name) else {
            return Err(DataError::mismatch(
                format!("array in {}", self.path.display()),
                format!("no `{name}`"),
                format!("one of {}", self.names().join(", ")),
            ));
        };
        let (kind, start, len) = self.element(*at)?;
        let (mut from, head) = self.matrix(kind, start, len)?;
        let Some((_, dims)) = head else {
            return Err(from.origin().format(*at as u64, "the array", "of another kind", "numbers"));
        };
        let (stored, bytes) = self.numbers(&mut from)?;
        let fortran = dims.iter().filter(|d| **d != 1).count() > 1;
        let header = Header { stored, dims, fortran };
        if header.bytes() != Some(bytes.len() as u64) {
            let found = format!("{} bytes of {}", bytes.len(), stored.size);
            let expected = format!("those of shape {:?}", header.dims);
            return Err(from.origin().format(from.offset(), format!("the array {name}"), found, expected));
        }
        Npy::from_raw(bytes, &header, from.origin())
    }

    fn word(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// Kind, start and length of the element at `at`, which lies inside of the file.
    fn element(&self, at: usize) -> Result<(u32, usize, usize)> {
        let origin = Origin(&self.path);
        let mut from = Unpacked::part(&self.bytes[at.min(self.bytes.len())..], origin);
        let kind = self.word(from.header("the kind of an element")?);
        let len = self.word(from.header("the length of an element")?) as usize;
        let start = at + 8;
        if len > self.bytes.len() - start {
            let found = format!("{len} bytes");
            let expected = format!("at most the {} that follow", self.bytes.len() - start);
            return Err(origin.format(at as u64 + 4, "the length of an element", found, expected));
        }
        Ok((kind, start, len))
    }

    /// A reader that stands before the numbers of a matrix, and its name and sizes, if it is one of numbers.
    #[allow(clippy::type_complexity)]
    fn matrix(
        &self,
        kind: u32,
        start: usize,
        len: usize,
    ) -> Result<(Unpacked<'_>, Option<(String, Vec<u64>)>)> {
        let inside = &self.bytes[start..start + len];
        let mut from = match kind {
            MATRIX => Unpacked::part(inside, Origin(&self.path)),
            COMPRESSED => {
                let mut from = Unpacked::member(ZlibDecoder::new(inside), len as u64, &self.path);
                let inner = self.word(from.header("the kind of a packed element")?);
                from.header::<4>("the length of a packed element")?;
                if inner != MATRIX {
                    return Ok((from, None));
                }
                from
            }
            _ => return Ok((Unpacked::part(inside, Origin(&self.path)), None)),
        };
        let flags = self.sub(&mut from, 16, "the flags of an array")?.1;
        let Some(flags) = flags.first_chunk::<4>().map(|f| self.word(*f)) else { return Ok((from, None)) };
        // Numeric classes are 6 to 15; bit 11 marks complex numbers.
        if !(6..=15).contains(&(flags & 0xff)) || flags & 0x800 != 0 {
            return Ok((from, None));
        }
        let dims = self.sub(&mut from, 4 * MOST_DIMS, "the sizes of an array")?.1;
        let dims = dims.chunks_exact(4).map(|d| u64::from(self.word([d[0], d[1], d[2], d[3]]))).collect();
        let name = self.sub(&mut from, 256, "the name of an array")?.1;
        Ok((from, Some((String::from_utf8_lossy(&name).into_owned(), dims))))
    }

    /// Kind and bytes of the next part of an array, at most `most` of them.
    fn sub(&self, from: &mut Unpacked<'_>, most: u64, item: &str) -> Result<(u32, Vec<u8>)> {
        let at = from.offset();
        let word = self.word(from.header(item)?);
        // Short parts have their length in the upper half, and their bytes where others have the length.
        let (kind, len, room) = match word >> 16 {
            0 => {
                let len = u64::from(self.word(from.header(item)?));
                (word, len, len.next_multiple_of(8))
            }
            short => (word & 0xffff, u64::from(short), 4),
        };
        if len > most.min(room) {
            return Err(from.origin().format(at, item, format!("{len} bytes"), format!("at most {most}")));
        }
        let mut bytes = from.exactly(len, item)?;
        // The last part of a packed array may lack its padding.
        from.up_to(room - len)?;
        bytes.truncate(len as usize);
        Ok((kind, bytes))
    }

    /// The numbers of a matrix: stored in the smallest type that holds them, whatever the array's own.
    fn numbers(&self, from: &mut Unpacked<'_>) -> Result<(Stored, Vec<u8>)> {
        let at = from.offset();
        let most = from.most_left();
        let (kind, bytes) = self.sub(from, most, "the numbers of an array")?;
        let name = match kind {
            1 => "i1",
            2 => "u1",
            3 => "i2",
            4 => "u2",
            5 => "i4",
            6 => "u4",
            7 => "f4",
            9 => "f8",
            12 => "i8",
            13 => "u8",
            _ => "",
        };
        let stored = Stored::of_name(name, self.big_endian);
        let stored = stored.ok_or_else(|| {
            from.origin().format(at, "the type of the numbers", kind.to_string(), "one of 1 to 7, 9, 12, 13")
        })?;
        Ok((stored, bytes))
    }
}

/// Whether these are the first bytes of a file that [`Mat`] can read.
pub fn is_mat(head: &[u8]) -> bool {
    matches!(head.get(HEAD - 4..HEAD), Some([0, 1, b'I', b'M'] | [1, 0, b'M', b'I']))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// A file with the array `x` = [1 3; 2 4] as doubles that are stored as bytes.
    fn file(big: bool) -> Vec<u8> {
        let word = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut out = vec![b' '; HEAD - 4];
        out.extend(if big { [1, 0, b'M', b'I'] } else { [0, 1, b'I', b'M'] });
        let mut body = Vec::new();
        for w in [6, 8, 6, 0, 5, 8, 2, 2] {
            body.extend(word(w));
        }
        body.extend(word(1 << 16 | 1));
        body.extend([b'x', 0, 0, 0]);
        body.extend(word(4 << 16 | 2));
        body.extend([1, 2, 3, 4]);
        out.extend(word(MATRIX));
        out.extend(word(body.len() as u32));
        out.extend(body);
        out
    }

    #[test]
    fn columns_come_first_in_the_file_and_rows_in_the_array() {
        for big in [false, true] {
            let mat = Mat::parse(file(big), "f.mat").unwrap();
            assert_eq!(mat.names(), ["x"]);
            let x = mat.array("x").unwrap();
            assert_eq!(x.dims(), [2, 2]);
            assert_eq!(x.into_array().unwrap().values(), [1.0, 3.0, 2.0, 4.0]);
            let text = mat.array("y").unwrap_err().to_string();
            assert!(text.contains("no `y`, expected one of x"), "{text}");
        }
    }

    #[test]
    fn what_is_no_such_file_is_named() {
        let text = Mat::parse(b"\x89HDF\r\n\x1a\n".to_vec(), "f.mat").err().unwrap().to_string();
        assert!(text.contains("HDF5"), "{text}");
        let mut long = file(false);
        long[HEAD + 4] = 200;
        let text = Mat::parse(long, "f.mat").err().unwrap().to_string();
        assert!(text.contains("length of an element is 200 bytes"), "{text}");
    }

    proptest! {
        #[test]
        fn damage_anywhere_never_panics(at in 0.0f64..1.0, byte in any::<u8>(), big in any::<bool>()) {
            let whole = file(big);
            let at = (at * whole.len() as f64) as usize;
            for bytes in [whole[..at].to_vec(), [&whole[..at], &[byte], &whole[at + 1..]].concat()] {
                if let Ok(mat) = Mat::parse(bytes, "f.mat") {
                    mat.names().into_iter().for_each(|n| drop(mat.array(n)));
                }
            }
        }
    }
}
