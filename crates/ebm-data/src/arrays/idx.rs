//! IDX, the format of MNIST: a big-endian header, then bytes or floats, plain or gzipped.
//!
//! Source: Y. LeCun's description on the MNIST page: two zero bytes, a type code, the number of
//! dimensions, then one 32-bit size for each.

use std::path::Path;

pub use super::idx_rows::IdxRows;
use crate::unpack::Unpacked;
use crate::{ArraySet, DataError, ImageSet, Result};

/// Values of an [`Idx`] file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum IdxValues {
    /// Type code 0x08.
    U8(Vec<u8>),
    /// Type codes 0x09, 0x0B and 0x0C: whole numbers of 8, 16 and 32 bits.
    I32(Vec<i32>),
    /// Type code 0x0D.
    F32(Vec<f32>),
    /// Type code 0x0E.
    F64(Vec<f64>),
}

/// One IDX file: sizes and values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    dims: Vec<usize>,
    values: IdxValues,
}

impl Idx {
    /// Reads a file, plain or gzipped (told by its content, not by its name).
    ///
    /// # Errors
    /// If the file is missing, is no IDX file, is truncated or has bytes behind its end. The claimed sizes are checked before memory is taken.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::parse_from(Unpacked::open(path.as_ref())?)
    }

    /// Reads bytes in memory, plain or gzipped; `name` stands in error messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// ```
    /// use ebm_data::idx::{Idx, IdxValues};
    /// let file = [0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9];
    /// assert_eq!(Idx::parse(&file, "three")?.values(), &IdxValues::U8(vec![7, 8, 9]));
    /// # Ok::<(), ebm_data::DataError>(())
    /// ```
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        Self::parse_from(Unpacked::from_bytes(bytes, Path::new(name)))
    }

    fn parse_from(mut from: Unpacked<'_>) -> Result<Self> {
        let Header { code, dims, bytes } = Header::read(&mut from)?;
        let raw = from.rest(bytes, &format!("the data of sizes {dims:?}"))?;
        Ok(Self { dims, values: decode(raw, code) })
    }

    /// Sizes, slowest first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Values in row-major order.
    pub fn values(&self) -> &IdxValues {
        &self.values
    }

    /// Bytes `(N, H, W)` or `(N, C, H, W)` as images of 256 levels.
    ///
    /// # Errors
    /// If the values are floats or the rank is neither 3 nor 4.
    pub fn into_images(self) -> Result<ImageSet> {
        self.into_images_of(256)
    }

    /// As [`into_images`](Self::into_images), with values `0..levels`.
    ///
    /// # Errors
    /// Also if a value is not below `levels`.
    pub fn into_images_of(self, levels: u32) -> Result<ImageSet> {
        let (shape, n) = match self.dims[..] {
            [n, h, w] => ((1, h, w), n),
            [n, c, h, w] => ((c, h, w), n),
            _ => {
                return Err(DataError::mismatch(
                    "sizes of IDX images",
                    format!("{:?}", self.dims),
                    "(N, H, W) or (N, C, H, W); a label file is not an image file",
                ));
            }
        };
        let IdxValues::U8(bytes) = self.values else {
            return Err(DataError::mismatch(
                "type of IDX images",
                "no u8",
                "u8; read other numbers as an array",
            ));
        };
        if n > 0 && bytes.is_empty() {
            return Err(DataError::mismatch(
                "sizes of IDX images",
                format!("{:?}", self.dims),
                "sizes above 0",
            ));
        }
        ImageSet::new(bytes, shape, levels)
    }

    /// Whole numbers `(N,)` as class labels; of rows `(N, 8)`, as QMNIST keeps them, the first number.
    ///
    /// # Errors
    /// If the values are floats, there are images in the file, or a label is below 0.
    pub fn into_labels(self) -> Result<Vec<u32>> {
        let wrong = |what: String| {
            DataError::mismatch("IDX labels", what, "whole numbers from 0, sizes (N,) or (N, 8)")
        };
        let every = match self.dims[..] {
            [_] => 1,
            [_, columns @ 1..=8] => columns,
            _ => return Err(wrong(format!("sizes {:?}", self.dims))),
        };
        match self.values {
            IdxValues::U8(v) => Ok(v.into_iter().step_by(every).map(u32::from).collect()),
            IdxValues::I32(v) => v
                .into_iter()
                .step_by(every)
                .enumerate()
                .map(|(i, x)| u32::try_from(x).map_err(|_| wrong(format!("{x} in row {i}"))))
                .collect(),
            _ => Err(wrong("floats".into())),
        }
    }

    /// Values as an array of `f32` with the file's sizes; bytes become 0.0 to 255.0.
    ///
    /// # Errors
    /// If there is a size of 0 beyond the first.
    pub fn into_array(self) -> Result<ArraySet> {
        ArraySet::new(self.values.into_f32(), self.dims)
    }
}

impl IdxValues {
    /// The numbers as f32, whole numbers and f64 rounded to the nearest.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            IdxValues::U8(v) => v.into_iter().map(f32::from).collect(),
            IdxValues::I32(v) => v.into_iter().map(|x| x as f32).collect(),
            IdxValues::F32(v) => v,
            IdxValues::F64(v) => v.into_iter().map(|x| x as f32).collect(),
        }
    }
}

/// What stands before the values.
pub(crate) struct Header {
    /// The type, 0x08 to 0x0e.
    pub code: u8,
    /// Sizes, slowest first.
    pub dims: Vec<usize>,
    /// Length of all values.
    pub bytes: u64,
}

impl Header {
    pub fn read(from: &mut Unpacked<'_>) -> Result<Self> {
        let origin = from.origin();
        let magic: [u8; 4] = from.header("the IDX magic number")?;
        let [0, 0, code, rank] = magic else {
            let expected = "two zero bytes, a type and a rank";
            return Err(crate::foreign::refused(origin, &magic, "an IDX file", expected));
        };
        let size = match code {
            0x08 | 0x09 => 1,
            0x0b => 2,
            0x0c | 0x0d => 4,
            0x0e => 8,
            _ => {
                let expected = "0x08 (u8), 0x09, 0x0b, 0x0c (i8, i16, i32), 0x0d or 0x0e (f32, f64)";
                return Err(origin.format(2, "the IDX type", format!("{code:#04x}"), expected));
            }
        };
        if rank == 0 {
            return Err(origin.format(3, "the IDX rank", "0", "1 or more"));
        }
        let mut dims = Vec::with_capacity(usize::from(rank));
        let mut bytes: Option<u64> = Some(size);
        for i in 0..rank {
            let dim = u32::from_be_bytes(from.header(&format!("size {i} of {rank}"))?);
            dims.push(dim as usize);
            bytes = bytes.and_then(|n| n.checked_mul(u64::from(dim)));
        }
        let bytes = bytes.ok_or_else(|| {
            origin.format(
                4,
                "the product of sizes",
                format!("{dims:?}, above 2^64 bytes"),
                "sizes that fit the file",
            )
        })?;
        Ok(Header { code, dims, bytes })
    }

    /// Bytes of one value.
    pub fn size(&self) -> u64 {
        match self.code {
            0x08 | 0x09 => 1,
            0x0b => 2,
            0x0e => 8,
            _ => 4,
        }
    }
}

/// Values of a type that [`Header::read`] let pass.
pub(crate) fn decode(raw: Vec<u8>, code: u8) -> IdxValues {
    match code {
        0x08 => IdxValues::U8(raw),
        0x09 => IdxValues::I32(raw.into_iter().map(|b| i32::from(b as i8)).collect()),
        0x0b => {
            IdxValues::I32(raw.chunks_exact(2).map(|b| i32::from(i16::from_be_bytes([b[0], b[1]]))).collect())
        }
        0x0c => IdxValues::I32(
            raw.chunks_exact(4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect(),
        ),
        0x0d => IdxValues::F32(
            raw.chunks_exact(4).map(|b| f32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect(),
        ),
        _ => IdxValues::F64(
            raw.chunks_exact(8)
                .map(|b| f64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                .collect(),
        ),
    }
}

/// Images with labels from a pair of IDX files, the way MNIST is published.
///
/// # Errors
/// As [`Idx::read`], and if the two files do not hold the same number of samples.
pub fn read_images(images: impl AsRef<Path>, labels: Option<&Path>) -> Result<ImageSet> {
    let images = images.as_ref();
    let set = Idx::read(images)?.into_images().map_err(|e| e.in_file(images))?;
    match labels {
        Some(path) => Idx::read(path)?
            .into_labels()
            .and_then(|labels| set.with_labels(labels, Vec::new()))
            .map_err(|e| e.in_file(path)),
        None => Ok(set),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn file(code: u8, dims: &[u32], payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, code, dims.len() as u8];
        dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
        out.extend(payload);
        out
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut e = GzEncoder::new(Vec::new(), Compression::default());
        e.write_all(bytes).unwrap();
        e.finish().unwrap()
    }

    fn message(bytes: &[u8]) -> String {
        Idx::parse(bytes, "f").unwrap_err().to_string()
    }

    #[test]
    fn bytes_and_floats_come_back_plain_and_gzipped() {
        let bytes = file(8, &[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let floats = file(0x0d, &[2], &[0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]);
        for (b, f) in [(bytes.clone(), floats.clone()), (gz(&bytes), gz(&floats))] {
            let set = Idx::parse(&b, "b").unwrap().into_images().unwrap();
            assert_eq!((set.len(), set.shape(), set.bytes()), (2, (1, 1, 3), &[1, 2, 3, 4, 5, 6][..]));
            assert_eq!(Idx::parse(&f, "f").unwrap().values(), &IdxValues::F32(vec![1.0, -2.0]));
        }
    }

    #[test]
    fn each_kind_of_damage_has_its_own_message() {
        assert_eq!(
            message(&file(8, &[3], &[1, 2])),
            "f: byte 8: the data of sizes [3] is 2 bytes, expected 3 bytes"
        );
        assert_eq!(
            message(&file(8, &[1], &[1, 2])),
            "f: byte 8: the data of sizes [1] is 2 bytes, expected 1 bytes"
        );
        assert!(
            message(&gz(&file(8, &[1], &[1, 2]))).contains("is more bytes, expected nothing after 1 bytes")
        );
        assert!(message(&gz(&file(8, &[3], &[1, 2]))).contains("is 2 bytes, expected 3 bytes"));
        assert!(message(b"PK\x03\x04").contains("is a zip archive, expected an IDX file"));
        assert!(message(&file(0x07, &[1], &[0])).contains("the IDX type is 0x07"));
        assert!(message(&[0, 0, 8, 0]).contains("rank is 0"));
        assert!(message(&[0, 0, 8, 2, 0, 0]).contains("size 0 of 2 is 2 bytes, expected 4 bytes"));
        assert!(message(&[]).contains("magic number is 0 bytes"));
    }

    #[test]
    fn a_huge_claim_is_refused_before_memory_is_taken() {
        let max = u32::MAX;
        assert!(
            message(&file(8, &[max, max], &[])).contains("is 0 bytes, expected 18446744065119617025 bytes")
        );
        assert!(message(&file(8, &[max, max, max], &[])).contains("above 2^64 bytes"));
        // Behind gzip the length is unknown, but deflate cannot reach it from so few bytes.
        assert!(message(&gz(&file(8, &[max], &[]))).contains("is at most"));
    }

    #[test]
    fn a_damaged_gzip_stream_is_a_format_error() {
        let mut packed = gz(&file(8, &[64], &[9; 64]));
        packed.truncate(packed.len() - 9);
        assert!(message(&packed).contains("the packed stream is"), "{}", message(&packed));
    }

    #[test]
    fn images_and_labels_are_not_mistaken_for_each_other() {
        let labels = Idx::parse(&file(8, &[2], &[1, 0]), "l").unwrap();
        assert!(labels.clone().into_images().is_err());
        assert_eq!(labels.into_labels().unwrap(), [1, 0]);
        let images = Idx::parse(&file(8, &[1, 1, 1], &[1]), "i").unwrap();
        assert!(images.into_labels().is_err());
    }

    #[test]
    fn whole_numbers_of_other_sizes_are_labels_and_of_rows_the_first_column() {
        let rows = [[0, 0, 0, 7], [0, 0, 0, 1], [255, 255, 255, 255], [0, 0, 0, 2]].concat();
        let idx = Idx::parse(&file(0x0c, &[2, 2], &rows), "q").unwrap();
        assert_eq!(idx.values(), &IdxValues::I32(vec![7, 1, -1, 2]));
        assert!(idx.into_labels().unwrap_err().to_string().contains("-1"));
        let idx = Idx::parse(&file(0x0b, &[2], &[0, 3, 1, 0]), "q").unwrap();
        assert_eq!(idx.into_labels().unwrap(), [3, 256]);
        let idx = Idx::parse(&file(0x09, &[1], &[255]), "q").unwrap();
        assert_eq!(idx.into_array().unwrap().values(), [-1.0]);
    }

    #[test]
    fn no_size_of_zero_panics() {
        for dims in [&[0, 2, 2][..], &[2, 0, 2], &[2, 2, 0], &[0, 0, 0]] {
            let idx = Idx::parse(&file(8, dims, &[]), "z").unwrap();
            let _ = idx.clone().into_array();
            let _ = idx.into_images();
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let text = Idx::read("no/such/file").unwrap_err().to_string();
        assert!(text.starts_with("no/such/file: cannot open: "), "{text}");
        assert!(Idx::read(std::env::temp_dir()).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), fix in any::<bool>()) {
            if fix && bytes.len() >= 4 {
                // Past the magic number, so that sizes and lengths are reached.
                bytes[..3].copy_from_slice(&[0, 0, 8]);
                bytes[3] %= 5;
            }
            let _ = Idx::parse(&bytes, "random");
            let _ = Idx::parse(&gz(&bytes), "random");
        }

        #[test]
        fn every_truncation_is_one_error(n in 1u32..40, packed in any::<bool>(), cut in 0.0f64..1.0) {
            let whole = file(8, &[n, 2], &vec![3; 2 * n as usize]);
            let whole = if packed { gz(&whole) } else { whole };
            prop_assert!(Idx::parse(&whole, "whole").is_ok());
            let cut = (cut * whole.len() as f64) as usize;
            prop_assert!(Idx::parse(&whole[..cut], "cut").is_err());
        }
    }
}
