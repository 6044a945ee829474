//! Arrays of NumPy: `.npy` files read and written, values in C order.
//!
//! Hand-written because the readers at hand either need a tensor library or take the claimed size from
//! the allocator before they look at the file.

use std::path::{Path, PathBuf};

pub use super::npy_classes::Classes;
pub use super::npy_rows::NpyRows;
pub use super::npy_values::NpyValues;
pub(crate) use super::npy_values::{decode, half};
pub use super::npy_write::{encode, encode_values, write};

use crate::error::Origin;
use crate::npy_header::{self, Header};
use crate::unpack::Unpacked;
use crate::{ArraySet, DataError, ImageSet, Result};

/// One array: sizes and values in row-major order, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Npy {
    dims: Vec<usize>,
    values: NpyValues,
    /// File or member of an archive, which errors name.
    path: PathBuf,
}

impl Npy {
    /// Reads an `.npy` file of version 1 to 3, plain or gzipped.
    ///
    /// # Errors
    /// If the file is missing, truncated, longer than its shape says, or of another type than b1, u1 to u8, i1 to i8,
    /// f2, f4 and f8 (either byte order). An array in Fortran order is turned into C order.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::parse_from(Unpacked::open(path.as_ref())?)
    }

    /// Reads bytes in memory; `name` stands in error messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// ```
    /// use ebm_data::npy::{Npy, encode};
    /// let file = encode(&[1.0, 2.0], &[2, 1])?;
    /// assert_eq!(Npy::parse(&file, "two")?.into_array()?.values(), [1.0, 2.0]);
    /// # Ok::<(), ebm_data::DataError>(())
    /// ```
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        Self::parse_from(Unpacked::from_bytes(bytes, Path::new(name)))
    }

    pub(crate) fn parse_from(mut from: Unpacked<'_>) -> Result<Self> {
        let header = npy_header::read(&mut from)?;
        let bytes = header.bytes().ok_or_else(|| too_large(&header, from.origin(), from.offset()))?;
        let raw = from.rest(bytes, &format!("the data of shape {:?}", header.dims))?;
        Self::from_raw(raw, &header, from.origin())
    }

    /// An array from its bytes, as many as the header says.
    pub(crate) fn from_raw(raw: Vec<u8>, header: &Header, origin: Origin<'_>) -> Result<Self> {
        let dims: Option<Vec<usize>> = header.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let dims = dims.ok_or_else(|| too_large(header, origin, 0))?;
        let raw = if header.fortran { c_order(&raw, &dims, header.stored.size as usize) } else { raw };
        Ok(Self { dims, values: decode(raw, header.stored), path: origin.0.to_path_buf() })
    }

    /// Sizes, slowest first; empty for a single number.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Values in row-major order.
    pub fn values(&self) -> &NpyValues {
        &self.values
    }

    /// Values as `f32` (rounded from wider types) with shape `(N, D…)`.
    ///
    /// # Errors
    /// If the array is a single number or a size beyond the first is 0.
    pub fn into_array(self) -> Result<ArraySet> {
        ArraySet::new(self.values.into_f32(), self.dims).map_err(|e| e.in_file(&self.path))
    }

    /// Number of levels of bytes as images: 2 if they are truth values, or all 0 or 1 and not all 0 (as dSprites and
    /// binarised MNIST are distributed), else 256.
    pub fn levels(&self) -> u32 {
        match &self.values {
            NpyValues::Bool(_) => 2,
            NpyValues::U8(v) if v.iter().max() == Some(&1) => 2,
            _ => 256,
        }
    }

    /// Bytes `(N, H, W)` or `(N, C, H, W)` as images of 256 levels.
    ///
    /// # Errors
    /// If the values are no u1 or truth values, the rank is neither 3 nor 4, or the channels stand last.
    pub fn into_images(self) -> Result<ImageSet> {
        self.into_images_of(256)
    }

    /// As [`into_images`](Self::into_images), with values `0..levels`.
    ///
    /// # Errors
    /// Also if a value is not below `levels`.
    pub fn into_images_of(self, levels: u32) -> Result<ImageSet> {
        let shape = match self.dims[..] {
            [_, h, w] => (1, h, w),
            [_, c, h, w] => (c, h, w),
            [_, d] => {
                let side = d.isqrt();
                let such = if d > 0 && side * side == d {
                    format!(", such as numpy.reshape(-1, {side}, {side})")
                } else {
                    String::new()
                };
                let wanted = format!(
                    "(N, H, W) or (N, C, H, W): reshape rows of bytes into pictures{such}, or save them as floats to have vectors"
                );
                return Err(self.no_images(&wanted));
            }
            _ => return Err(self.no_images("(N, H, W) or (N, C, H, W)")),
        };
        if channels_last(&self.dims) {
            let [_, h, w, c] = self.dims[..] else { return Err(self.no_images("(N, C, H, W)")) };
            return Err(self.no_images(&format!(
                "(N, C, H, W): these look like {h} x {w} pictures of {c} channels, channels last, (N, H, W, C); set layout = \"channels-last\""
            )));
        }
        match self.values {
            NpyValues::U8(bytes) | NpyValues::Bool(bytes) => {
                ImageSet::new(bytes, shape, levels).map_err(|e| e.in_file(&self.path))
            }
            _ => Err(self.no_images("type u1, or read the file as an array")),
        }
    }

    /// Bytes `(N, H, W, C)` as images of 256 levels, the channels moved to the front.
    ///
    /// # Errors
    /// If the values are no u1 or the rank is not 4.
    pub fn into_images_channels_last(self) -> Result<ImageSet> {
        let levels = 256;
        match (&self.dims[..], &self.values) {
            (&[_, h, w, c], NpyValues::U8(bytes) | NpyValues::Bool(bytes)) => {
                ImageSet::from_channels_last(bytes, (h, w, c), levels)
            }
            _ => Err(self.no_images("(N, H, W, C) of type u1")),
        }
    }

    /// Bytes `(H, W, C, N)`, as MATLAB's arrays of pictures are, as images of 256 levels.
    ///
    /// # Errors
    /// If the values are no u1 or the rank is not 4.
    pub fn into_images_samples_last(self) -> Result<ImageSet> {
        let (&[h, w, c, n], NpyValues::U8(bytes)) = (&self.dims[..], &self.values) else {
            return Err(self.no_images("(H, W, C, N) of type u1"));
        };
        let mut images = Vec::with_capacity(bytes.len());
        for i in 0..n {
            for at in (0..c).flat_map(|c_| (0..h * w).map(move |p| p * c + c_)) {
                images.push(bytes[at * n + i]);
            }
        }
        ImageSet::new(images, (c, h, w), 256)
    }

    /// The same array with the axis of channels moved: `(N, H, W, C)` becomes `(N, C, H, W)`.
    ///
    /// # Errors
    /// If the rank is not 4.
    pub fn channels_first(self) -> Result<Self> {
        let [n, h, w, c] = self.dims[..] else { return Err(self.no_images("(N, H, W, C)")) };
        Ok(Self { dims: vec![n, c, h, w], values: self.values.channels_first(h * w, c), path: self.path })
    }

    /// The values as images `(N, 3, H, W)` of rows of 3 · side² values, R, G, B, as CIFAR and ImageNet-32 keep them.
    ///
    /// # Errors
    /// If the shape is not `(N, 3 · side²)`.
    pub fn into_planes(self) -> Result<Self> {
        let side = match self.dims[..] {
            [_, d] if d % 3 == 0 => (d / 3).isqrt(),
            _ => 0,
        };
        match self.dims[..] {
            [n, d] if side > 0 && 3 * side * side == d => {
                Ok(Self { dims: vec![n, 3, side, side], values: self.values, path: self.path })
            }
            _ => Err(self.no_images("(N, 3·side²), such as (N, 3072)")),
        }
    }

    /// Whole numbers `(N,)` or `(N, 1)` as class labels.
    ///
    /// # Errors
    /// If the rank is another, or a value is no whole number in 0..2³².
    pub fn into_labels(self) -> Result<Vec<u32>> {
        let label = |i| match self.values.class(i) {
            Ok(Some(class)) => Ok(class),
            Ok(None) => Err(self.no_class(i, self.values.shown(i))),
            Err(found) => Err(self.no_class(i, found)),
        };
        (0..self.rows()?).map(label).collect()
    }

    /// The same with `None` for missing ones: numbers below 0 and not-a-number.
    ///
    /// # Errors
    /// If the rank is another, or a value is neither missing nor a whole number in 0..2³².
    pub fn into_classes(self) -> Result<Vec<Option<u32>>> {
        let class = |i| self.values.class(i).map_err(|found| self.no_class(i, found));
        (0..self.rows()?).map(class).collect()
    }

    /// Whole numbers `(N,)` or `(N, 1)`, of any type of whole numbers, or floats that are whole (as MATLAB saves them).
    ///
    /// # Errors
    /// If the rank is another, or a value is no whole number.
    pub fn into_whole_numbers(self) -> Result<Vec<i64>> {
        let number = |i| self.values.whole(i).ok_or_else(|| self.no_class(i, self.values.shown(i)));
        (0..self.rows()?).map(number).collect()
    }

    /// N of an array `(N,)` or `(N, 1)`.
    fn rows(&self) -> Result<usize> {
        match self.dims[..] {
            [n] | [n, 1] => Ok(n),
            _ => Err(DataError::mismatch(
                format!("{}: the labels", self.path.display()),
                format!("shape {:?} of {}", self.dims, self.values.kind()),
                "whole numbers of shape (N,) or (N, 1); of one row of scores a sample, the place of the largest",
            )),
        }
    }

    fn no_class(&self, i: usize, found: String) -> DataError {
        let what = format!("{}: the label of row {i}", self.path.display());
        DataError::mismatch(what, found, "a whole number from 0, below 2^32")
    }

    fn no_images(&self, expected: &str) -> DataError {
        DataError::mismatch(
            format!("{}: the images", self.path.display()),
            format!("shape {:?} of {}", self.dims, self.values.kind()),
            expected,
        )
    }
}

/// Whether a shape looks like pictures `(N, H, W, C)`: the last size is 1, 3 or 4 and the second is not.
pub fn channels_last(dims: &[usize]) -> bool {
    let channels = |n: usize| [1, 3, 4].contains(&n);
    matches!(*dims, [_, second, third, last] if channels(last) && !channels(second) && third > 4)
}

fn too_large(header: &Header, origin: Origin<'_>, at: u64) -> DataError {
    let shape = format!("{:?}, too large for this machine", header.dims);
    origin.format(at, "the npy shape", shape, "sizes that fit the file")
}

/// Values of `size` bytes in C order of what is in Fortran order.
pub(crate) fn c_order(raw: &[u8], dims: &[usize], size: usize) -> Vec<u8> {
    let mut out = vec![0; raw.len()];
    let mut at = vec![0usize; dims.len()];
    // Stride of each size in the file, whose first size changes fastest.
    let strides: Vec<usize> = dims.iter().scan(size, |s, d| Some(std::mem::replace(s, *s * d))).collect();
    for value in out.chunks_exact_mut(size.max(1)) {
        let from: usize = at.iter().zip(&strides).map(|(i, s)| i * s).sum();
        value.copy_from_slice(&raw[from..from + size]);
        for axis in (0..dims.len()).rev() {
            at[axis] += 1;
            if at[axis] < dims[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn file(version: u8, descr: &str, shape: &str, payload: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut out = b"\x93NUMPY".to_vec();
        out.extend([version, 0]);
        match version {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        out.extend(header.as_bytes());
        out.extend(payload);
        out
    }

    fn message(bytes: &[u8]) -> String {
        Npy::parse(bytes, "f").unwrap_err().to_string()
    }

    #[test]
    fn every_type_version_and_byte_order_is_read() {
        let of = |v, d, p: &[u8]| Npy::parse(&file(v, d, "(2,)", p), "f").unwrap().values;
        assert_eq!(of(1, "|u1", &[1, 255]), NpyValues::U8(vec![1, 255]));
        assert_eq!(of(2, "<u2", &[1, 0, 0, 1]), NpyValues::U16(vec![1, 256]));
        assert_eq!(of(3, ">u4", &[0, 0, 1, 0, 0, 0, 0, 2]), NpyValues::U32(vec![256, 2]));
        assert_eq!(of(1, "<i4", &[255, 255, 255, 255, 1, 0, 0, 0]), NpyValues::I32(vec![-1, 1]));
        let wide = [1i64.to_le_bytes(), (-3i64).to_le_bytes()].concat();
        assert_eq!(of(1, "<i8", &wide), NpyValues::I64(vec![1, -3]));
        let floats = [0.5f32.to_be_bytes(), (-2f32).to_be_bytes()].concat();
        assert_eq!(of(1, ">f4", &floats), NpyValues::F32(vec![0.5, -2.0]));
        let doubles = [0.1f64.to_le_bytes(), 7f64.to_le_bytes()].concat();
        assert_eq!(of(1, "<f8", &doubles), NpyValues::F64(vec![0.1, 7.0]));
    }

    #[test]
    fn the_written_file_is_numpys_own_to_the_byte() {
        // python3 -c "import numpy as np; np.save('f.npy', np.array([[1], [-2]], '<f4'))"
        let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        expected.extend(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }");
        expected.resize(127, b' ');
        expected.extend(b"\n\x00\x00\x80\x3f\x00\x00\x00\xc0");
        assert_eq!(encode(&[1.0, -2.0], &[2, 1]).unwrap(), expected);
        assert_eq!(encode_values(&NpyValues::F32(vec![1.0, -2.0]), &[2, 1]).unwrap(), expected);
        assert!(encode(&[1.0], &[2]).is_err());
        assert!(encode(&[1.0], &vec![1; 40_000]).is_err());
    }

    #[test]
    fn values_of_every_type_come_back_in_it() {
        for values in [
            NpyValues::Bool(vec![0, 1]),
            NpyValues::U8(vec![7, 255]),
            NpyValues::I64(vec![-3, 1 << 40]),
            NpyValues::F64(vec![0.1, f64::NEG_INFINITY]),
        ] {
            let back = Npy::parse(&encode_values(&values, &[1, 2]).unwrap(), "f").unwrap();
            assert_eq!((back.dims(), back.values()), (&[1, 2][..], &values));
        }
    }

    #[test]
    fn each_kind_of_damage_has_its_own_message() {
        assert!(message(&file(1, "<f4", "(2,)", &[0; 7])).contains("shape [2] is 7 bytes, expected 8 bytes"));
        assert!(message(&file(1, "<f4", "(2,)", &[0; 9])).contains("is 9 bytes, expected 8 bytes"));
        assert!(message(&file(4, "<f4", "(2,)", &[])).contains("version is 4.0"));
        assert!(message(b"\x93NUMPX\x01\x00").contains("magic number"));
        assert!(
            message(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("length is 4294967295, expected at most")
        );
        assert!(message(b"\x93NUMPY\x01\x00\x10\x00{}").contains("header is 2 bytes, expected 16 bytes"));
        let huge = "(18446744073709551615, 18446744073709551615)";
        assert!(message(&file(1, "<f4", huge, &[])).contains("too large"));
        assert!(
            message(&file(1, "|u1", "(1000000000000,)", &[])).contains("is 0 bytes, expected 1000000000000")
        );
    }

    #[test]
    fn images_in_both_layouts_and_labels_are_told_apart() {
        let last = Npy::parse(&file(1, "|u1", "(1, 1, 2, 3)", &[1, 2, 3, 4, 5, 6]), "f").unwrap();
        let set = last.into_images_channels_last().unwrap();
        assert_eq!((set.shape(), set.bytes()), ((3, 1, 2), &[1, 4, 2, 5, 3, 6][..]));
        let labels = Npy::parse(&file(1, "<i4", "(2,)", &[3, 0, 0, 0, 255, 255, 255, 255]), "f").unwrap();
        assert!(labels.clone().into_images().is_err());
        assert_eq!(
            labels.into_labels().unwrap_err().to_string(),
            "f: the label of row 1: found -1, expected a whole number from 0, below 2^32"
        );
        let array = |file: Vec<u8>| Npy::parse(&file, "f.npy").unwrap();
        for text in [
            array(file(1, "|u1", "()", &[1])).into_array().unwrap_err().to_string(),
            array(file(1, "|u1", "(1, 4)", &[1; 4])).into_images().unwrap_err().to_string(),
            array(file(1, "|u1", "(1, 2, 2)", &[9; 4])).into_images_of(2).unwrap_err().to_string(),
            array(file(1, "|u1", "(2, 2)", &[1; 4])).into_labels().unwrap_err().to_string(),
        ] {
            assert!(text.starts_with("f.npy: "), "{text}");
        }
    }

    #[test]
    fn labels_may_be_whole_floats_or_missing_and_others_are_named_by_row() {
        let of = |values: &[f64]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            Npy::parse(&file(1, "<f8", &format!("({},)", values.len()), &bytes), "y.npy").unwrap()
        };
        assert_eq!(of(&[0.0, 3.0]).into_labels().unwrap(), [0, 3]);
        let missing = of(&[1.0, -1.0, f64::NAN, -100.0]);
        assert_eq!(missing.clone().into_classes().unwrap(), [Some(1), None, None, None]);
        assert!(
            missing.into_labels().unwrap_err().to_string().contains("y.npy: the label of row 1: found -1")
        );
        for (value, found) in [(0.5, "row 1: found 0.5"), (f64::INFINITY, "inf"), (5e9, "5000000000")] {
            let text = of(&[0.0, value]).into_classes().unwrap_err().to_string();
            assert!(text.contains(found), "{text}");
        }
        let wide = Npy::parse(&file(1, "<u8", "(1,)", &u64::MAX.to_le_bytes()), "y.npy").unwrap();
        let text = wide.into_classes().unwrap_err().to_string();
        assert!(text.contains("row 0: found 18446744073709551615"), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(n in 0usize..6, d in 1usize..5, seed in any::<u32>()) {
            let values: Vec<f32> = (0..n * d).map(|i| f32::from_bits(seed.wrapping_mul(i as u32 + 1))).collect();
            let bytes = encode(&values, &[n, d]).unwrap();
            let back = Npy::parse(&bytes, "f").unwrap();
            prop_assert_eq!(back.dims(), &[n, d][..]);
            let NpyValues::F32(back) = back.values else { panic!("another type") };
            prop_assert!(back.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
            prop_assert_eq!(bytes.len() % 64, n * d * 4 % 64);
        }

        #[test]
        fn damage_anywhere_never_panics(at in 0usize..160, byte in any::<u8>(), cut in 0usize..160) {
            let mut bytes = encode(&[1.0; 8], &[2, 4]).unwrap();
            let n = bytes.len();
            prop_assert!(Npy::parse(&bytes[..cut.min(n - 1)], "f").is_err());
            bytes[at.min(n - 1)] = byte;
            if let Ok(npy) = Npy::parse(&bytes, "f") {
                let _ = npy.clone().into_labels();
                let _ = npy.clone().into_images();
                let _ = npy.into_array();
            }
        }

        #[test]
        fn random_headers_never_panic(text in "[{}()\\[\\]'\":, a-zA-Z0-9<>|=é-]{0,80}") {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.as_bytes());
            let _ = Npy::parse(&bytes, "f");
        }
    }
}
