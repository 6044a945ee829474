//! Zip archives of pictures, with folders inside as a folder has them.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::zip::{CompressionMethod, ZipArchive};

use super::decode::{FolderOptions, is_picture, left_out};
use super::index::{Packing, Pictures, Place};
use super::layout;
use crate::error::Origin;
use crate::sets::report::{Parts, Report};
use crate::unpack::DEFLATE_RATIO;
use crate::{DataError, Result};

/// The pictures of an archive, stored or deflated; their folders are splits and classes as in
/// [`folder`](super::folder).
///
/// # Errors
/// If the file is no zip archive, has no pictures, or one is encrypted or packed otherwise; as a folder else.
pub fn parts(path: impl AsRef<Path>, options: &FolderOptions) -> Result<Parts<Pictures>> {
    let path = path.as_ref();
    let file = crate::regular::open(path)?;
    let length = file.metadata().map_err(DataError::io(path, "open"))?.len();
    let damaged = |e: ::zip::result::ZipError| {
        Origin(path).format(0, "the zip archive", format!("unreadable ({e})"), "a sound zip archive")
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let (shared, mut report) = (Arc::<Path>::from(path), Report::default());
    let mut members: Vec<(PathBuf, Place)> = Vec::new();
    for i in 0..archive.len() {
        let member = archive.by_index_raw(i).map_err(damaged)?;
        if member.is_dir() {
            continue;
        }
        let text = String::from_utf8_lossy(member.name_raw()).into_owned();
        let name = PathBuf::from(&text);
        let shown = path.join(&name);
        // Finder of macOS adds a twin of every file.
        let hidden = |c: std::path::Component<'_>| {
            let name = c.as_os_str().as_encoded_bytes();
            name.starts_with(b".") || name == b"__MACOSX"
        };
        if name.components().any(hidden) {
            report.leave("hidden files", &shown);
            continue;
        }
        if !is_picture(&name) {
            report.leave(left_out(&name), &shown);
            continue;
        }
        let (at, len) = (member.data_start().unwrap_or(u64::MAX), member.compressed_size());
        let packing = match member.compression() {
            _ if member.encrypted() => Err("encryption"),
            CompressionMethod::Stored => Ok(Packing::Stored { crc: member.crc32() }),
            CompressionMethod::Deflated => Ok(Packing::Deflated { len: member.size(), crc: member.crc32() }),
            _ => Err("this packing"),
        };
        let packing =
            packing.map_err(|what| Origin(&shown).unsupported(at, what, "pack it plain or by deflate"))?;
        let claim = member.size();
        if at.checked_add(len).is_none_or(|end| end > length) || claim > len.saturating_mul(DEFLATE_RATIO) {
            let found = format!("{claim} bytes packed into {len} at {at}");
            return Err(Origin(&shown).format(
                at,
                "the member",
                found,
                format!("inside of the {length} bytes"),
            ));
        }
        let place = Place::Range { file: shared.clone(), name: text.into(), at, len, packing };
        members.push((name, place));
    }
    if members.is_empty() {
        let left = report.left_out.first().map_or("", |l| l.what.as_str());
        let found =
            if left.is_empty() { "empty".to_string() } else { format!("without pictures, only {left}") };
        return Err(Origin(path).format(
            0,
            "the zip archive",
            found,
            "pictures; arrays are read from an .npz",
        ));
    }
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let (names, places): (Vec<PathBuf>, Vec<Option<Place>>) =
        members.into_iter().map(|(n, p)| (n, Some(p))).unzip();
    let layout = layout::arrange(path, &names, options.splits, &mut report)?;
    Pictures::parts(places, layout, report, options)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Cursor, Write};

    use ::zip::ZipWriter;
    use ::zip::write::SimpleFileOptions;
    use image::GrayImage;
    use proptest::prelude::*;

    use super::*;

    fn archive(method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, v) in [("set/train/b/2.png", 2), ("set/train/a/1.png", 1), ("set/test/a/3.png", 3)] {
            let mut png = Cursor::new(Vec::new());
            GrayImage::from_pixel(2, 1, [v].into()).write_to(&mut png, image::ImageFormat::Png).unwrap();
            zip.start_file(name, options).unwrap();
            zip.write_all(png.get_ref()).unwrap();
        }
        zip.start_file("__MACOSX/set/._1.png", options).unwrap();
        zip.finish().unwrap().into_inner()
    }

    fn open(bytes: &[u8]) -> Result<Parts<Pictures>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        std::fs::write(&path, bytes).unwrap();
        let parts = parts(&path, &FolderOptions::default())?;
        // Read while the file is there.
        parts.training.read()?;
        Ok(parts)
    }

    #[test]
    fn folders_inside_are_splits_and_classes() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.zip");
            std::fs::write(&path, archive(method)).unwrap();
            let set = parts(&path, &FolderOptions::default()).unwrap();
            let (train, held) = (set.training.read().unwrap(), set.held_out.unwrap().read().unwrap());
            assert_eq!(
                (train.bytes(), train.class_names()),
                (&[1, 1, 2, 2][..], &["a".into(), "b".into()][..])
            );
            assert_eq!((held.bytes(), held.labels().unwrap()), (&[3, 3][..], &[0][..]));
            assert_eq!(set.report.left_out[0].what, "hidden files");
        }
    }

    proptest! {
        #[test]
        fn damage_anywhere_never_panics(at in 0.0f64..1.0, byte in any::<u8>(), deflated in any::<bool>()) {
            let method = if deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
            let mut bytes = archive(method);
            let at = (at * bytes.len() as f64) as usize;
            let _ = open(&bytes[..at]);
            bytes[at] = byte;
            let _ = open(&bytes);
        }
    }
}
