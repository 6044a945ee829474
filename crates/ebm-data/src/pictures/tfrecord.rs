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
use super::index::{Packing, Pictures, Place};
use super::layout::Layout;
use crate::error::Origin;
use crate::sets::report::{Parts, Report};
use crate::split::{self, SplitName};
use crate::{DataError, Result};

/// Names of features that hold a picture, the likeliest first.
const PICTURES: [&str; 6] = ["image/encoded", "image_raw", "image", "img", "data", "png"];

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

/// The picture of a record and its checksum: packed, or as an `.npy` array.
pub(crate) fn picture(raw: &[u8], shown: &Path) -> Result<Vec<u8>> {
    let wrong = |found: &str, expected: &str| Origin(shown).format(0, "the record", found, expected);
    let (record, crc) = raw.split_last_chunk::<4>().ok_or_else(|| wrong("cut", "a checksum at its end"))?;
    if masked(record) != u32::from_le_bytes(*crc) {
        return Err(wrong("of another checksum", "sound bytes; fetch the file again"));
    }
    let features = features(record).ok_or_else(|| wrong("no tf.train.Example", "a sound one"))?;
    let names = || features.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let find = |wanted: &str| features.iter().find(|(name, _)| name == wanted).map(|(_, f)| *f);
    let bytes = PICTURES.iter().find_map(|name| single_bytes(find(name)?));
    let bytes = bytes.ok_or_else(|| {
        wrong(&format!("with the features {}", names()), &format!("one of {}", PICTURES.join(", ")))
    })?;
    let Some(shape) = find("shape").and_then(whole_numbers) else { return Ok(bytes.to_vec()) };
    let product = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    if product != Some(bytes.len() as u64) {
        // A packed picture may have its shape beside it.
        return Ok(bytes.to_vec());
    }
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {:?}, }}", shape)
        .replace('[', "(")
        .replace(']', ")");
    let len = u16::try_from(header.len()).map_err(|_| wrong("of too many sizes", "three"))?;
    Ok([b"\x93NUMPY\x01\x00", &len.to_le_bytes()[..], header.as_bytes(), bytes].concat())
}

/// Names and values of the features of an Example.
fn features(record: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let mut found = Vec::new();
    for (_, features) in fields(record)?.into_iter().filter(|(field, _)| *field == 1) {
        for (_, entry) in fields(features)?.into_iter().filter(|(field, _)| *field == 1) {
            let entry = fields(entry)?;
            let of = |wanted| entry.iter().rev().find(|(field, _)| *field == wanted).map(|(_, v)| *v);
            found.push((String::from_utf8_lossy(of(1)?).into_owned(), of(2).unwrap_or(&[])));
        }
    }
    Some(found)
}

/// The only value of a list of bytes.
fn single_bytes(feature: &[u8]) -> Option<&[u8]> {
    let (_, list) = fields(feature)?.into_iter().find(|(field, _)| *field == 1)?;
    match fields(list)?[..] {
        [(1, bytes)] => Some(bytes),
        _ => None,
    }
}

/// The values of a list of whole numbers, packed together or one by one.
fn whole_numbers(feature: &[u8]) -> Option<Vec<u64>> {
    let (_, mut list) = fields(feature)?.into_iter().find(|(field, _)| *field == 3)?;
    let mut numbers = Vec::new();
    while !list.is_empty() {
        let (tag, rest) = varint(list)?;
        match tag {
            0x08 => {
                let (value, rest) = varint(rest)?;
                numbers.push(value);
                list = rest;
            }
            0x0a => {
                let (len, rest) = varint(rest)?;
                let (mut packed, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                while !packed.is_empty() {
                    let (value, left) = varint(packed)?;
                    numbers.push(value);
                    packed = left;
                }
                list = rest;
            }
            _ => return None,
        }
    }
    Some(numbers)
}

/// Fields of a message that have a length; others are passed over.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let (tag, rest) = varint(message)?;
        message = match tag & 7 {
            0 => varint(rest)?.1,
            1 => rest.get(8..)?,
            2 => {
                let (len, rest) = varint(rest)?;
                let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                found.push((tag >> 3, value));
                rest
            }
            5 => rest.get(4..)?,
            _ => return None,
        };
    }
    Some(found)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// CRC-32C (Castagnoli), masked as TensorFlow stores it.
fn masked(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let (mut c, mut k) = (i as u32, 0);
            while k < 8 {
                c = if c & 1 == 1 { 0x82f6_3b78 ^ (c >> 1) } else { c >> 1 };
                k += 1;
            }
            table[i] = c;
            i += 1;
        }
        table
    };
    let crc = !bytes.iter().fold(!0u32, |c, b| TABLE[((c ^ u32::from(*b)) & 255) as usize] ^ (c >> 8));
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
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
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(masked(&[0; 32]), 0x8a91_36aau32.rotate_right(15).wrapping_add(0xa282_ead8));
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
        fn random_records_never_panic(record in prop::collection::vec(any::<u8>(), 0..80)) {
            let raw = [&record[..], &masked(&record).to_le_bytes()].concat();
            let _ = picture(&raw, Path::new("f"));
        }

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
