//! One packed picture as planes of bytes, and what the first picture of a set settles for all others.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::error::UnsupportedErrorKind;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

use crate::error::Origin;
use crate::npy::{Npy, NpyValues};
use crate::{DataError, Result};

/// No picture packs more than this many pixels into a byte (a blank one-bit png has 8 × 1032).
const PIXELS_A_BYTE: u64 = 1 << 14;
/// Most pixels of a picture, whatever the length of its file: no camera's picture has more, and what a small file can state
/// would take gigabytes.
const MOST_PIXELS: u64 = 1 << 26;

/// What colours the images of the set have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// As the first picture. Among coloured ones, grey pictures get three equal channels; a coloured one among grey ones is
    /// an error, but where the whole set is read at once, which then has three channels.
    #[default]
    AsFirst,
    /// One channel; coloured pictures become luma (299 R + 587 G + 114 B) / 1000, as in PIL.
    Grey,
    /// Three channels; grey pictures get three equal ones.
    Rgb,
}

/// Whether words such as `train` and `test` in the names of folders and files tell parts of the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Splits {
    /// They do; where a word could as well be a class, that is an error.
    #[default]
    Told,
    /// They do not: every folder is a class.
    Ignored,
    /// The set is held out as it is: clear parts are told apart, other words are nothing.
    HeldOut,
}

/// How pictures become images, and which of a set are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderOptions {
    /// What colours the images have.
    pub channels: Channels,
    /// Resize every picture to this `(H, W)`, stretched to fit, by the bilinear filter of
    /// [`resize`](crate::resize). Without it all pictures must have the same size.
    pub resize: Option<(usize, usize)>,
    /// What words in names tell.
    pub splits: Splits,
}

/// Endings of pictures that the image library reads here, and of arrays that are pictures.
pub(crate) const ENDINGS: [&str; 16] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "gif", "bmp", "dib", "ppm", "pgm", "pbm", "pnm", "pam", "webp",
    "tif", "tiff",
];

/// Endings of pictures that are not read.
const UNREAD: [&str; 20] = [
    "heic", "heif", "avif", "jxl", "jp2", "j2k", "tga", "ico", "exr", "hdr", "psd", "svg", "pcx", "qoi",
    "dng", "cr2", "nef", "arw", "dcm", "raw",
];

/// What a file is that is left out of a set of pictures.
pub(crate) fn left_out(name: &Path) -> &'static str {
    let ending = name.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match UNREAD.contains(&ending.as_str()) || ENDINGS.contains(&ending.as_str()) {
        true => "pictures in formats that are not read (convert them to png)",
        false => "files that are no pictures",
    }
}

/// Whether a name ends as a picture does, in letters of any case; those of features that are off are not pictures.
pub(crate) fn is_picture(name: &Path) -> bool {
    let Some(ending) = name.extension().and_then(|e| e.to_str()) else { return false };
    let ending = ending.to_ascii_lowercase();
    match ending.as_str() {
        "webp" => cfg!(feature = "webp"),
        "tif" | "tiff" => cfg!(feature = "tiff"),
        other => ENDINGS.contains(&other),
    }
}

/// `(H, W)`, whether it is coloured, and the values in rows of pixels: what a packed picture holds.
enum Decoded {
    Picture(DynamicImage),
    /// Planes `(C, H, W)` of an array.
    Planes(usize, Vec<u8>),
}

impl Decoded {
    fn colour(&self) -> bool {
        match self {
            Decoded::Picture(p) => p.color().has_color(),
            Decoded::Planes(c, _) => *c == 3,
        }
    }

    /// The picture as planes `(1, H, W)` or `(3, H, W)`.
    fn planes(self, grey: bool) -> Vec<u8> {
        match (self, grey) {
            (Decoded::Picture(p), true) if !p.color().has_color() => p.to_luma8().into_raw(),
            (Decoded::Picture(p), true) => {
                p.to_rgb8().into_raw().chunks_exact(3).map(|p| luma(p[0], p[1], p[2])).collect()
            }
            (Decoded::Picture(p), false) => {
                let rgb = p.to_rgb8().into_raw();
                (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).copied()).collect()
            }
            (Decoded::Planes(3, v), true) => {
                let n = v.len() / 3;
                (0..n).map(|i| luma(v[i], v[n + i], v[2 * n + i])).collect()
            }
            (Decoded::Planes(1, v), false) => v.repeat(3),
            (Decoded::Planes(_, v), _) => v,
        }
    }
}

/// What the first picture settles for all others.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    options: FolderOptions,
    /// The first picture, to name it in errors, with its size and whether it is coloured.
    first: (PathBuf, (usize, usize), bool),
    /// `(C, H, W)` of every image.
    pub shape: (usize, usize, usize),
}

impl Gauge {
    /// The gauge of a first picture, and its values; `path` names it in errors.
    pub fn of(raw: &[u8], path: &Path, options: &FolderOptions) -> Result<(Self, Vec<u8>)> {
        let (size, picture) = decode(raw, path)?;
        let colour = picture.colour();
        let grey = match options.channels {
            Channels::AsFirst => !colour,
            other => other == Channels::Grey,
        };
        let (h, w) = options.resize.unwrap_or(size);
        if h == 0 || w == 0 {
            return Err(DataError::mismatch("option size", format!("({h}, {w})"), "(H, W) above 0"));
        }
        let shape = (if grey { 1 } else { 3 }, h, w);
        let gauge = Gauge { options: *options, first: (path.to_path_buf(), size, colour), shape };
        let values = gauge.values(size, picture);
        Ok((gauge, values))
    }

    /// The values `(C, H, W)` of another picture.
    pub fn take(&self, raw: &[u8], path: &Path) -> Result<Vec<u8>> {
        let (size, picture) = decode(raw, path)?;
        let colour = picture.colour();
        let (first, first_size, first_colour) = &self.first;
        if self.options.resize.is_none() && size != *first_size {
            let what = format!("{}: the size of the picture", path.display());
            let expected = format!(
                "{} as {}, or set size = [height, width] to resize all",
                text(*first_size),
                first.display()
            );
            return Err(DataError::mismatch(what, text(size), expected));
        }
        if self.options.channels == Channels::AsFirst && colour && !first_colour {
            let expected = format!(
                "grey as {}, or set colour = true for three channels of all, grey = true for one",
                first.display()
            );
            return Err(DataError::mismatch(
                format!("{}: the picture", path.display()),
                "coloured",
                expected,
            ));
        }
        Ok(self.values(size, picture))
    }

    /// The gauge of the same set in three channels, unless one channel is asked for.
    pub fn in_colour(&self) -> Self {
        let mut gauge = self.clone();
        if gauge.options.channels == Channels::AsFirst {
            gauge.options.channels = Channels::Rgb;
            gauge.shape.0 = 3;
        }
        gauge
    }

    fn values(&self, size: (usize, usize), picture: Decoded) -> Vec<u8> {
        let planes = picture.planes(self.shape.0 == 1);
        match self.options.resize {
            Some(to) if to != size => super::resize::bilinear(&planes, size, to),
            _ => planes,
        }
    }
}

fn text((h, w): (usize, usize)) -> String {
    format!("{h} x {w} (H x W)")
}

/// `(H, W)` and the picture; the claimed size is compared with the file's length before decoding.
fn decode(raw: &[u8], path: &Path) -> Result<((usize, usize), Decoded)> {
    if raw.starts_with(b"\x93NUMPY") {
        return array(raw, path);
    }
    let damaged = |e: ImageError| {
        let foreign = crate::foreign::what_is(&raw[..raw.len().min(crate::foreign::HEAD)], path)
            .filter(|f| !f.what.ends_with("picture"));
        let (found, wanted) = match (foreign, &e) {
            (Some(foreign), _) => (foreign.to_string(), "a sound picture"),
            (None, ImageError::Unsupported(u)) if !matches!(u.kind(), UnsupportedErrorKind::Format(_)) => {
                (format!("of a sort that is not read ({e})"), "another sort; save it as png")
            }
            (None, _) => (format!("unreadable ({e})"), "a sound picture"),
        };
        Origin(path).format(0, "the picture", found, wanted)
    };
    if let Some((ends, wanted)) = super::ends::truncated(raw) {
        let item = "the end of the picture";
        return Err(Origin(path).format(ends, item, "missing: the file is truncated", wanted));
    }
    if super::tiff::states_more_than_it_holds(raw) {
        let held = format!("what a file of {} bytes can hold", raw.len());
        return Err(Origin(path).format(0, "a tag", "more values than bytes", held));
    }
    let reader = ImageReader::new(Cursor::new(raw));
    let reader = reader.with_guessed_format().map_err(DataError::io(path, "read"))?;
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (w, h) = decoder.dimensions();
    let pixels = u64::from(w) * u64::from(h);
    if pixels > (raw.len() as u64).saturating_mul(PIXELS_A_BYTE) {
        return Err(Origin(path).format(
            0,
            "the claimed size",
            text((h as usize, w as usize)),
            format!("what a file of {} bytes can hold", raw.len()),
        ));
    }
    if pixels > MOST_PIXELS {
        let size = text((h as usize, w as usize));
        let most = format!("at most {MOST_PIXELS} pixels; make it smaller");
        return Err(Origin(path).format(0, "the size of the picture", size, most));
    }
    // Decoders take as much again for what lies between packed bytes and pixels.
    let mut limits = Limits::default();
    limits.max_alloc = Some(pixels.saturating_mul(32).saturating_add(1 << 20));
    decoder.set_limits(limits).map_err(damaged)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    Ok(((h as usize, w as usize), Decoded::Picture(picture)))
}

/// A picture as an array of bytes, as CelebA-HQ is distributed, too: `(1, C, H, W)`, `(C, H, W)`, `(H, W, C)` or
/// `(H, W)`.
fn array(raw: &[u8], path: &Path) -> Result<((usize, usize), Decoded)> {
    let npy = Npy::parse(raw, &path.to_string_lossy())?;
    let dims = match npy.dims() {
        [1, rest @ ..] if rest.len() == 3 => rest.to_vec(),
        dims => dims.to_vec(),
    };
    let wrong = || {
        let found = format!("shape {:?}", npy.dims());
        let expected =
            "one picture of bytes: (C, H, W), (1, C, H, W), (H, W, C) or (H, W) with 1 or 3 channels";
        DataError::mismatch(format!("{}: the array", path.display()), found, expected)
    };
    let NpyValues::U8(bytes) = npy.values() else { return Err(wrong()) };
    if bytes.is_empty() {
        return Err(wrong());
    }
    match dims[..] {
        [c @ (1 | 3), h, w] => Ok(((h, w), Decoded::Planes(c, bytes.clone()))),
        [h, w, c @ (1 | 3)] => {
            let planes = (0..c).flat_map(|p| bytes.iter().skip(p).step_by(c).copied()).collect();
            Ok(((h, w), Decoded::Planes(c, planes)))
        }
        [h, w] => Ok(((h, w), Decoded::Planes(1, bytes.clone()))),
        _ => Err(wrong()),
    }
}

/// PIL's conversion to grey: (299 R + 587 G + 114 B) / 1000 in 16-bit fixed point, rounded.
pub fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use image::{GrayImage, ImageFormat, RgbImage};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grey_weights_are_pils_to_the_last_bit() {
        // Image.new("RGB", (1, 1), p).convert("L").getpixel((0, 0)), Pillow 11.3.0.
        let golden = [
            ([255, 255, 255], 255),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([1, 1, 1], 1),
            ([3, 250, 77], 156),
            ([254, 253, 7], 225),
        ];
        for ([r, g, b], expected) in golden {
            assert_eq!(luma(r, g, b), expected, "{r} {g} {b}");
        }
    }

    fn packed(format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        RgbImage::from_fn(8, 6, |x, y| [(x * y) as u8, x as u8, y as u8].into())
            .write_to(&mut out, format)
            .unwrap();
        out.into_inner()
    }

    fn png() -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        GrayImage::from_fn(8, 8, |x, y| [(x * y) as u8].into()).write_to(&mut out, ImageFormat::Png).unwrap();
        out.into_inner()
    }

    #[test]
    fn a_huge_claim_is_refused_before_decoding() {
        let mut bytes = png();
        // Width and height of the IHDR chunk, and its checksum.
        bytes[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let text = decode(&bytes, Path::new("f")).err().unwrap().to_string();
        assert!(text.contains("the claimed size is 32768 x 32768"), "{text}");
    }

    #[test]
    fn a_picture_of_more_pixels_than_a_camera_has_is_refused_before_decoding() {
        let mut bytes = png();
        // 16,384 x 8,192, in a file that is long enough for such a claim.
        bytes[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x20, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        bytes.resize(1 << 14, 0);
        let text = decode(&bytes, Path::new("f")).err().unwrap().to_string();
        assert!(text.contains("8192 x 16384") && text.contains("at most 67108864 pixels"), "{text}");
    }

    #[test]
    fn an_array_is_a_picture_in_each_of_its_layouts() {
        let file = |shape: &str, n: usize| {
            let mut out = b"\x93NUMPY\x01\x00".to_vec();
            let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
            out.extend((header.len() as u16).to_le_bytes());
            out.extend(header.as_bytes());
            out.extend(0..n as u8);
            out
        };
        let planes = |shape: &str, n| Gauge::of(&file(shape, n), Path::new("f"), &FolderOptions::default());
        let (gauge, values) = planes("(1, 3, 2, 5)", 30).unwrap();
        assert_eq!((gauge.shape, values[29]), ((3, 2, 5), 29));
        let (gauge, values) = planes("(2, 5, 3)", 30).unwrap();
        assert_eq!((gauge.shape, &values[..3]), ((3, 2, 5), &[0, 3, 6][..]));
        assert_eq!(planes("(2, 5)", 10).unwrap().0.shape, (1, 2, 5));
        assert!(planes("(2, 3, 5)", 30).err().unwrap().to_string().contains("(H, W, C)"));
        let grey = FolderOptions { channels: Channels::Grey, ..Default::default() };
        let (gauge, values) = Gauge::of(&file("(3, 1, 1)", 3), Path::new("f"), &grey).unwrap();
        assert_eq!((gauge.shape, values), ((1, 1, 1), vec![luma(0, 1, 2)]));
    }

    proptest! {
        #[test]
        fn damage_anywhere_never_panics(at in 0.0f64..1.0, byte in any::<u8>(), which in 0usize..5) {
            let mut bytes = match which {
                0 => png(),
                1 => packed(ImageFormat::Bmp),
                2 => packed(ImageFormat::Gif),
                3 => packed(ImageFormat::Pnm),
                _ => packed(ImageFormat::Jpeg),
            };
            let at = (at * bytes.len() as f64) as usize;
            let _ = decode(&bytes[..at], Path::new("f"));
            bytes[at] = byte;
            let _ = decode(&bytes, Path::new("f"));
        }
    }
}
