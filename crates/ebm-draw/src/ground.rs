//! What charts are drawn on: an svg file or pixels, one type for both, with text in an embedded font.

use std::io::Error as IoError;
use std::path::Path;
use std::sync::Once;

use ebm_core::{Error, Result};
use ebm_data::png::Sheet;
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, FontTransform, IntoFont, RGBColor, TextStyle, register_font};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind as Kind,
};

use crate::palette::GROUND;
use crate::unwritten;

/// Units of a drawing in a point: where lines go is rounded to units, and pixels are averages of squares of them.
const FINE: u32 = 4;
/// Pixels of a png in a point, so that print and dense screens stay sharp.
const PIXELS: u32 = 2;
/// Units of pixels held at once; larger papers are drawn more coarsely.
const UNITS: u64 = 40 << 20;
/// Most pixels of a paper however coarse.
const MOST: u64 = 200 << 20;
/// The family that an svg names; in pixels it is the embedded font.
const FAMILY: &str = "sans-serif";

/// What went wrong while drawing.
pub(crate) type Undrawn = DrawingAreaErrorKind<IoError>;
/// A part of the paper in its own units.
pub(crate) type Area<'a> = DrawingArea<Ground<'a>, Shift>;

/// A paper while it is drawn on.
pub(crate) struct Paper<'a> {
    /// All of it.
    pub area: Area<'a>,
    /// Units in a point.
    fine: u32,
}

impl Paper<'_> {
    /// Points in units.
    pub fn units(&self, points: f64) -> i32 {
        (points * f64::from(self.fine)).round() as i32
    }

    /// The width of a line of so many points.
    pub fn stroke(&self, points: f64) -> u32 {
        self.units(points).max(1) as u32
    }

    /// Text of a size in points: `across` says which of its points is named by where it is put, its middle upwards.
    pub fn text(&self, points: f64, ink: RGBColor, across: HPos) -> TextStyle<'static> {
        // Sizes are heights of lines here, 1.24 times the size that an svg is given.
        let font = (FAMILY, 1.24 * points * f64::from(self.fine)).into_font();
        TextStyle { color: ink.to_backend_color(), pos: Pos::new(across, VPos::Center), font }
    }

    /// The width of a text of a size, in units.
    pub fn width_of(&self, text: &str, points: f64) -> i32 {
        let style = self.text(points, GROUND, HPos::Left);
        self.area.estimate_text_size(text, &style).map_or(0, |(w, _)| w as i32)
    }
}

/// A text without what no font has and no svg may hold.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')).collect()
}

/// A drawing of `size` points as the text of an svg file.
pub(crate) fn svg(size: (u32, u32), draw: impl FnOnce(&Paper<'_>) -> Result<(), Undrawn>) -> Result<String> {
    let mut text = String::new();
    let fine = (size.0.saturating_mul(FINE), size.1.saturating_mul(FINE));
    on(Ground::Svg(SVGBackend::with_string(&mut text, fine)), FINE, draw)?;
    // The drawing's units are finer than those it is shown in.
    let head = format!("width=\"{}\" height=\"{}\"", fine.0, fine.1);
    Ok(text.replacen(&head, &format!("width=\"{}\" height=\"{}\"", size.0, size.1), 1))
}

/// A drawing of `size` points as the bytes of a png file, two pixels a point.
pub(crate) fn png(size: (u32, u32), draw: impl FnOnce(&Paper<'_>) -> Result<(), Undrawn>) -> Result<Vec<u8>> {
    let points = u64::from(size.0) * u64::from(size.1);
    let fits = |fine: u32| points * u64::from(fine * fine) <= UNITS;
    let (fine, pixels) = match () {
        () if fits(FINE) => (FINE, PIXELS),
        () if fits(FINE / 2) => (FINE / 2, 1),
        () => (1, 1),
    };
    if points > MOST {
        let found = format!("would have {} by {} points", size.0, size.1);
        return Err(Error::config(
            "picture",
            format!("{found}, wanted at most {MOST} in all; ask for fewer panels"),
        ));
    }
    let (w, h) = (size.0 * fine, size.1 * fine);
    let mut units = vec![255u8; w as usize * h as usize * 3];
    on(Ground::Pixels(BitMapBackend::with_buffer(&mut units, (w, h))), fine, draw)?;
    let block = (fine / pixels) as usize;
    let (width, height) = ((size.0 * pixels) as usize, (size.1 * pixels) as usize);
    let mut planes = vec![0f32; 3 * width * height];
    let share = 1.0 / (255 * block * block) as f32;
    for (row, line) in units.chunks_exact(3 * w as usize).enumerate() {
        for (column, unit) in line.chunks_exact(3).enumerate() {
            let at = row / block * width + column / block;
            unit.iter()
                .enumerate()
                .for_each(|(c, v)| planes[c * width * height + at] += f32::from(*v) * share);
        }
    }
    let sheet = Sheet { gap: 0, ..Sheet::default() };
    sheet.encode(&planes, (1, 3, height, width)).map_err(|e| Error::plugin("chart", e))
}

/// Writes a drawing to a file that ends in `.png` or `.svg`; it appears whole or not at all.
pub(crate) fn write(
    path: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&Paper<'_>) -> Result<(), Undrawn>,
) -> Result<()> {
    let bytes = match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "png" => png(size, draw)?,
        "svg" => svg(size, draw)?.into_bytes(),
        other => {
            return Err(Error::config("picture", format!("found the ending `{other}`, wanted .png or .svg")));
        }
    };
    ebm_data::atomic::write(path, &bytes).map_err(unwritten("chart"))
}

fn on<'a>(ground: Ground<'a>, fine: u32, draw: impl FnOnce(&Paper<'a>) -> Result<(), Undrawn>) -> Result<()> {
    static FONT: Once = Once::new();
    // A font that is not taken is met by the first text, as an error.
    FONT.call_once(|| {
        let _ = register_font(FAMILY, FontStyle::Normal, include_bytes!("font/inter.otf"));
    });
    let paper = Paper { area: ground.into_drawing_area(), fine };
    let drawn = paper.area.fill(&GROUND).and_then(|()| draw(&paper)).and_then(|()| paper.area.present());
    drawn.map_err(|e| Error::plugin("chart", std::io::Error::other(e.to_string())))
}

/// Either kind of paper. One type, so that what draws is compiled once.
pub(crate) enum Ground<'a> {
    Svg(SVGBackend<'a>),
    Pixels(BitMapBackend<'a>),
}

/// The same call of either paper.
macro_rules! either {
    ($self:ident, $ground:ident => $call:expr) => {
        match $self {
            Ground::Svg($ground) => $call,
            Ground::Pixels($ground) => $call.map_err(|e| match e {
                Kind::DrawingError(e) => Kind::DrawingError(IoError::other(e.to_string())),
                Kind::FontError(e) => Kind::FontError(e),
            }),
        }
    };
}

impl DrawingBackend for Ground<'_> {
    type ErrorType = IoError;

    fn get_size(&self) -> (u32, u32) {
        match self {
            Ground::Svg(g) => g.get_size(),
            Ground::Pixels(g) => g.get_size(),
        }
    }

    fn ensure_prepared(&mut self) -> Result<(), Kind<IoError>> {
        either!(self, g => g.ensure_prepared())
    }

    fn present(&mut self) -> Result<(), Kind<IoError>> {
        either!(self, g => g.present())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Result<(), Kind<IoError>> {
        either!(self, g => g.draw_pixel(at, color))
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), Kind<IoError>> {
        match self {
            Ground::Svg(g) => g.draw_line(from, to, style),
            Ground::Pixels(_) => self.draw_path([from, to], style),
        }
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Result<(), Kind<IoError>> {
        either!(self, g => g.draw_rect(upper_left, bottom_right, style, fill))
    }

    /// As an svg has it; in pixels, segment by segment with round joints. The outline that the library fills there
    /// has holes where a noisy line crosses itself.
    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Result<(), Kind<IoError>> {
        if let Ground::Svg(g) = self {
            return g.draw_path(path, style);
        }
        let (color, half) = (style.color(), f64::from(style.stroke_width()) / 2.0);
        let mut before: Option<BackendCoord> = None;
        for to in path {
            if half > 1.0 {
                self.draw_circle(to, half.floor() as u32, &color, true)?;
            }
            if let Some(from) = before.replace(to).filter(|from| *from != to) {
                let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
                let by = half / dx.hypot(dy);
                let (ox, oy) = ((-dy * by).round() as i32, (dx * by).round() as i32);
                let corners =
                    [(from, 1), (to, 1), (to, -1), (from, -1)].map(|(p, s)| (p.0 + s * ox, p.1 + s * oy));
                self.fill_polygon(corners, &color)?;
            }
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Result<(), Kind<IoError>> {
        either!(self, g => g.draw_circle(center, radius, style, fill))
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Result<(), Kind<IoError>> {
        either!(self, g => g.fill_polygon(corners, style))
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Result<(), Kind<IoError>> {
        // Pixels get text this much higher than an svg has it, which puts the middle of a letter where it belongs.
        let lower = match self {
            Ground::Svg(_) => 0,
            Ground::Pixels(_) => (0.12 * style.size()).round() as i32,
        };
        let at = match style.transform() {
            FontTransform::Rotate270 => (at.0 + lower, at.1),
            _ => (at.0, at.1 + lower),
        };
        either!(self, g => g.draw_text(text, style, at))
    }
}
