//! Pictures wherever they are packed: folders, archives, databases; and pictures as they are written.

pub(crate) mod decode;
mod ends;
mod example;
pub mod folder;
mod index;
mod layout;
pub mod lmdb;
pub mod patches;
pub mod png;
pub mod resize;
pub mod tar;
pub mod tfrecord;
mod tiff;
pub mod zip;

use std::path::{Path, PathBuf};

pub use folder::{Channels, FolderOptions, Pictures, Splits};

pub(crate) use index::by_all_cores;

use crate::Result;
use crate::sets::report::Parts;

/// The pictures at `path`: a zip or tar archive, TFRecord files, an LMDB database, or a folder of pictures, of tar
/// shards or of TFRecord files, with their held-out part where names tell one.
///
/// # Errors
/// If there is nothing to read, or for a reason of the reader of what there is.
pub fn open(path: impl AsRef<Path>, options: &FolderOptions) -> Result<Parts<Pictures>> {
    let path = path.as_ref();
    if path.is_dir() {
        if lmdb::is_database(path) {
            return lmdb::parts(&[path], options);
        }
        let databases = lmdb::databases(path);
        let (shards, records) = (files(path, is_tar), files(path, is_tfrecord));
        if let Some(packed) = [&databases, &shards, &records].into_iter().find(|files| !files.is_empty()) {
            layout::some_to_train(path, packed, options.splits)?;
        }
        return match () {
            () if !databases.is_empty() => lmdb::parts(&databases, options),
            () if !shards.is_empty() => tar::parts(&shards, options),
            () if !records.is_empty() => tfrecord::parts(&records, options),
            () => folder::parts(path, options),
        };
    }
    match () {
        () if ends(path, "mdb") => lmdb::parts(&[path], options),
        () if ends(path, "zip") => zip::parts(path, options),
        () if is_tar(path) => tar::parts(&[path], options),
        () if is_tfrecord(path) => tfrecord::parts(&[path], options),
        () => folder::parts(path, options),
    }
}

/// Whether [`open`] reads the folder at `path` as one of files that are pictures.
pub fn is_plain_folder(path: &Path) -> bool {
    let packed = lmdb::is_database(path) || !lmdb::databases(path).is_empty();
    !packed && files(path, is_tar).is_empty() && files(path, is_tfrecord).is_empty()
}

/// Whether [`open`] reads the file at `path` by its ending.
pub fn is_archive(path: &Path) -> bool {
    ends(path, "zip") || ends(path, "mdb") || is_tar(path) || is_tfrecord(path)
}

fn ends(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending))
}

fn is_tar(path: &Path) -> bool {
    ends(path, "tar")
}

/// `x.tfrecord`, `x.tfrecords`, and shards `x.tfrecord-00000-of-00010`.
fn is_tfrecord(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    ending == "tfrecords" || ending == "tfrecord" || ending.starts_with("tfrecord-")
}

fn files(folder: &Path, wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| wanted(p) && p.is_file()).collect();
    found.sort();
    found
}
