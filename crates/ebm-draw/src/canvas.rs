//! Paper with a pen: lines with soft edges, letters, a palette.

use std::convert::Infallible;
use std::path::Path;

use ebm_core::Result;
use ebm_data::png::Sheet;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{Dimensions, DrawTarget, Drawable, Pixel, Point, Size};
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};

use crate::unwritten;

/// Colours that stay apart for most eyes (Okabe and Ito 2008), with two greys at the end.
const COLOURS: [[f32; 3]; 9] = [
    [0.0, 0.0, 0.0],
    [0.90, 0.62, 0.0],
    [0.34, 0.71, 0.91],
    [0.0, 0.62, 0.45],
    [0.80, 0.47, 0.65],
    [0.0, 0.45, 0.70],
    [0.84, 0.37, 0.0],
    [0.78, 0.72, 0.10],
    [0.6, 0.6, 0.6],
];

/// The colour of an entry of the palette, which goes round; red, green and blue in [0, 1].
pub fn colour(group: usize) -> [f32; 3] {
    COLOURS[group % COLOURS.len()]
}

/// White paper with a pen.
#[derive(Clone, Debug)]
pub struct Canvas {
    width: usize,
    height: usize,
    /// Red, green and blue of each pixel.
    pixels: Vec<[f32; 3]>,
}

impl Canvas {
    /// White paper of `width` by `height` pixels.
    pub fn new(width: usize, height: usize) -> Self {
        Canvas { width, height, pixels: vec![[1.0; 3]; width * height] }
    }

    /// Writes the paper as png; the file appears whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let shape = (1, 3, self.height, self.width);
        Sheet { gap: 0, ..Sheet::default() }.write(path, &self.planes(), shape).map_err(unwritten("chart"))
    }

    /// Lays `ink` over a pixel, which it covers to a share of `cover`; what lies off the paper is left out.
    pub fn blend(&mut self, x: usize, y: usize, ink: [f32; 3], cover: f32) {
        if x < self.width && y < self.height {
            let p = &mut self.pixels[y * self.width + x];
            p.iter_mut().zip(ink).for_each(|(p, i)| *p += cover * (i - *p));
        }
    }

    /// A line one pixel wide with soft edges: each pixel is covered by how near its centre is.
    pub fn line(&mut self, (ax, ay): (f64, f64), (bx, by): (f64, f64), ink: [f32; 3]) {
        let (dx, dy) = (bx - ax, by - ay);
        let length = (dx * dx + dy * dy).max(1e-12);
        let range = |a: f64, b: f64, most: usize| {
            let (low, high) = (a.min(b) - 1.0, a.max(b) + 2.0);
            (low.max(0.0) as usize).min(most)..(high.max(0.0) as usize).min(most)
        };
        for y in range(ay, by, self.height) {
            for x in range(ax, bx, self.width) {
                let (px, py) = (x as f64 - ax, y as f64 - ay);
                let t = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                let away = (px - t * dx).hypot(py - t * dy);
                let cover = (1.0 - away).clamp(0.0, 1.0) as f32;
                if cover > 0.0 {
                    self.blend(x, y, ink, 0.8 * cover);
                }
            }
        }
    }

    /// Writes a line of text, its upper left corner at a pixel; letters are 6 by 10 pixels.
    pub fn text(&mut self, text: &str, x: usize, y: usize) {
        let style = MonoTextStyle::new(&FONT_6X10, BinaryColor::On);
        let at = Point::new(x as i32, y as i32);
        // Drawing on this canvas cannot fail.
        let _ = Text::with_baseline(text, at, style, Baseline::Top).draw(self);
    }

    /// The colour of a pixel of the paper.
    #[cfg(test)]
    pub(crate) fn pixel(&self, x: usize, y: usize) -> [f32; 3] {
        self.pixels[y * self.width + x]
    }

    /// Planes of red, green and blue.
    fn planes(&self) -> Vec<f32> {
        (0..3).flat_map(|c| self.pixels.iter().map(move |p| p[c])).collect()
    }
}

impl Dimensions for Canvas {
    fn bounding_box(&self) -> Rectangle {
        Rectangle::new(Point::zero(), Size::new(self.width as u32, self.height as u32))
    }
}

impl DrawTarget for Canvas {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, on) in pixels {
            if let (Ok(x), Ok(y), true) = (usize::try_from(at.x), usize::try_from(at.y), on.is_on()) {
                self.blend(x, y, [0.15; 3], 1.0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_where_they_should_be() {
        let mut canvas = Canvas::new(20, 10);
        canvas.line((2.0, 5.0), (12.0, 5.0), [0.0; 3]);
        let at = |x: usize, y: usize| canvas.pixels[y * 20 + x][0];
        assert!((at(7, 5) - 0.2).abs() < 1e-6 && at(7, 6) == 1.0 && at(14, 5) == 1.0);
    }
}
