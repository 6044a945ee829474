//! Folders of png and jpeg pictures; sub-folders, if there are any, are the classes.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader};

use crate::error::Origin;
use crate::{DataError, ImageSet, Result};

/// No picture packs more than this many pixels into a byte (a blank one-bit png has 8 × 1032).
const PIXELS_A_BYTE: u64 = 1 << 14;

/// What colours the images of the set have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// As the first picture: grey or RGB; a picture of the other sort is an error.
    #[default]
    AsFirst,
    /// One channel; coloured pictures become luma (299 R + 587 G + 114 B) / 1000, as in PIL.
    Grey,
    /// Three channels; grey pictures get three equal ones.
    Rgb,
}

/// How a folder is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderOptions {
    /// What colours the images have.
    pub channels: Channels,
    /// Resize every picture to this `(H, W)`, stretched to fit, by the bilinear filter of
    /// [`resize`](crate::resize). Without it all pictures must have the same size.
    pub resize: Option<(usize, usize)>,
}

/// Images of a folder, 256 levels, in the order of their names (bytewise, class by class).
///
/// With sub-folders each of them is a class, numbered and named in the order of the names; only pictures
/// directly inside are taken. Names that begin with a dot and files with other endings than `png`,
/// `jpg`, `jpeg` are passed over. Transparency is dropped, 16 bits a channel become 8, and rotation
/// marks of cameras are ignored.
///
/// # Errors
/// If there is no picture, one is damaged or of another size or sort than the first, a class is empty or
/// has folders inside, or pictures stand beside sub-folders (which would have no class).
pub fn read(root: impl AsRef<Path>, options: &FolderOptions) -> Result<ImageSet> {
    let pictures = Pictures::open(root, options)?;
    let mut bytes = Vec::new();
    for i in 0..pictures.len() {
        pictures.image(i, &mut bytes)?;
    }
    let set = ImageSet::new(bytes, pictures.shape(), 256)?;
    match pictures.labels() {
        Some(labels) => set.with_labels(labels.to_vec(), pictures.class_names().to_vec()),
        None => Ok(set),
    }
}

/// The pictures of a folder, read one by one when they are asked for: for folders larger than memory.
#[derive(Clone, Debug)]
pub struct Pictures {
    files: Vec<PathBuf>,
    labels: Option<Vec<u32>>,
    names: Vec<String>,
    gauge: Gauge,
}

impl Pictures {
    /// Lists a folder as [`read`] does and reads its first picture, which settles size and colours.
    ///
    /// # Errors
    /// As [`read`], but for what is wrong with later pictures.
    pub fn open(root: impl AsRef<Path>, options: &FolderOptions) -> Result<Self> {
        let root = root.as_ref();
        let (files, classes) = members(root)?;
        let (labels, names) = classes.unzip();
        let first = files.first().ok_or_else(|| no_picture(root))?;
        let raw = fs::read(first).map_err(DataError::io(first, "read"))?;
        let (gauge, _) = Gauge::of(&raw, first, options)?;
        Ok(Pictures { files, labels, names: names.unwrap_or_default(), gauge })
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none, which [`open`](Self::open) refuses.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// `(C, H, W)` of every picture.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.gauge.shape
    }

    /// Class of every picture `(N,)`, if sub-folders tell.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// Names of the sub-folders.
    pub fn class_names(&self) -> &[String] {
        &self.names
    }

    /// Appends the values `(C, H, W)` of picture `i`.
    ///
    /// # Errors
    /// If there is no such picture, or it is damaged or of another size or sort than the first.
    pub fn image(&self, i: usize, to: &mut Vec<u8>) -> Result<()> {
        let path = self.files.get(i).ok_or_else(|| {
            DataError::mismatch("index of a picture", i.to_string(), format!("below {}", self.len()))
        })?;
        let raw = fs::read(path).map_err(DataError::io(path, "read"))?;
        to.extend(self.gauge.take(&raw, path)?);
        Ok(())
    }

    /// `(training, held-out)`: pictures 0, k, 2k, … are held out, see [`every`](crate::split::every).
    ///
    /// # Errors
    /// If `k` is below 2.
    pub fn split_every(&self, k: usize) -> Result<(Self, Self)> {
        let (train, held) = crate::split::every(self.len(), k)?;
        let part = |rows: &[usize]| Pictures {
            files: rows.iter().map(|&i| self.files[i].clone()).collect(),
            labels: self.labels.as_ref().map(|l| rows.iter().map(|&i| l[i]).collect()),
            ..Pictures {
                files: Vec::new(),
                labels: None,
                names: self.names.clone(),
                gauge: self.gauge.clone(),
            }
        };
        Ok((part(&train), part(&held)))
    }
}

/// Class of each file, and the names of the classes.
type Classes = Option<(Vec<u32>, Vec<String>)>;

fn members(root: &Path) -> Result<(Vec<PathBuf>, Classes)> {
    let (folders, files) = list(root)?;
    if folders.is_empty() {
        return Ok((files, None));
    }
    if let Some(file) = files.first() {
        return Err(Origin(file).format(
            0,
            "the place of the picture",
            "beside sub-folders",
            "inside one of them: each sub-folder is a class",
        ));
    }
    let (mut all, mut labels, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (class, folder) in (0u32..).zip(&folders) {
        let (inner, files) = list(folder)?;
        if let Some(inner) = inner.first() {
            return Err(Origin(inner).format(0, "the path", "a folder in a class folder", "pictures only"));
        }
        if files.is_empty() {
            return Err(no_picture(folder));
        }
        labels.extend(files.iter().map(|_| class));
        all.extend(files);
        names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    Ok((all, Some((labels, names))))
}

/// One picture, 256 levels.
///
/// # Errors
/// If it is damaged or no picture.
pub fn read_picture(path: impl AsRef<Path>, options: &FolderOptions) -> Result<ImageSet> {
    let path = path.as_ref();
    let raw = fs::read(path).map_err(DataError::io(path, "read"))?;
    let (gauge, bytes) = Gauge::of(&raw, path, options)?;
    ImageSet::new(bytes, gauge.shape, 256)
}

/// The pictures of a folder and of its sub-folders, in the order in which [`read`] takes them.
///
/// # Errors
/// If a folder cannot be listed.
pub fn pictures(root: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let (folders, mut files) = list(root.as_ref())?;
    for folder in folders {
        files.extend(list(&folder)?.1);
    }
    Ok(files)
}

fn no_picture(folder: &Path) -> DataError {
    Origin(folder).format(0, "the folder", "without pictures", "files ending in png, jpg or jpeg")
}

/// Sub-folders and pictures of a folder, each sorted by name.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(DataError::io(folder, "list"))? {
        let path = entry.map_err(DataError::io(folder, "list"))?.path();
        if path.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(is_picture) {
            files.push(path);
        }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}

fn is_picture(ending: &str) -> bool {
    ["png", "jpg", "jpeg"].iter().any(|e| ending.eq_ignore_ascii_case(e))
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
        let colour = picture.color().has_color();
        let grey = match options.channels {
            Channels::AsFirst => !colour,
            other => other == Channels::Grey,
        };
        let (h, w) = options.resize.unwrap_or(size);
        if h == 0 || w == 0 {
            return Err(DataError::mismatch("option resize", format!("({h}, {w})"), "(H, W) above 0"));
        }
        let shape = (if grey { 1 } else { 3 }, h, w);
        let gauge = Gauge { options: *options, first: (path.to_path_buf(), size, colour), shape };
        let values = gauge.values(size, &picture);
        Ok((gauge, values))
    }

    /// The values `(C, H, W)` of another picture.
    pub fn take(&self, raw: &[u8], path: &Path) -> Result<Vec<u8>> {
        let (size, picture) = decode(raw, path)?;
        let colour = picture.color().has_color();
        let (first, first_size, first_colour) = &self.first;
        if self.options.resize.is_none() && size != *first_size {
            let (found, expected) = (text(size), text(*first_size));
            let expected = format!("{expected} as {}, or set the option resize", first.display());
            return Err(Origin(path).format(0, "the size", found, expected));
        }
        if self.options.channels == Channels::AsFirst && colour != *first_colour {
            let sort = |c| if c { "coloured" } else { "grey" };
            let expected = format!(
                "{} as {}, or set the option channels to grey or RGB",
                sort(*first_colour),
                first.display()
            );
            return Err(Origin(path).format(0, "the picture", sort(colour), expected));
        }
        Ok(self.values(size, &picture))
    }

    fn values(&self, size: (usize, usize), picture: &DynamicImage) -> Vec<u8> {
        let planes = planes(picture, self.shape.0 == 1);
        match self.options.resize {
            Some(to) => crate::resize::bilinear(&planes, size, to),
            None => planes,
        }
    }
}

fn text((h, w): (usize, usize)) -> String {
    format!("{h} x {w} (H x W)")
}

/// `(H, W)` and the picture; the claimed size is compared with the file's length before decoding.
fn decode(raw: &[u8], path: &Path) -> Result<((usize, usize), DynamicImage)> {
    let damaged = |e: image::ImageError| {
        Origin(path).format(0, "the picture", format!("unreadable ({e})"), "a sound png or jpeg file")
    };
    let reader = ImageReader::new(Cursor::new(raw));
    let reader = reader.with_guessed_format().map_err(DataError::io(path, "read"))?;
    let decoder = reader.into_decoder().map_err(damaged)?;
    let (w, h) = decoder.dimensions();
    if u64::from(w) * u64::from(h) > (raw.len() as u64).saturating_mul(PIXELS_A_BYTE) {
        return Err(Origin(path).format(
            0,
            "the claimed size",
            text((h as usize, w as usize)),
            format!("what a file of {} bytes can hold", raw.len()),
        ));
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    Ok(((h as usize, w as usize), picture))
}

/// The picture as planes `(1, H, W)` or `(3, H, W)`.
fn planes(picture: &DynamicImage, grey: bool) -> Vec<u8> {
    if grey && !picture.color().has_color() {
        return picture.to_luma8().into_raw();
    }
    let rgb = picture.to_rgb8().into_raw();
    if grey {
        return rgb.chunks_exact(3).map(|p| luma(p[0], p[1], p[2])).collect();
    }
    (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).copied()).collect()
}

/// PIL's conversion to grey: (299 R + 587 G + 114 B) / 1000 in 16-bit fixed point, rounded.
pub fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use image::{GrayImage, RgbImage};
    use proptest::prelude::*;

    use super::*;

    fn grey(path: PathBuf, w: u32, h: u32, v: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(w, h, [v].into()).save(path).unwrap();
    }

    fn message(r: Result<ImageSet>) -> String {
        r.unwrap_err().to_string()
    }

    #[test]
    fn sub_folders_are_classes_in_the_order_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        grey(at("b/2.png"), 3, 2, 4);
        grey(at("b/10.PNG"), 3, 2, 3);
        grey(at("a/x.png"), 3, 2, 1);
        fs::write(at("a/notes.txt"), "passed over").unwrap();
        fs::write(at("a/.hidden.png"), "passed over").unwrap();
        let set = read(root.path(), &FolderOptions::default()).unwrap();
        assert_eq!((set.len(), set.shape()), (3, (1, 2, 3)));
        assert_eq!(
            (set.labels().unwrap(), set.class_names()),
            (&[0, 1, 1][..], &["a".into(), "b".into()][..])
        );
        // "10" stands before "2": bytewise, not by number.
        assert_eq!([set.bytes()[0], set.bytes()[6], set.bytes()[12]], [1, 3, 4]);
    }

    #[test]
    fn pictures_are_read_when_they_are_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        (0..4u8).for_each(|i| grey(at(&format!("{}/{i}.png", ["a", "b"][usize::from(i / 2)])), 2, 1, i));
        let pictures = Pictures::open(root.path(), &FolderOptions::default()).unwrap();
        let (train, held) = pictures.split_every(2).unwrap();
        let mut bytes = Vec::new();
        (0..2).for_each(|i| train.image(i, &mut bytes).unwrap());
        assert_eq!((bytes, train.labels().unwrap(), held.len()), (vec![1, 1, 3, 3], &[0, 1][..], 2));
        // A file that is spoilt later is an error of that file alone.
        fs::write(at("a/1.png"), "text").unwrap();
        assert!(train.image(0, &mut Vec::new()).unwrap_err().to_string().contains("1.png"));
        train.image(1, &mut Vec::new()).unwrap();
        assert!(train.image(2, &mut Vec::new()).is_err());
    }

    #[test]
    fn colours_become_planes_or_pils_grey() {
        let root = tempfile::tempdir().unwrap();
        RgbImage::from_fn(2, 1, |x, _| if x == 0 { [255, 0, 0].into() } else { [10, 200, 30].into() })
            .save(root.path().join("c.png"))
            .unwrap();
        let rgb = read(root.path(), &FolderOptions::default()).unwrap();
        assert_eq!((rgb.shape(), rgb.bytes()), ((3, 1, 2), &[255, 10, 0, 200, 0, 30][..]));
        let options = FolderOptions { channels: Channels::Grey, ..Default::default() };
        // Image.new("RGB", (1, 1), (255, 0, 0)).convert("L") is 76, (10, 200, 30) is 124.
        assert_eq!(read(root.path(), &options).unwrap().bytes(), [76, 124]);
    }

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

    #[test]
    fn jpeg_and_resizing_work_together() {
        let root = tempfile::tempdir().unwrap();
        grey(root.path().join("a.jpg"), 9, 5, 80);
        grey(root.path().join("b.png"), 4, 4, 80);
        let text = message(read(root.path(), &FolderOptions::default()));
        assert!(
            text.contains("b.png: byte 0: the size is 4 x 4 (H x W), expected 5 x 9 (H x W) as"),
            "{text}"
        );
        let options = FolderOptions { resize: Some((3, 3)), channels: Channels::Rgb };
        let set = read(root.path(), &options).unwrap();
        assert_eq!((set.len(), set.shape(), set.labels()), (2, (3, 3, 3), None));
        // A flat grey block survives jpeg to within its rounding.
        assert!(set.bytes().iter().all(|&v| v.abs_diff(80) <= 1));
        let options = FolderOptions { resize: Some((0, 3)), ..Default::default() };
        assert!(message(read(root.path(), &options)).contains("option resize"));
    }

    #[test]
    fn what_cannot_be_a_set_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        let read = || read(root.path(), &FolderOptions::default());
        assert!(message(read()).contains("without pictures"));
        fs::create_dir(at("a")).unwrap();
        assert!(message(read()).contains("a: byte 0: the folder is without pictures"));
        grey(at("a/1.png"), 2, 2, 0);
        grey(at("0.png"), 2, 2, 0);
        assert!(message(read()).contains("0.png: byte 0: the place of the picture"));
        fs::remove_file(at("0.png")).unwrap();
        grey(at("a/in/1.png"), 2, 2, 0);
        assert!(message(read()).contains("a folder in a class folder"));
        fs::remove_dir_all(at("a/in")).unwrap();
        RgbImage::new(2, 2).save(at("a/2.png")).unwrap();
        assert!(message(read()).contains("2.png: byte 0: the picture is coloured, expected grey as"));
        fs::write(at("a/1.png"), "text").unwrap();
        assert!(message(read()).contains("1.png: byte 0: the picture is unreadable"));
        assert!(message(super::read(at("none"), &FolderOptions::default())).contains("none: cannot list"));
    }

    fn png() -> Vec<u8> {
        let mut out = Vec::new();
        GrayImage::from_fn(8, 8, |x, y| [(x * y) as u8].into())
            .write_to(&mut Cursor::new(&mut out), image::ImageFormat::Png)
            .unwrap();
        out
    }

    #[test]
    fn a_huge_claim_is_refused_before_decoding() {
        let mut bytes = png();
        // Width and height of the IHDR chunk, and its checksum.
        bytes[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let text = decode(&bytes, Path::new("f")).unwrap_err().to_string();
        assert!(text.contains("the claimed size is 32768 x 32768"), "{text}");
    }

    proptest! {
        #[test]
        fn damage_anywhere_never_panics(at in 0.0f64..1.0, byte in any::<u8>()) {
            let mut bytes = png();
            let at = (at * bytes.len() as f64) as usize;
            let _ = decode(&bytes[..at], Path::new("f"));
            bytes[at] = byte;
            let _ = decode(&bytes, Path::new("f"));
        }
    }
}
