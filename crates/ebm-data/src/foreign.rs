//! What a file is that a reader cannot take: named for what it is, with what to do about it.

use std::io::Read;
use std::path::Path;

use crate::DataError;
use crate::error::Origin;

/// Bytes looked at: a tar header's magic stands at 257.
pub(crate) const HEAD: usize = 512;

/// What a file is, and what to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Such as `a Git LFS pointer`.
    pub what: &'static str,
    /// What its owner should do.
    pub advice: &'static str,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.advice)
    }
}

const UNPACK: &str = "unpack it and name the file or folder inside";

/// Beginnings of files, where they stand, and what they mean.
const MAGICS: &[(usize, &[u8], &str, &str)] = &[
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself",
        "fetch the content with `git lfs pull` in its repository, or download the file itself",
    ),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (MATLAB 7.3 writes them, too)", "save its arrays as .npy"),
    (
        0,
        b"MATLAB 7.3 MAT-file",
        "a MATLAB 7.3 .mat file",
        "save it as version 5 (`save -v6`) or its arrays as .npy",
    ),
    (
        0,
        b"MATLAB 5.0 MAT-file",
        "a MATLAB .mat file",
        "the kind `svhn` reads those of SVHN; save the arrays of others as .npy",
    ),
    (0, b"\x93NUMPY", "a NumPy array (.npy)", "the kind `npy` reads it"),
    (0, b"PAR1", "a Parquet file", "the kind `parquet` reads it"),
    (0, b"ARROW1", "an Arrow IPC file", "write it as Parquet"),
    (
        0,
        b"PK\x03\x04",
        "a zip archive",
        "a .zip of pictures or an .npz of arrays is read; of others, unpack it",
    ),
    (0, b"PK\x05\x06", "an empty zip archive", "pack the files again"),
    (257, b"ustar", "a tar archive", "name it with the ending .tar if it holds pictures, else unpack it"),
    (0, b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-zip archive", UNPACK),
    (0, b"\x1f\x8b", "packed by gzip", UNPACK),
    (0, b"BZh", "packed by bzip2", UNPACK),
    (0, b"\xfd7zXZ\x00", "packed by xz", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "packed by zstd", UNPACK),
    (0, b"\x04\x22\x4d\x18", "packed by lz4", UNPACK),
    (0, b"\x89PNG\r\n\x1a\n", "a png picture", "put pictures into a folder and name the folder"),
    (0, b"\xff\xd8\xff", "a jpeg picture", "put pictures into a folder and name the folder"),
    (0, b"GIF8", "a gif picture", "put pictures into a folder and name the folder"),
    (4, b"ftypheic", "a heic picture", "convert pictures to png"),
    (4, b"ftypavif", "an avif picture", "convert pictures to png"),
    (0, b"\xff\x0a", "a JPEG XL picture", "convert pictures to png"),
    (128, b"DICM", "a DICOM picture", "convert pictures to png"),
    (0, b"SIMPLE  =", "a FITS file", "save its arrays as .npy"),
    (0, b"FEA1", "a Feather file", "write it as Parquet"),
    (0, b"Obj\x01", "an Avro file", "write it as Parquet"),
    (0, b"ORC", "an ORC file", "write it as Parquet"),
    (0, b"<stata_dta>", "a Stata file", "write it as CSV"),
    (8, b"WEBP", "a webp picture", "put pictures into a folder and name the folder"),
    (0, b"%PDF", "a PDF document", "name the data themselves"),
    (0, b"SQLite format 3\x00", "an SQLite database", "export the data as .npy, CSV or Parquet"),
    (16, b"\xde\xc0\xef\xbe", "an LMDB database", "name its folder or its file data.mdb"),
    (0, b"\x7fELF", "a program", "name the data themselves"),
];

/// What these first bytes of a file are the beginning of; `path` helps where the bytes do not tell.
pub fn what_is(head: &[u8], path: &Path) -> Option<Foreign> {
    for &(at, magic, what, advice) in MAGICS {
        if head.get(at..at + magic.len()) == Some(magic) {
            return Some(Foreign { what, advice });
        }
    }
    let start = String::from_utf8_lossy(&head[..head.len().min(64)]).trim_start().to_ascii_lowercase();
    if ["<!doctype html", "<html", "<head"].iter().any(|t| start.starts_with(t)) {
        let advice = "the download gave a web page, perhaps of an error or a log-in; fetch the file again";
        return Some(Foreign { what: "a web page (HTML)", advice });
    }
    if matches!(head, [0x80, 2..=5, ..]) {
        let advice = "the kinds `cifar10`, `cifar100` and `imagenet32` read those of these sets; save others' arrays as .npy";
        return Some(Foreign { what: "a Python pickle", advice });
    }
    // safetensors: the length of a JSON header, then its brace.
    if head.len() > 9 && head[8] == b'{' && head[4..8] == [0; 4] {
        let advice = "it holds weights: `ebm convert` reads them";
        return Some(Foreign { what: "a safetensors file", advice });
    }
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let by_ending = match ending.as_str() {
        "csv" | "tsv" => ("a table in text (CSV)", "save its columns as an .npy array, one sample a row"),
        "txt" | "md" => ("a text", "name the data themselves"),
        "json" | "jsonl" => ("JSON", "save the numbers as an .npy array, one sample a row"),
        "pth" | "pt" | "ckpt" => ("PyTorch weights", "`ebm convert` reads them"),
        "mdb" => ("an LMDB database", "name its folder, with a whole data.mdb"),
        "mat" => ("a MATLAB .mat file of another version", "save it as version 5 (`save -v6`)"),
        _ => return None,
    };
    Some(Foreign { what: by_ending.0, advice: by_ending.1 })
}

/// The error of a reader whose file begins otherwise: what the file is if that is known, else the bytes that stood there.
pub(crate) fn refused(origin: Origin<'_>, magic: &[u8], item: &str, expected: &str) -> DataError {
    match of_file(origin.0).or_else(|| what_is(magic, origin.0)) {
        Some(foreign) => {
            let (what, advice) = (foreign.what, foreign.advice);
            DataError::Foreign { path: origin.0.to_path_buf(), what, wanted: item.into(), advice }
        }
        None => origin.format(0, format!("the magic number of {item}"), format!("{magic:02x?}"), expected),
    }
}

/// What the file at `path` is, if it can be opened and is known.
pub fn of_file(path: &Path) -> Option<Foreign> {
    // Asked first: opening a pipe would wait for ever.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut head = Vec::with_capacity(HEAD);
    crate::regular::open(path).ok()?.take(HEAD as u64).read_to_end(&mut head).ok()?;
    what_is(&head, path)
}

/// What a folder without anything that can be read holds, by the names of its files.
pub fn of_folder(path: &Path) -> Option<Foreign> {
    let holds = |name: &str| path.join(name).exists();
    if holds("data_batch_1") || holds("test_batch") {
        let advice = "the kind `cifar10` reads both these and the binary version";
        return Some(Foreign { what: "the Python version (pickles) of CIFAR-10", advice });
    }
    if holds("data.mdb") {
        let advice = "the kind `image-folder` reads pictures in it";
        return Some(Foreign { what: "an LMDB database", advice });
    }
    if holds("dataset_info.json") && holds("state.json") {
        let advice = "load it and write it with `Dataset.to_parquet`";
        return Some(Foreign { what: "a data set saved by `datasets.save_to_disk` (Arrow)", advice });
    }
    // A Git LFS snapshot that was never pulled.
    let mut files: Vec<_> = std::fs::read_dir(path).ok()?.flatten().map(|e| e.path()).collect();
    files.sort();
    files.iter().filter(|f| f.is_file()).take(64).find_map(|f| of_file(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_for_what_they_are() {
        let named = |head: &[u8], path: &str| what_is(head, Path::new(path)).map_or("", |f| f.what);
        assert!(named(b"version https://git-lfs.github.com/spec/v1\noid", "a.png").contains("LFS"));
        assert!(named(b"\n <!DOCTYPE html><html>", "train.npy").contains("HTML"));
        assert!(named(b"MATLAB 5.0 MAT-file, Platform", "x").contains(".mat"));
        assert!(named(b"\x80\x02}q\x01", "data_batch_1").contains("pickle"));
        assert!(named(b"\x80\x00\x00\x00\x00\x00\x00\x00{\"w\":", "w").contains("safetensors"));
        assert!(named(b"a,b\n1,2\n", "x.csv").contains("CSV"));
        assert_eq!(named(&[0, 0, 8, 3, 0, 0, 0, 1], "train-images"), "");
        assert_eq!(named(b"", "x"), "");
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(named(&tar, "x").contains("tar"));
    }
}
