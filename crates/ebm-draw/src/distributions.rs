//! Histograms of a few sets over each other, in a grid of panels, as png or svg.

use std::fmt::Write as _;
use std::path::Path;

use ebm_core::{Error, Result};

use crate::canvas::{Canvas, colour};
use crate::chart::{nice, number};

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 14.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 24.0;
const HEAD: f64 = 22.0;

/// Entries of the palette that the sets take: blue, orange, green.
const INKS: [usize; 3] = [5, 6, 3];

/// One field of the grid.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is shown.
    pub title: String,
    /// Ends of the axis.
    pub range: (f64, f64),
    /// The share of each bin, for each set; later sets lie on top.
    pub series: Vec<Vec<f64>>,
}

/// Writes `panels` in a grid of `columns`, with the names of the sets in `legend` above; `path` ends in `.png` or `.svg`.
///
/// # Errors
/// If the ending is another, or the file cannot be written.
pub fn write(path: &Path, panels: &[Panel], columns: usize, legend: &[String]) -> Result<()> {
    let columns = columns.clamp(1, panels.len().max(1));
    let size = (WIDTH * columns as f64, HEAD + HEIGHT * panels.len().div_ceil(columns).max(1) as f64);
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match ending {
        "png" => {
            let mut canvas = Canvas::new(size.0 as usize, size.1 as usize);
            draw(&mut canvas, panels, columns, legend);
            canvas.write(path)
        }
        "svg" => {
            let mut svg = Svg(String::new());
            draw(&mut svg, panels, columns, legend);
            let (w, h) = size;
            let text = format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
                 font-family=\"monospace\" font-size=\"10\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\n{}</svg>\n",
                svg.0
            );
            ebm_data::atomic::write(path, text.as_bytes()).map_err(crate::unwritten("distributions"))
        }
        _ => Err(Error::config("picture", format!("found the ending `{ending}`, wanted .png or .svg"))),
    }
}

/// What a histogram is drawn with.
trait Pen {
    /// A filled box with its upper left corner at `(x, y)`.
    fn fill(&mut self, x: f64, y: f64, width: f64, height: f64, ink: [f32; 3], cover: f32);
    /// Text with its upper left corner at `(x, y)`.
    fn write(&mut self, text: &str, x: f64, y: f64);
}

impl Pen for Canvas {
    fn fill(&mut self, x: f64, y: f64, width: f64, height: f64, ink: [f32; 3], cover: f32) {
        // Each pixel is covered by its part of the box.
        let part =
            |from: f64, to: f64, pixel: usize| (to.min(pixel as f64 + 1.0) - from.max(pixel as f64)).max(0.0);
        for py in y.max(0.0) as usize..(y + height).max(0.0).ceil() as usize {
            for px in x.max(0.0) as usize..(x + width).max(0.0).ceil() as usize {
                let share = part(x, x + width, px) * part(y, y + height, py);
                self.blend(px, py, ink, cover * share as f32);
            }
        }
    }

    fn write(&mut self, text: &str, x: f64, y: f64) {
        self.text(text, x.max(0.0) as usize, y.max(0.0) as usize);
    }
}

/// The body of an svg file.
struct Svg(String);

impl Pen for Svg {
    fn fill(&mut self, x: f64, y: f64, width: f64, height: f64, ink: [f32; 3], cover: f32) {
        let [r, g, b] = ink.map(|v| (255.0 * v).round() as u8);
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"#{r:02x}{g:02x}{b:02x}\" \
             fill-opacity=\"{cover}\"/>"
        );
    }

    fn write(&mut self, text: &str, x: f64, y: f64) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(self.0, "<text x=\"{x:.1}\" y=\"{:.1}\">{text}</text>", y + 8.0);
    }
}

fn ink(series: usize) -> [f32; 3] {
    colour(INKS[series % INKS.len()])
}

fn draw(pen: &mut dyn Pen, panels: &[Panel], columns: usize, legend: &[String]) {
    let mut x = LEFT;
    for (i, name) in legend.iter().enumerate() {
        pen.fill(x, 8.0, 12.0, 8.0, ink(i), 0.6);
        pen.write(name, x + 17.0, 7.0);
        x += 17.0 + 6.0 * name.chars().count() as f64 + 20.0;
    }
    for (i, panel) in panels.iter().enumerate() {
        let (left, top) = ((i % columns) as f64 * WIDTH, HEAD + (i / columns) as f64 * HEIGHT);
        one(pen, panel, left, top);
    }
}

fn one(pen: &mut dyn Pen, panel: &Panel, left: f64, top: f64) {
    let (x0, x1) = (left + LEFT, left + WIDTH - LEFT);
    let (y0, y1) = (top + TOP, top + HEIGHT - BOTTOM);
    let fits = ((x1 - x0) / 6.0) as usize;
    let title: String = panel.title.chars().skip(panel.title.chars().count().saturating_sub(fits)).collect();
    pen.write(&title, x0, top + 8.0);
    let most = panel.series.iter().flatten().fold(1e-12, |a: f64, b| a.max(*b));
    for (i, shares) in panel.series.iter().enumerate() {
        let step = (x1 - x0) / shares.len().max(1) as f64;
        for (bin, share) in shares.iter().enumerate().filter(|(_, s)| **s > 0.0) {
            // A bin that holds anything is seen.
            let height = (share / most * (y1 - y0)).max(1.0);
            pen.fill(x0 + bin as f64 * step, y1 - height, step, height, ink(i), 0.55);
        }
    }
    pen.fill(x0, y1, x1 - x0, 1.0, [0.4; 3], 1.0);
    let (low, high) = panel.range;
    // An axis shorter than its numbers are exact has no round numbers between its ends.
    let exact = high - low > 1e-9 * low.abs().max(high.abs());
    let marks = if exact { nice(low, high) } else { Vec::new() };
    // Every second mark where all of them would run into each other.
    let widest = marks.iter().map(|v| number(*v).len()).max().unwrap_or(0) as f64 * 6.0 + 8.0;
    let every = ((widest * marks.len() as f64 / (x1 - x0)).ceil() as usize).max(1);
    for v in marks.iter().step_by(every) {
        let x = x0 + (x1 - x0) * (v - low) / (high - low).max(1e-300);
        pen.fill(x, y1, 1.0, 4.0, [0.4; 3], 1.0);
        let name = number(*v);
        pen.write(
            &name,
            (x - 3.0 * name.len() as f64).clamp(left, left + WIDTH - 6.0 * name.len() as f64),
            y1 + 6.0,
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn panel() -> Panel {
        Panel {
            title: "a < b".into(),
            range: (-1.0, 3.0),
            series: vec![vec![0.5, 0.5, 0.0], vec![0.0, 0.1, 0.9]],
        }
    }

    #[test]
    fn both_formats_are_written_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |n: &str| folder.path().join(n);
        write(&at("a.png"), &[panel(), panel(), panel()], 2, &["x".into(), "y".into()]).unwrap();
        assert!(std::fs::read(at("a.png")).unwrap().starts_with(b"\x89PNG"));
        write(&at("a.svg"), &[panel()], 1, &["x".into()]).unwrap();
        let svg = std::fs::read_to_string(at("a.svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("a &lt; b"));
        // Two bins of each set, the legend, the axis, three to five marks, the paper.
        assert!(svg.matches("<rect").count() >= 10, "{svg}");
        assert!(write(&at("a.gif"), &[panel()], 1, &[]).is_err());
        write(&at("b.png"), &[], 3, &[]).unwrap();
        let odd = Panel { range: (2.0, 2.0), series: vec![vec![], vec![0.0]], ..panel() };
        write(&at("c.svg"), &[odd], 1, &[]).unwrap();
    }

    #[test]
    fn a_full_bin_is_as_high_as_the_panel() {
        let mut canvas = Canvas::new(WIDTH as usize, (HEAD + HEIGHT) as usize);
        let full = Panel { title: String::new(), range: (0.0, 1.0), series: vec![vec![1.0]] };
        draw(&mut canvas, &[full], 1, &[]);
        let top = HEAD + TOP;
        assert_ne!(canvas.pixel(WIDTH as usize / 2, top as usize + 1), [1.0; 3]);
        assert_eq!(canvas.pixel(WIDTH as usize / 2, top as usize - 2), [1.0; 3]);
    }
}
