//! TFRecord files of `tf.train.Example`, as CelebA-HQ and other sets of StyleGAN are distributed.
//!
//! Source: TensorFlow's `record_reader.cc` (length, masked CRC-32C, data, CRC) and `example.proto`. A record has its
//! class (`image/class/label`, `label`, …) and its picture, packed (`image/encoded`, `image`, …) or as bytes (`data`) with a `shape` of channels, rows and columns.

mod class;

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use class::Class;

use super::decode::{FolderOptions, Splits};
use super::example::masked;
use super::index::{Packing, Pictures, Place};
use super::layout::Layout;
use crate::error::Origin;
use crate::sets::report::{Parts, Report};
use crate::split::{self, SplitName};
use crate::{DataError, Result};

/// The pictures of these files with their classes; of several, those whose names tell a held-out split are held out.
///
/// # Errors
/// If a file is no TFRecord file or is truncated, or the first record has no picture.
pub fn parts(files: &[impl AsRef<Path>], options: &FolderOptions) -> Result<Parts<Pictures>> {
    let (mut places, mut layout, mut report) = (Vec::new(), Layout::default(), Report::default());
    let mut texts = BTreeMap::new();
    for (file, part) in files.iter().zip(split::of_files(files, options.splits != Splits::Ignored)) {
        let path = file.as_ref();
        if part == SplitName::Extra {
            report.leave("files of a further split", path);
            continue;
        }
        let records = records(path)?;
        let rows = places.len()..places.len() + records.len();
        let (into, counts) = match part {
            SplitName::HeldOut => (&mut layout.held_out, &mut report.held_out),
            _ => (&mut layout.training, &mut report.training),
        };
        into.extend(rows);
        counts.push((path.to_path_buf(), records.len()));
        for (place, class) in records {
            let label = class.number.and_then(|n| u32::try_from(n).ok());
            if let (Some(label), Some(text)) = (label, class.text) {
                texts.entry(label).or_insert(text);
            }
            layout.labels.push(label);
            places.push(Some(place));
        }
    }
    if let Some(at) =
        layout.labels.iter().position(Option::is_none).filter(|_| layout.labels.iter().any(Option::is_some))
    {
        report.notes.push(format!("the record of picture {at} has no class from 0 on, so none is taken"));
        layout.labels = vec![None; places.len()];
    }
    // Names, where every class has one.
    let classes = layout.labels.iter().flatten().max().map_or(0, |most| *most as usize + 1);
    if classes > 0 && texts.len() == classes {
        layout.classes = texts.into_values().collect();
    }
    Pictures::parts(places, layout, report, options)
}

/// Places of the records of a file with their classes; pictures are passed over.
fn records(path: &Path) -> Result<Vec<(Place, Class)>> {
    let mut file = crate::regular::open(path)?;
    let length = file.metadata().map_err(DataError::io(path, "open"))?.len();
    let shared = Arc::<Path>::from(path);
    let (mut places, mut at) = (Vec::new(), 0u64);
    while at < length {
        let mut head = Vec::new();
        file.seek(SeekFrom::Start(at)).map_err(DataError::io(path, "read"))?;
        (&file).take(12).read_to_end(&mut head).map_err(DataError::io(path, "read"))?;
        let parted = head.split_first_chunk::<8>().zip(head.last_chunk::<4>().filter(|_| head.len() == 12));
        let sound = parted.filter(|((len, _), crc)| masked(*len) == u32::from_le_bytes(**crc));
        let Some(((len, _), _)) = sound else {
            let foreign = (at == 0).then(|| crate::foreign::of_file(path)).flatten();
            let found = foreign.map_or("of another checksum".to_string(), |f| f.to_string());
            return Err(Origin(path).format(
                at,
                "the length of a record",
                found,
                "a sound TFRecord file, not packed",
            ));
        };
        let len = u64::from_le_bytes(*len);
        let end = (at + 12).checked_add(len).and_then(|end| end.checked_add(4)).filter(|end| *end <= length);
        let Some(end) = end else {
            let found = format!("{len} bytes");
            return Err(Origin(path).format(
                at,
                "the length of a record",
                found,
                format!("inside of {length} bytes"),
            ));
        };
        let name = format!("record {}", places.len()).into();
        let class = class::of(&mut file, at + 12, len).map_err(DataError::io(path, "read"))?;
        let packing = Packing::Example;
        let place = Place::Range { file: shared.clone(), name, at: at + 12, len: len + 4, packing };
        places.push((place, class));
        at = end;
    }
    if places.is_empty() {
        return Err(Origin(path).format(0, "the TFRecord file", "empty", "at least one record"));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, value.len() as u8][..], value].concat()
    }

    /// A record of a picture of 1×2 with the grey values 7 and 8.
    fn file() -> Vec<u8> {
        let shape = field(3, &field(1, &[1, 1, 2]));
        let entry =
            |name: &str, feature: &[u8]| field(1, &[field(1, name.as_bytes()), field(2, feature)].concat());
        let all = [entry("shape", &shape), entry("data", &field(1, &field(1, &[7, 8])))].concat();
        let record = field(1, &all);
        let len = (record.len() as u64).to_le_bytes();
        [&len[..], &masked(&len).to_le_bytes(), &record, &masked(&record).to_le_bytes()].concat()
    }

    fn open(bytes: &[u8]) -> Result<crate::ImageSet> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tfrecords");
        std::fs::write(&path, bytes).unwrap();
        parts(&[path], &FolderOptions::default())?.training.read()
    }

    #[test]
    fn a_picture_as_bytes_with_a_shape_is_read_and_damage_found() {
        let set = open(&[file(), file()].concat()).unwrap();
        assert_eq!((set.shape(), set.bytes()), ((1, 1, 2), &[7, 8, 7, 8][..]));
        let mut bytes = file();
        let n = bytes.len();
        bytes[n - 6] ^= 1;
        assert!(open(&bytes).unwrap_err().to_string().contains("checksum"));
        assert!(open(b"hello, world").unwrap_err().to_string().contains("length of a record"));
    }

    proptest! {
        #[test]
        fn damage_anywhere_never_panics(at in 0.0f64..1.0, byte in any::<u8>()) {
            let mut bytes = file();
            let at = (at * bytes.len() as f64) as usize;
            let _ = open(&bytes[..at]);
            bytes[at] = byte;
            let _ = open(&bytes);
        }
    }
}
