//! TensorFlow's record files: length, checksum, bytes, checksum, with CRC-32C (Castagnoli).

use std::io::Read;

/// Remainders of one byte under the reflected polynomial 0x82F63B78 (RFC 3720, B.4).
const TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut r = i as u32;
        let mut bit = 0;
        while bit < 8 {
            r = (r >> 1) ^ (0x82F6_3B78 & (r & 1).wrapping_neg());
            bit += 1;
        }
        table[i] = r;
        i += 1;
    }
    table
};

/// Larger records are taken for damage: a claimed length must not decide how much memory is used.
const LONGEST: u64 = 1 << 28;

/// CRC-32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |r, b| (r >> 8) ^ TABLE[((r ^ u32::from(*b)) & 255) as usize])
}

/// The checksum as it stands in files: turned and moved, so that records of records stay sound.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// Appends `bytes` as one record.
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(bytes);
    out.extend(masked(bytes).to_le_bytes());
}

/// What comes next in a file of records.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// A sound record.
    Record(Vec<u8>),
    /// The end, or a record that a crash cut short.
    End,
    /// A record that is all there and whose checksum is another one.
    Damaged,
}

/// The next record.
///
/// # Errors
/// If reading fails.
pub(crate) fn next(from: &mut impl Read) -> std::io::Result<Next> {
    let mut piece = |n: u64| -> std::io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        from.take(n).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 == n).then_some(bytes))
    };
    let Some(head) = piece(12)? else { return Ok(Next::End) };
    let (mut length, mut sum) = ([0; 8], [0; 4]);
    length.copy_from_slice(&head[..8]);
    sum.copy_from_slice(&head[8..]);
    let n = u64::from_le_bytes(length);
    if u32::from_le_bytes(sum) != masked(&length) || n > LONGEST {
        return Ok(Next::Damaged);
    }
    let Some(mut bytes) = piece(n + 4)? else { return Ok(Next::End) };
    let end = bytes.split_off(n as usize);
    Ok(if end == masked(&bytes).to_le_bytes() { Next::Record(bytes) } else { Next::Damaged })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn published_checksums() {
        // RFC 3720 (iSCSI), appendix B.4, and the check value of the catalogue of CRCs.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xff; 32]), 0x62A8_AB43);
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        assert_eq!((crc32c(&up), crc32c(&down)), (0x46DD_794E, 0x113F_DB5C));
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        let command = [
            0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0,
            0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(crc32c(&command), 0xD996_3A56);
    }

    #[test]
    fn records_come_back_and_damage_ends_the_file() {
        let mut file = Vec::new();
        append(&mut file, b"one");
        append(&mut file, b"");
        append(&mut file, b"three");
        let all = |mut bytes: &[u8]| {
            let mut all = Vec::new();
            while let Next::Record(r) = next(&mut bytes).unwrap() {
                all.push(r);
            }
            all
        };
        assert_eq!(all(&file), [&b"one"[..], b"", b"three"]);
        for cut in 0..file.len() {
            // 19 bytes for "one", 16 for the empty one.
            assert_eq!(
                all(&file[..cut]).len(),
                usize::from(cut >= 19) + usize::from(cut >= 35),
                "cut at {cut}"
            );
            let mut bent = file.clone();
            bent[cut] ^= 4;
            assert!(all(&bent).len() < 3, "byte {cut}");
        }
    }
}
