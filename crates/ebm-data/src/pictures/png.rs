//! Sheets of images as one png file, or one after another as an animated gif.

use std::path::Path;

use gif::{Encoder, Frame, Repeat};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::{DataError, Result};

/// The longest side of a sheet; larger ones are a mistake that most viewers refuse.
const LONGEST: usize = 1 << 16;

/// How images are laid out on a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Images in a row; `None` takes the square root of their number, rounded up.
    pub columns: Option<usize>,
    /// Pixels between images and around the sheet.
    pub gap: usize,
    /// Side of the square of sheet pixels that shows one image pixel; small images need it.
    pub zoom: usize,
    /// Grey of the gaps and of empty places.
    pub background: u8,
}

impl Default for Sheet {
    fn default() -> Self {
        Self { columns: None, gap: 2, zoom: 1, background: 128 }
    }
}

impl Sheet {
    /// The sheet of `images` `(N, C, H, W)` with values in [0, 1] as the bytes of a png file.
    ///
    /// A value v becomes the byte round(255·v) after clamping; NaN becomes 0.
    ///
    /// # Errors
    /// If C is neither 1 nor 3, a size, `columns` or `zoom` is 0, the values do not fill the shape, or a
    /// side of the sheet is above 65,536 pixels.
    ///
    /// ```
    /// use ebm_data::png::Sheet;
    /// let two = [0.0, 1.0, 0.5, 0.25]; // two grey images of 1×2 pixels
    /// let file = Sheet { zoom: 8, ..Sheet::default() }.encode(&two, (2, 1, 1, 2))?;
    /// assert!(file.starts_with(b"\x89PNG"));
    /// # Ok::<(), ebm_data::DataError>(())
    /// ```
    pub fn encode(&self, images: &[f32], shape: (usize, usize, usize, usize)) -> Result<Vec<u8>> {
        let (pixels, width, height, channels) = self.draw(images, shape)?;
        let colour = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let mut out = Vec::new();
        PngEncoder::new(&mut out)
            // `draw` keeps both sides below 2¹⁶ + 1.
            .write_image(&pixels, width as u32, height as u32, colour)
            .map_err(|e| {
                DataError::mismatch("sheet of images", e.to_string(), "a picture that png can hold")
            })?;
        Ok(out)
    }

    /// Writes [`encode`](Self::encode)'s bytes to `path`; the file appears whole or not at all.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and if the folder does not exist or cannot be written.
    pub fn write(
        &self,
        path: impl AsRef<Path>,
        images: &[f32],
        shape: (usize, usize, usize, usize),
    ) -> Result<()> {
        crate::atomic::write(path.as_ref(), &self.encode(images, shape)?)
    }

    /// The sheets of `frames`, each `(N, C, H, W)` as for [`encode`](Self::encode), as the bytes of an animated gif that
    /// runs for ever, `milliseconds` a frame and ten times as long at its last one.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and if there are no frames.
    pub fn animate(
        &self,
        frames: &[Vec<f32>],
        shape: (usize, usize, usize, usize),
        milliseconds: u32,
    ) -> Result<Vec<u8>> {
        let failed = |e: gif::EncodingError| {
            DataError::mismatch("animation", e.to_string(), "frames that gif can hold")
        };
        let first =
            frames.first().ok_or_else(|| DataError::mismatch("animation", "no frames", "at least one"))?;
        let (_, width, height, _) = self.draw(first, shape)?;
        let (Ok(width), Ok(height)) = (u16::try_from(width), u16::try_from(height)) else {
            let found = format!("frames of {width}×{height} pixels");
            return Err(DataError::mismatch("animation", found, format!("at most {} a side", u16::MAX)));
        };
        // One palette for all grey frames, in which every value is exact.
        let greys: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, width, height, &greys).map_err(failed)?;
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        for (i, frame) in frames.iter().enumerate() {
            let (pixels, _, _, channels) = self.draw(frame, shape)?;
            let mut frame = match channels {
                3 => Frame::from_rgb_speed(width, height, &pixels, 10),
                _ => Frame { width, height, buffer: pixels.into(), ..Frame::default() },
            };
            let time = if i + 1 == frames.len() { milliseconds.saturating_mul(10) } else { milliseconds };
            // In hundredths of a second.
            frame.delay = u16::try_from(time / 10).unwrap_or(u16::MAX);
            encoder.write_frame(&frame).map_err(failed)?;
        }
        drop(encoder);
        Ok(file)
    }

    /// `(bytes, width, height, channels)`, bytes row by row with the channels of a pixel together.
    fn draw(
        &self,
        images: &[f32],
        shape: (usize, usize, usize, usize),
    ) -> Result<(Vec<u8>, usize, usize, usize)> {
        let (n, c, h, w) = shape;
        let product = [n, c, h, w].iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        if product != Some(images.len()) || images.is_empty() || !(c == 1 || c == 3) {
            return Err(DataError::mismatch(
                "images of a sheet",
                format!("{} values with shape {shape:?}", images.len()),
                "(N, C, H, W) filled by the values, N above 0, C = 1 or 3",
            ));
        }
        let columns = self.columns.unwrap_or_else(|| (1..).find(|k| k * k >= n).unwrap_or(n)).min(n);
        if columns == 0 || self.zoom == 0 {
            let found = format!("columns {columns}, zoom {}", self.zoom);
            return Err(DataError::mismatch("layout of a sheet", found, "both above 0"));
        }
        let side = |count: usize, size: usize| {
            let cell = size.checked_mul(self.zoom)?.checked_add(self.gap)?;
            count.checked_mul(cell)?.checked_add(self.gap).filter(|&s| s <= LONGEST)
        };
        let (Some(width), Some(height)) = (side(columns, w), side(n.div_ceil(columns), h)) else {
            return Err(DataError::mismatch(
                "size of a sheet",
                format!("{n} images of {h} x {w} at zoom {}", self.zoom),
                format!("sides up to {LONGEST} pixels; show fewer images"),
            ));
        };
        let mut pixels = vec![self.background; width * height * c];
        for (i, image) in images.chunks_exact(c * h * w).enumerate() {
            let left = self.gap + (i % columns) * (w * self.zoom + self.gap);
            let top = self.gap + (i / columns) * (h * self.zoom + self.gap);
            for y in 0..h * self.zoom {
                for x in 0..w * self.zoom {
                    let to = ((top + y) * width + left + x) * c;
                    for k in 0..c {
                        pixels[to + k] = byte(image[(k * h + y / self.zoom) * w + x / self.zoom]);
                    }
                }
            }
        }
        Ok((pixels, width, height, c))
    }
}

fn byte(v: f32) -> u8 {
    // `as` saturates, and takes NaN to 0.
    (v * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn images_stand_row_by_row_with_gaps_and_zoom() {
        let sheet = Sheet { columns: Some(2), gap: 1, zoom: 2, background: 9 };
        let (pixels, w, h, c) = sheet.draw(&[0.0, 0.5, 2.0], (3, 1, 1, 1)).unwrap();
        assert_eq!((w, h, c), (7, 7, 1));
        #[rustfmt::skip]
        let expected = [
            9, 9, 9, 9, 9,   9,   9,
            9, 0, 0, 9, 128, 128, 9,
            9, 0, 0, 9, 128, 128, 9,
            9, 9, 9, 9, 9,   9,   9,
            9, 255, 255, 9, 9, 9, 9,
            9, 255, 255, 9, 9, 9, 9,
            9, 9, 9, 9, 9,   9,   9,
        ];
        assert_eq!(pixels, expected);
    }

    #[test]
    fn a_written_sheet_is_read_back_by_the_folder_reader() {
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<f32> = (0..2 * 3 * 4).map(|i| i as f32 / 23.0).collect();
        let sheet = Sheet { columns: Some(1), gap: 0, ..Sheet::default() };
        sheet.write(folder.path().join("s.png"), &images, (2, 3, 2, 2)).unwrap();
        let back = crate::folder::read(folder.path(), &Default::default()).unwrap();
        assert_eq!(back.shape(), (3, 4, 2));
        let red: Vec<u8> = [0, 1, 2, 3, 12, 13, 14, 15].map(|i| byte(images[i])).to_vec();
        assert_eq!(back.bytes()[..8], red);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_animation_has_its_frames_and_its_pause() {
        use image::AnimationDecoder;
        let sheet = Sheet { gap: 0, ..Sheet::default() };
        let frames = [vec![0.0, 1.0], vec![1.0, 0.0]];
        let file = sheet.animate(&frames, (2, 1, 1, 1), 50).unwrap();
        let read = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(&file)).unwrap();
        let back = read.into_frames().collect_frames().unwrap();
        let left = |i: usize| back[i].buffer().get_pixel(0, 0).0;
        assert_eq!((back.len(), left(0), left(1)), (2, [0, 0, 0, 255], [255, 255, 255, 255]));
        assert_eq!(back[1].delay().numer_denom_ms(), (500, 1));
        assert!(sheet.animate(&[], (2, 1, 1, 1), 50).unwrap_err().to_string().contains("no frames"));
    }

    #[test]
    fn values_outside_the_range_are_clamped() {
        assert_eq!([-1.0, f32::NAN, 1.5, f32::INFINITY, 0.5, 1.0].map(byte), [0, 0, 255, 255, 128, 255]);
    }

    #[test]
    fn impossible_sheets_are_refused() {
        let sheet = Sheet::default();
        assert!(sheet.encode(&[], (0, 1, 2, 2)).is_err());
        assert!(sheet.encode(&[0.0; 4], (1, 2, 1, 2)).is_err());
        assert!(sheet.encode(&[0.0; 4], (1, 1, 1, 2)).is_err());
        assert!(sheet.encode(&[0.0; 4], (usize::MAX, 1, 2, 2)).is_err());
        assert!(Sheet { zoom: 0, ..sheet }.encode(&[0.0], (1, 1, 1, 1)).is_err());
        assert!(Sheet { columns: Some(0), ..sheet }.encode(&[0.0], (1, 1, 1, 1)).is_err());
        let text = Sheet { zoom: 1 << 40, ..sheet }.encode(&[0.0], (1, 1, 1, 1)).unwrap_err().to_string();
        assert!(text.contains("show fewer images"), "{text}");
    }
}
