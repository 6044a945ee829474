//! Whether a packed picture ends where its format says: decoders fill what a truncated file lacks with one value.
//!
//! Source: ITU-T T.81 B.1 (markers of JPEG); RFC 9649 2.4 (the size in the header of WebP). Decoders of the other formats
//! refuse truncated files themselves.

/// Where a JPEG or WebP file ends before its end, and what stands there in a whole one; `None` for other files, and for those
/// that are damaged in another way.
pub(super) fn truncated(raw: &[u8]) -> Option<(u64, String)> {
    let missing = match raw {
        [0xff, 0xd8, ..] => jpeg_ends(raw)
            .then(|| "the end marker of JPEG; fetch the picture again or leave it out".to_string()),
        [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'E', b'B', b'P', ..] => {
            let length = 8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
            let wanted = format!("the {length} bytes that it says; fetch the picture again or leave it out");
            ((raw.len() as u64) < length).then_some(wanted)
        }
        _ => None,
    };
    missing.map(|wanted| (raw.len() as u64, wanted))
}

/// Whether a JPEG file is over before the marker of the end of its (first) picture.
fn jpeg_ends(raw: &[u8]) -> bool {
    // Of the next marker at or behind a place: its code and where it ends. In entropy-coded data 0xff00 is a byte, and markers
    // of restart belong to them.
    let next = |mut at: usize| loop {
        at += raw.get(at..)?.iter().position(|b| *b == 0xff)?;
        match *raw.get(at + 1)? {
            0xff => at += 1,
            0x00 | 0x01 | 0xd0..=0xd7 => at += 2,
            code => return Some((code, at + 2)),
        }
    };
    let mut at = 2;
    loop {
        match next(at) {
            None => return true,
            Some((0xd9, _)) => return false,
            Some((_, length)) => {
                // A segment may hold anything, such as a small picture with an end of its own.
                let Some([high, low]) = raw.get(length..length + 2) else { return true };
                at = length + usize::from(u16::from_be_bytes([*high, *low])).max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;
    use std::path::Path;

    use image::{ImageFormat, RgbImage};

    use super::*;
    use crate::pictures::decode::{FolderOptions, Gauge};

    fn packed(format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        // Values without an order, so that the pixels are most of the file.
        let value = |x: u32, y: u32, c: u32| ((x * 7919 + y * 104_729 + c * 31) % 251) as u8;
        let picture =
            RgbImage::from_fn(24, 24, |x, y| [value(x, y, 0), value(x, y, 1), value(x, y, 2)].into());
        picture.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    fn read(bytes: &[u8]) -> crate::Result<Vec<u8>> {
        Gauge::of(bytes, Path::new("a.picture"), &FolderOptions::default()).map(|(_, values)| values)
    }

    #[test]
    fn a_truncated_picture_of_any_format_is_an_error() {
        let formats = [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::Pnm,
            #[cfg(feature = "webp")]
            ImageFormat::WebP,
            #[cfg(feature = "tiff")]
            ImageFormat::Tiff,
        ];
        for format in formats {
            let whole = packed(format);
            assert!(read(&whole).is_ok(), "{format:?}");
            for keep in [whole.len() / 2, whole.len() * 3 / 4, whole.len() * 9 / 10, whole.len() - 12] {
                assert!(read(&whole[..keep]).is_err(), "{format:?}, {keep} of {} bytes", whole.len());
            }
        }
    }

    #[test]
    fn a_jpeg_without_its_end_marker_is_named_and_what_follows_the_marker_is_nothing() {
        let whole = packed(ImageFormat::Jpeg);
        for cut in [1, 2, 3, 40] {
            let text = read(&whole[..whole.len() - cut]).unwrap_err().to_string();
            assert!(text.contains("a.picture") && text.contains("truncated"), "{text}");
        }
        let values = read(&whole).unwrap();
        assert_eq!(read(&[&whole[..], b"appended"].concat()).unwrap(), values);
        // A small picture in a segment has an end of its own, which is not that of the file.
        let inner = [&[0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9][..]].concat();
        let with = [&whole[..2], &inner, &whole[2..]].concat();
        assert_eq!(read(&with).unwrap(), values);
        assert!(truncated(&with[..with.len() - 2]).is_some());
    }

    #[test]
    fn a_webp_shorter_than_it_says_is_truncated() {
        let file = |held: usize| [b"RIFF\x10\0\0\0WEBP", &vec![0; held][..]].concat();
        assert!(truncated(&file(12)).is_none() && truncated(&file(13)).is_none());
        assert_eq!(truncated(&file(11)).unwrap().0, 23);
        assert!(truncated(b"\x89PNG").is_none());
    }
}
