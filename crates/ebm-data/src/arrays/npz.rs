//! Archives of NumPy arrays: `.npz` files, stored (`savez`) or deflated (`savez_compressed`).

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::Origin;
use crate::npy::{Classes, Npy, NpyRows, NpyValues, encode_values};
use crate::unpack::Unpacked;
use crate::{DataError, Result};

/// An open archive; arrays are read one at a time, when asked for.
pub struct Npz<R> {
    archive: ZipArchive<R>,
    path: PathBuf,
}

impl Npz<BufReader<File>> {
    /// Opens a file and reads the list of its members.
    ///
    /// # Errors
    /// If the file is missing or no zip archive.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = crate::regular::open(path)?;
        Self::new(BufReader::new(file), path)
    }
}

impl<'a> Npz<Cursor<&'a [u8]>> {
    /// Opens an archive in memory; `name` stands in error messages.
    ///
    /// # Errors
    /// If the bytes are no zip archive.
    pub fn parse(bytes: &'a [u8], name: &str) -> Result<Self> {
        Self::new(Cursor::new(bytes), Path::new(name))
    }
}

impl<R: Read + Seek> Npz<R> {
    fn new(reader: R, path: &Path) -> Result<Self> {
        let archive = ZipArchive::new(reader).map_err(|e| damaged(path, "the zip directory", &e))?;
        Ok(Self { archive, path: path.to_owned() })
    }

    /// Names of the arrays (`x` for the member `x.npy`), sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .archive
            .file_names_raw()
            .filter_map(|n| Some(std::str::from_utf8(n).ok()?.strip_suffix(".npy")?.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// The array called `name`.
    ///
    /// # Errors
    /// If there is none of that name (the message lists those there are), the member is encrypted or
    /// packed otherwise than by deflate, or for a reason of [`Npy::read`].
    pub fn array(&mut self, name: &str) -> Result<Npy> {
        self.open_member(name, Npy::parse_from)
    }

    /// The classes in the array called `name`.
    ///
    /// # Errors
    /// As [`array`](Self::array) and [`Classes::read`].
    pub fn classes(&mut self, name: &str) -> Result<Classes> {
        self.open_member(name, Classes::parse_from)
    }

    /// The array called `name`, a few samples at a time, for arrays that do not fit in memory: `read` gets the reader,
    /// which lives no longer than the call.
    ///
    /// # Errors
    /// As [`array`](Self::array) and [`NpyRows::open`], or with `read`.
    pub fn rows<T, E: From<DataError>>(
        &mut self,
        name: &str,
        read: impl FnOnce(NpyRows<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.open_member(name, |from| read(NpyRows::new(from)?))
    }

    fn open_member<T, E: From<DataError>>(
        &mut self,
        name: &str,
        read: impl FnOnce(Unpacked<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let member = format!("{name}.npy");
        if self.archive.index_for_name(&member).is_none() {
            return Err(DataError::mismatch(
                format!("array in {}", self.path.display()),
                format!("no `{name}`"),
                format!("one of {}", self.names().join(", ")),
            )
            .into());
        }
        // Shown as `set.npz/images.npy`, the way a path inside an archive is usually written.
        let shown = self.path.join(&member);
        let file = self.archive.by_name(&member).map_err(|e| damaged(&shown, "the zip member", &e))?;
        let packed = file.compressed_size();
        read(Unpacked::member(file, packed, &shown))
    }
}

/// An array on its way into an archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Its name, without an ending.
    pub name: String,
    /// Its values in row-major order.
    pub values: NpyValues,
    /// Its sizes, slowest first.
    pub dims: Vec<usize>,
}

/// An archive of these arrays as bytes, stored as `numpy.savez` stores them: the same arrays give the same bytes.
///
/// # Errors
/// If an array's sizes do not fit its values, or two have one name.
///
/// ```
/// use ebm_data::npy::NpyValues;
/// use ebm_data::npz::{Named, Npz, encode};
/// let x = Named { name: "x".into(), values: NpyValues::F64(vec![0.5, 1.5]), dims: vec![1, 2] };
/// let file = encode(&[x])?;
/// assert_eq!(Npz::parse(&file, "f.npz")?.array("x")?.dims(), [1, 2]);
/// # Ok::<(), ebm_data::DataError>(())
/// ```
pub fn encode(arrays: &[Named]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // The time of an entry is that of its making by default, and would change the bytes.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .large_file(true);
    let refused = |name: &str, e: String| {
        DataError::mismatch(format!("array `{name}` of an npz archive"), e, "a name of its own and room")
    };
    for Named { name, values, dims } in arrays {
        let file = encode_values(values, dims)?;
        zip.start_file(format!("{name}.npy"), options).map_err(|e| refused(name, e.to_string()))?;
        zip.write_all(&file).map_err(|e| refused(name, e.to_string()))?;
    }
    Ok(zip.finish().map_err(|e| refused("", e.to_string()))?.into_inner())
}

/// Writes [`encode`]'s bytes to `path`; the file appears whole or not at all.
///
/// # Errors
/// As [`encode`], and if the folder does not exist or cannot be written.
pub fn write(path: impl AsRef<Path>, arrays: &[Named]) -> Result<()> {
    crate::atomic::write(path.as_ref(), &encode(arrays)?)
}

fn damaged(path: &Path, item: &str, e: &zip::result::ZipError) -> DataError {
    Origin(path).format(0, item, format!("unreadable ({e})"), "a zip archive as numpy.savez writes it")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::npy::encode as encode_npy;

    fn archive(method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, values) in [("y.npy", vec![7.0f32]), ("x.npy", vec![0.5; 300])] {
            zip.start_file(name, options).unwrap();
            zip.write_all(&encode_npy(&values, &[values.len()]).unwrap()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn read_all(bytes: &[u8]) -> Result<()> {
        let mut npz = Npz::parse(bytes, "f.npz")?;
        for name in npz.names() {
            npz.array(&name)?;
        }
        Ok(())
    }

    #[test]
    fn stored_and_deflated_members_are_read_by_name() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let bytes = archive(method);
            let mut npz = Npz::parse(&bytes, "f.npz").unwrap();
            assert_eq!(npz.names(), ["x", "y"]);
            assert_eq!(npz.array("y").unwrap().into_array().unwrap().values(), [7.0]);
            assert_eq!(npz.array("x").unwrap().dims(), [300]);
            let rows = npz.rows("x", |mut r| Ok::<_, DataError>((r.left(), r.next(7)?.into_f32(), r.left())));
            assert_eq!(rows.unwrap(), (300, vec![0.5; 7], 293));
            let text = npz.array("z").unwrap_err().to_string();
            assert_eq!(text, "array in f.npz: found no `z`, expected one of x, y");
        }
    }

    #[test]
    fn what_is_written_is_read_and_has_the_same_bytes_each_time() {
        let of = |name: &str, values| Named { name: name.into(), values, dims: vec![2, 1] };
        let arrays = [of("x", NpyValues::F64(vec![0.5, -1.0])), of("diverging", NpyValues::Bool(vec![0, 1]))];
        let bytes = super::encode(&arrays).unwrap();
        assert_eq!(super::encode(&arrays).unwrap(), bytes);
        let mut npz = Npz::parse(&bytes, "f.npz").unwrap();
        for Named { name, values, dims } in &arrays {
            let back = npz.array(name).unwrap();
            assert_eq!((back.values(), back.dims()), (values, &dims[..]));
        }
        let twice = super::encode(&[arrays[0].clone(), arrays[0].clone()]).unwrap_err().to_string();
        assert!(twice.contains("`x`"), "{twice}");
    }

    #[test]
    fn a_changed_value_is_found_by_the_checksum() {
        let mut bytes = archive(CompressionMethod::Stored);
        // The last value of x, just before the directory, whose signature is PK 1 2.
        let at = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap() - 1;
        bytes[at] ^= 1;
        let text = read_all(&bytes).unwrap_err().to_string();
        assert!(text.contains("x.npy") && text.to_lowercase().contains("checksum"), "{text}");
    }

    #[test]
    fn what_is_no_archive_is_named() {
        let text = read_all(b"\x93NUMPY").unwrap_err().to_string();
        assert!(text.starts_with("f.npz: the zip directory is unreadable"), "{text}");
    }

    proptest! {
        #[test]
        fn damage_anywhere_never_panics(at in 0.0f64..1.0, byte in any::<u8>(), deflated in any::<bool>()) {
            let method = if deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
            let mut bytes = archive(method);
            let at = (at * bytes.len() as f64) as usize;
            prop_assert!(read_all(&bytes[..at]).is_err());
            bytes[at] = byte;
            let _ = read_all(&bytes);
        }
    }
}
