//! Records of TFRecord files: messages `tf.train.Example`, of which the picture is taken, and their checksums.

use std::path::Path;

use crate::Result;
use crate::error::Origin;

/// Names of features that hold a picture, the likeliest first.
const PICTURES: [&str; 6] = ["image/encoded", "image_raw", "image", "img", "data", "png"];

/// The picture of a record and its checksum: packed, or as an `.npy` array.
pub(super) fn picture(raw: &[u8], shown: &Path) -> Result<Vec<u8>> {
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
pub(super) fn single_bytes(feature: &[u8]) -> Option<&[u8]> {
    let (_, list) = fields(feature)?.into_iter().find(|(field, _)| *field == 1)?;
    match fields(list)?[..] {
        [(1, bytes)] => Some(bytes),
        _ => None,
    }
}

/// The values of a list of whole numbers, packed together or one by one.
pub(super) fn whole_numbers(feature: &[u8]) -> Option<Vec<u64>> {
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
pub(super) fn masked(bytes: &[u8]) -> u32 {
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(masked(&[0; 32]), 0x8a91_36aau32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    proptest! {
        #[test]
        fn random_records_never_panic(record in prop::collection::vec(any::<u8>(), 0..80)) {
            let raw = [&record[..], &masked(&record).to_le_bytes()].concat();
            let _ = picture(&raw, Path::new("f"));
        }
    }
}
