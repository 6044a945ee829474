//! Line charts as png: a few panels over one axis of steps, with a legend.

use std::path::Path;

use ebm_core::Result;

use crate::canvas::{Canvas, colour};

const WIDTH: usize = 860;
const PANEL: usize = 230;
const LEFT: usize = 62;
const RIGHT: usize = 170;
const TOP: usize = 22;
const BOTTOM: usize = 26;

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// As they are.
    Linear,
    /// By their logarithm; values that are not above 0 are left out.
    Log,
    /// Linear up to about this size, then by the logarithm, both signs.
    SymLog(f64),
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Step and value, in order; values that are not finite are gaps.
    pub points: Vec<(f64, f64)>,
    /// Which entry of the legend it belongs to.
    pub group: usize,
    /// Whether a cross marks its end.
    pub cross: bool,
}

/// One field of a chart.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is shown.
    pub title: String,
    /// Scale of the values.
    pub scale: Scale,
    /// Its lines; later ones lie on top.
    pub lines: Vec<Line>,
}

/// Writes `panels` below each other, with the names in `legend` beside the first.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, panels: &[Panel], legend: &[String]) -> Result<()> {
    let mut canvas = paper(panels.len());
    let steps = panels.iter().flat_map(|p| &p.lines).flat_map(|l| &l.points).map(|p| p.0).fold(1.0, f64::max);
    for (i, panel) in panels.iter().enumerate() {
        draw(&mut canvas, panel, i, steps);
    }
    let legend: Vec<_> = legend.iter().enumerate().map(|(i, name)| (name.as_str(), colour(i))).collect();
    draw_legend(&mut canvas, &legend);
    canvas.write(path)
}

/// Paper for panels below each other.
pub fn paper(panels: usize) -> Canvas {
    Canvas::new(WIDTH, PANEL * panels.max(1))
}

/// Names and their colours, beside the first panel.
pub fn draw_legend(canvas: &mut Canvas, entries: &[(&str, [f32; 3])]) {
    for (i, (name, ink)) in entries.iter().enumerate() {
        let (x, y) = (WIDTH - RIGHT + 14, TOP + 4 + 14 * i);
        for dy in 0..3 {
            (x..x + 16).for_each(|px| canvas.blend(px, y + 3 + dy, *ink, 1.0));
        }
        canvas.text(name, x + 22, y);
    }
}

impl Scale {
    /// The height of a value in the scale's own units.
    fn height(self, v: f64) -> Option<f64> {
        match self {
            Scale::Linear => v.is_finite().then_some(v),
            Scale::Log => (v > 0.0 && v.is_finite()).then(|| v.log10()),
            Scale::SymLog(t) => v.is_finite().then(|| v.signum() * (1.0 + v.abs() / t).log10()),
        }
    }

    /// Values worth a mark between two heights.
    fn marks(self, low: f64, high: f64) -> Vec<f64> {
        let inside = |v: &f64| self.height(*v).is_some_and(|h| h >= low && h <= high);
        let powers = (-30..=30).map(|e| 10f64.powi(e));
        let all: Vec<f64> = match self {
            Scale::Linear => return nice(low, high),
            Scale::Log => powers.filter(inside).collect(),
            Scale::SymLog(t) => {
                let sizes: Vec<f64> = powers.filter(|v| *v >= t * 0.999).collect();
                let below = sizes.iter().rev().map(|v| -v);
                below.chain([0.0]).chain(sizes.iter().copied()).filter(inside).collect()
            }
        };
        let every = all.len().div_ceil(8).max(1);
        let zero = all.iter().position(|v| *v == 0.0).unwrap_or(0) % every;
        all.into_iter().skip(zero).step_by(every).collect()
    }
}

/// About five round numbers between two.
pub fn nice(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low).max(1e-30) / 5.0;
    let unit = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * unit).into_iter().find(|s| *s >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    (first..first + 12).map(|i| i as f64 * step).take_while(|v| *v <= high).collect()
}

fn draw(canvas: &mut Canvas, panel: &Panel, place: usize, steps: f64) {
    let values = panel.lines.iter().flat_map(|l| &l.points).map(|p| p.1);
    let axes = Axes::new(place, panel.scale, range(panel.scale, values), steps);
    axes.draw(canvas, &panel.title);
    for line in &panel.lines {
        let ink = colour(line.group);
        let mut last = None;
        let mut end = None;
        for (step, value) in &line.points {
            let here = axes.at(*step, *value);
            if let (Some(a), Some(b)) = (last, here) {
                canvas.line(a, b, ink);
            }
            end = here.or(end);
            last = here;
        }
        if let Some((x, y)) = end.filter(|_| line.cross) {
            canvas.line((x - 4.0, y - 4.0), (x + 4.0, y + 4.0), ink);
            canvas.line((x - 4.0, y + 4.0), (x + 4.0, y - 4.0), ink);
        }
    }
}

/// Smallest and largest of the values that a scale can show.
fn range(scale: Scale, values: impl Iterator<Item = f64>) -> (f64, f64) {
    let shown = values.filter(|v| scale.height(*v).is_some());
    shown.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)))
}

/// The field of a panel: which pixel a step and a value are.
#[derive(Clone, Debug)]
pub struct Axes {
    scale: Scale,
    low: f64,
    high: f64,
    steps: f64,
    top: usize,
}

impl Axes {
    /// The axes of panel `place`, from the top, for steps up to `steps` and values in `range` (low above high: none).
    pub fn new(place: usize, scale: Scale, range: (f64, f64), steps: f64) -> Self {
        let heights = (scale.height(range.0), scale.height(range.1));
        let (low, high) = match heights {
            (Some(low), Some(high)) if low <= high => (low, high),
            _ => (0.0, 1.0),
        };
        let margin = ((high - low) * 0.05).max(1e-9);
        Axes { scale, low: low - margin, high: high + margin, steps, top: place * PANEL }
    }

    fn x(&self, step: f64) -> f64 {
        LEFT as f64 + (WIDTH - RIGHT - LEFT) as f64 * step / self.steps
    }

    fn y(&self, height: f64) -> f64 {
        let (y0, y1) = ((self.top + TOP) as f64, (self.top + PANEL - BOTTOM) as f64);
        y1 - (y1 - y0) * (height - self.low) / (self.high - self.low)
    }

    /// The pixel of a value, if the scale can show it.
    fn at(&self, step: f64, value: f64) -> Option<(f64, f64)> {
        Some((self.x(step), self.y(self.scale.height(value)?)))
    }

    /// Draws title, grid and numbers.
    pub fn draw(&self, canvas: &mut Canvas, title: &str) {
        let (x0, x1) = (self.x(0.0), self.x(self.steps));
        let (y0, y1) = (self.y(self.high), self.y(self.low));
        canvas.text(title, LEFT, self.top + 6);
        let grey = [0.85; 3];
        for v in self.scale.marks(self.low, self.high) {
            let Some((_, y)) = self.at(0.0, v) else { continue };
            canvas.line((x0, y.round()), (x1, y.round()), grey);
            let name = number(v);
            canvas.text(
                &name,
                LEFT.saturating_sub(6 * name.chars().count() + 5),
                (y - 4.0).max(0.0) as usize,
            );
        }
        for v in nice(0.0, self.steps) {
            let x = self.x(v);
            canvas.line((x.round(), y0), (x.round(), y1), grey);
            let name = number(v);
            canvas.text(&name, (x as usize).saturating_sub(3 * name.chars().count()), y1 as usize + 6);
        }
    }

    /// Fills the rectangle between two steps and two values, at least one pixel high.
    pub fn fill(
        &self,
        canvas: &mut Canvas,
        steps: (f64, f64),
        values: (f64, f64),
        ink: [f32; 3],
        cover: f32,
    ) {
        let (Some((x0, y1)), Some((x1, y0))) = (self.at(steps.0, values.0), self.at(steps.1, values.1))
        else {
            return;
        };
        let (y0, y1) = (y0.round() as usize, (y1.round() as usize).max(y0.round() as usize + 1));
        for y in y0..y1 {
            (x0.round() as usize..x1.round() as usize).for_each(|x| canvas.blend(x, y, ink, cover));
        }
    }
}

/// A mark's name: short, in powers of ten where that is shorter.
pub fn number(v: f64) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if !(1e-3..1e5).contains(&a) => format!("{v:.0e}"),
        _ => format!("{}", (v * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn marks_are_round_and_inside() {
        assert_eq!(nice(0.0, 100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Scale::Log.marks(-2.5, 1.2), [0.01, 0.1, 1.0, 10.0]);
        let sym = Scale::SymLog(0.1);
        assert_eq!(sym.marks(-1.3, 2.2), [-1.0, -0.1, 0.0, 0.1, 1.0, 10.0]);
        assert_eq!((sym.height(0.0), Scale::Log.height(-1.0), sym.height(f64::NAN)), (Some(0.0), None, None));
        assert!(Scale::Linear.marks(1.0, 1.0 + 1e-9).len() < 12);
    }

    #[test]
    fn a_chart_of_anything_is_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let points = vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, f64::INFINITY), (4.0, -1e300), (5.0, 0.0)];
        let panel = |scale| Panel {
            title: "any".into(),
            scale,
            lines: vec![Line { points: points.clone(), group: 12, cross: true }],
        };
        let panels = [panel(Scale::Linear), panel(Scale::Log), panel(Scale::SymLog(1e-3))];
        write(&path, &panels, &["a".into(), "b".into()]).unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(b"\x89PNG"));
        write(&path, &[], &[]).unwrap();
    }
}
