//! Tar archives of pictures: WebDataset shards, where files of one name before the first dot are one sample, and
//! plain archives of folders.
//!
//! Source: POSIX.1-2017 `pax` (ustar headers, extended headers `x` and `g`), GNU tar (long names `L`); WebDataset 1.0.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::{FolderOptions, Splits, is_picture};
use super::index::{Packing, Pictures, Place};
use super::layout;
use crate::error::Origin;
use crate::sets::report::{Parts, Report};
use crate::split::{self, SplitName};
use crate::{DataError, Result};

const BLOCK: u64 = 512;
/// Names and labels are texts of a few bytes.
const LONGEST_TEXT: u64 = 1 << 16;

/// The pictures of one archive or of several, which are shards of one set in the order of their names.
///
/// Members `KEY.cls` are the classes of the pictures `KEY.png` (or another ending), as WebDataset writes them. Without
/// them, folders inside are splits and classes as in [`folder`](super::folder). Of several shards, those whose names
/// tell a held-out split are held out.
///
/// # Errors
/// If a file is no tar archive or is truncated, there are no pictures, or some have a class and others none.
pub fn parts(files: &[impl AsRef<Path>], options: &FolderOptions) -> Result<Parts<Pictures>> {
    let mut report = Report::default();
    let (mut places, mut training, mut held_out, mut labels) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut names = Vec::new();
    let told = split::of_files(files, options.splits != Splits::Ignored);
    for (file, part) in files.iter().zip(told) {
        let file = file.as_ref();
        if part == SplitName::Extra {
            report.leave("archives of a further split", file);
            continue;
        }
        let held = part == SplitName::HeldOut;
        let before = places.len();
        for sample in samples(file, &mut report)? {
            if held {
                held_out.push(places.len())
            } else {
                training.push(places.len())
            }
            labels.push(sample.label);
            names.push(sample.name);
            places.push(Some(sample.picture));
        }
        let part = if held { &mut report.held_out } else { &mut report.training };
        part.push((file.to_path_buf(), places.len() - before));
    }
    if labels.iter().all(Option::is_none) && files.len() == 1 {
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by(|a, b| names[*a].cmp(&names[*b]));
        let sorted: Vec<PathBuf> = order.iter().map(|i| names[*i].clone()).collect();
        let places = order.iter().map(|i| places[*i].take()).collect();
        report.training.clear();
        let layout = layout::arrange(files[0].as_ref(), &sorted, options.splits, &mut report)?;
        return Pictures::parts(places, layout, report, options);
    }
    if let Some(at) = labels.iter().position(Option::is_none).filter(|_| labels.iter().any(Option::is_some)) {
        let what = format!("{}: the class of the picture", names[at].display());
        return Err(DataError::mismatch(what, "missing", "a member .cls for every picture, or for none"));
    }
    if options.splits == Splits::Told {
        let named = files
            .iter()
            .all(|f| split::of_name(&f.as_ref().file_stem().unwrap_or_default().to_string_lossy()).is_some());
        layout::undivided(training.iter().map(|i| &names[*i]), files[0].as_ref(), named)?;
    }
    let layout = layout::Layout { training, held_out, labels, classes: Vec::new() };
    Pictures::parts(places, layout, report, options)
}

struct Sample {
    name: PathBuf,
    picture: Place,
    label: Option<u32>,
}

/// The samples of one archive, in its order.
fn samples(path: &Path, report: &mut Report) -> Result<Vec<Sample>> {
    let mut tar = Reader::open(path)?;
    let shared = Arc::<Path>::from(path);
    let mut samples: Vec<Sample> = Vec::new();
    let mut last_label: Option<(PathBuf, u32)> = None;
    while let Some(Member { name, at, len }) = tar.next()? {
        let hidden = |c: std::path::Component<'_>| c.as_os_str().as_encoded_bytes().starts_with(b"._");
        let shown = path.join(&name);
        if name.components().any(hidden) {
            report.leave("hidden files", &shown);
        } else if is_picture(&name) {
            // WebDataset may put the class before the picture, or after it.
            let label = last_label.take().filter(|(key, _)| *key == key_of(&name)).map(|(_, label)| label);
            let text = name.to_string_lossy().into();
            let picture = Place::Range { file: shared.clone(), name: text, at, len, packing: Packing::None };
            samples.push(Sample { name, picture, label });
        } else if name.extension().is_some_and(|e| e == "cls") {
            let text = tar.text(at, len)?;
            let class = text.trim().parse().map_err(|_| {
                let found = format!("{:?}", text.chars().take(20).collect::<String>());
                Origin(&shown).format(at, "the class", found, "a whole number from 0")
            })?;
            match samples.last_mut().filter(|s| key_of(&s.name) == key_of(&name)) {
                Some(sample) => sample.label = Some(class),
                None => last_label = Some((key_of(&name), class)),
            }
        } else if !name.as_os_str().is_empty() {
            report.leave("members that are no pictures", &shown);
        }
    }
    if samples.is_empty() {
        return Err(Origin(path).format(
            0,
            "the tar archive",
            "without pictures",
            "members that end in jpg, png, webp",
        ));
    }
    Ok(samples)
}

/// Folder and name up to its first dot: what members of one sample share.
fn key_of(name: &Path) -> PathBuf {
    let file = name.file_name().unwrap_or_default().to_string_lossy();
    name.with_file_name(file.split('.').next().unwrap_or_default())
}

struct Member {
    name: PathBuf,
    at: u64,
    len: u64,
}

struct Reader<'a> {
    file: File,
    length: u64,
    next: u64,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = crate::regular::open(path)?;
        let length = file.metadata().map_err(DataError::io(path, "open"))?.len();
        Ok(Reader { file, length, next: 0, path })
    }

    fn bytes(&mut self, at: u64, len: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.file.seek(SeekFrom::Start(at)).map_err(DataError::io(self.path, "read"))?;
        (&self.file).take(len).read_to_end(&mut out).map_err(DataError::io(self.path, "read"))?;
        if (out.len() as u64) < len {
            let found = format!("{} bytes", out.len());
            return Err(Origin(self.path).format(at, "the tar archive", found, format!("{len} bytes")));
        }
        Ok(out)
    }

    fn text(&mut self, at: u64, len: u64) -> Result<String> {
        if len > LONGEST_TEXT {
            return Err(Origin(self.path).format(
                at,
                "a text of the archive",
                format!("{len} bytes"),
                "a short text",
            ));
        }
        Ok(String::from_utf8_lossy(&self.bytes(at, len)?).into_owned())
    }

    /// The next regular file.
    fn next(&mut self) -> Result<Option<Member>> {
        let (mut long, mut size) = (None, None);
        // One block of zeros or the end of the file ends an archive.
        while self.next + BLOCK <= self.length {
            let at = self.next;
            let head = self.bytes(at, BLOCK)?;
            if head.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            let wrong =
                |item: &str, found: String, wanted: &str| Origin(self.path).format(at, item, found, wanted);
            let sum: u64 = head.iter().map(|b| u64::from(*b)).sum::<u64>()
                - head[148..156].iter().map(|b| u64::from(*b)).sum::<u64>()
                + 8 * u64::from(b' ');
            if number(&head[148..156]) != Some(sum) {
                let foreign = crate::foreign::what_is(&head, self.path).filter(|f| f.what != "a tar archive");
                let found = foreign.map_or("of another checksum".to_string(), |f| f.to_string());
                return Err(wrong(
                    "a header of the tar archive",
                    found,
                    "a sound tar archive that is not packed",
                ));
            }
            let claim = number(&head[124..136]);
            let len = size
                .take()
                .or(claim)
                .ok_or_else(|| wrong("the size of a member", "no number".into(), "a number"))?;
            let start = at + BLOCK;
            if start.checked_add(len).is_none_or(|end| end > self.length) {
                let found = format!("{len} bytes");
                return Err(wrong(
                    "the size of a member",
                    found,
                    &format!("at most {}", self.length - start),
                ));
            }
            self.next = start + len.next_multiple_of(BLOCK);
            match head[156] {
                b'0' | 0 | b'7' => {
                    let name = long.take().unwrap_or_else(|| short_name(&head));
                    return Ok(Some(Member { name: PathBuf::from(name), at: start, len }));
                }
                b'L' => long = Some(self.text(start, len)?.trim_end_matches('\0').to_string()),
                b'x' => {
                    let text = self.text(start, len)?;
                    for record in text.lines() {
                        let entry = record.split_once(' ').and_then(|(_, entry)| entry.split_once('='));
                        match entry {
                            Some(("path", path)) => long = Some(path.to_string()),
                            Some(("size", value)) => size = value.parse().ok(),
                            _ => {}
                        }
                    }
                }
                // Folders, links, and headers for all members.
                _ => (long, size) = (None, None),
            }
        }
        Ok(None)
    }
}

fn short_name(head: &[u8]) -> String {
    let text = |range: std::ops::Range<usize>| {
        let bytes = &head[range];
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let prefix = if &head[257..262] == b"ustar" && head[262] == 0 { text(345..500) } else { String::new() };
    if prefix.is_empty() { text(0..100) } else { format!("{prefix}/{}", text(0..100)) }
}

/// A number of a header: octal in text, or GNU's binary of more than 8 GiB.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let high =
            field[..field.len() - 8].iter().enumerate().all(|(i, b)| *b == if i == 0 { 0x80 } else { 0 });
        let low = field.last_chunk::<8>().map(|b| u64::from_be_bytes(*b));
        return low.filter(|_| high);
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;

    use image::GrayImage;
    use proptest::prelude::*;

    use super::*;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut head = vec![0u8; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        head[156] = b'0';
        head[257..263].copy_from_slice(b"ustar\0");
        head[148..156].copy_from_slice(b"        ");
        let sum: u64 = head.iter().map(|b| u64::from(*b)).sum();
        head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        head.extend(data);
        head.resize(512 + data.len().next_multiple_of(512), 0);
        head
    }

    fn png(v: u8) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        GrayImage::from_pixel(2, 1, [v].into()).write_to(&mut out, image::ImageFormat::Png).unwrap();
        out.into_inner()
    }

    fn open(bytes: &[u8]) -> Result<ImageSet> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, bytes).unwrap();
        parts(&[path], &FolderOptions::default())?.training.read()
    }

    use crate::ImageSet;

    #[test]
    fn samples_of_a_shard_have_their_classes_before_or_after_the_picture() {
        let all = [
            member("000.cls", b"3"),
            member("000.png", &png(1)),
            member("001.jpg.txt", b"passed over"),
            member("002.png", &png(2)),
            member("002.cls", b"5\n"),
        ];
        let set = open(&all.concat()).unwrap();
        assert_eq!((set.bytes(), set.labels().unwrap()), (&[1, 1, 2, 2][..], &[3, 5][..]));
        let text = open(&all[..4].concat()).unwrap_err().to_string();
        assert!(text.contains("002.png: the class of the picture: found missing"), "{text}");
    }

    #[test]
    fn folders_inside_are_classes() {
        let set = open(&[member("b/0.png", &png(1)), member("a/0.png", &png(2))].concat()).unwrap();
        assert_eq!((set.bytes(), set.class_names()), (&[2, 2, 1, 1][..], &["a".into(), "b".into()][..]));
    }

    proptest! {
        #[test]
        fn damage_anywhere_never_panics(at in 0usize..2400, byte in any::<u8>()) {
            let mut bytes = [member("000.png", &png(1)), member("000.cls", b"3")].concat();
            let at = at % bytes.len();
            let _ = open(&bytes[..at]);
            bytes[at] = byte;
            let _ = open(&bytes);
        }
    }
}
