//! Charts as png or svg: panels of lines and blocks with titled axes, and a legend above them.

use std::path::Path;

use ebm_core::Result;

use crate::field;
use crate::ground::{self, Paper, Undrawn};
use crate::legend;
pub use crate::palette::STYLE_SHEET;
use crate::scale::Axis;
pub use crate::scale::{Scale, number};

/// One line.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Step and value, in order; values that are not finite are gaps.
    pub points: Vec<(f64, f64)>,
    /// Which entry of the legend it belongs to.
    pub group: usize,
    /// Whether a cross marks its end.
    pub cross: bool,
}

/// A filled rectangle.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// From where to where along the axis below.
    pub across: (f64, f64),
    /// From which to which value.
    pub up: (f64, f64),
    /// Which entry of the legend it belongs to.
    pub group: usize,
    /// How much of what lies below it covers, from 0 to 1.
    pub cover: f64,
}

/// One field of a chart.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// What is shown; above the field.
    pub title: String,
    /// The quantity along the axis below, with its unit; empty: that of the chart.
    pub x_title: String,
    /// The quantity along the axis at the side, with its unit.
    pub y_title: String,
    /// Scale of the values.
    pub scale: Scale,
    /// Ends of the axis below; `None`: those of the lines and blocks of all panels.
    pub across: Option<(f64, f64)>,
    /// Its lines; later ones lie on top.
    pub lines: Vec<Line>,
    /// Its blocks; they lie below the lines.
    pub blocks: Vec<Block>,
}

/// Panels on one paper. A line of more than a few points is drawn twice: as it is, pale, and smooth (running median,
/// then mean) in front. An axis shows what most values need; marks at its end and a note tell of those beyond it.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The panels, row by row.
    pub panels: Vec<Panel>,
    /// Names of the groups; shown above the panels if there are several.
    pub legend: Vec<String>,
    /// Panels beside each other.
    pub columns: usize,
    /// Width and height of a panel in points.
    pub size: (u32, u32),
    /// The quantity along the axis below.
    pub x_title: String,
}

/// Where the axis below lies on a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Its ends as shares of the chart's width.
    pub share: (f64, f64),
    /// What is at its ends.
    pub steps: (f64, f64),
}

impl Default for Chart {
    fn default() -> Self {
        let x_title = "update".into();
        Chart { panels: Vec::new(), legend: Vec::new(), columns: 1, size: (640, 190), x_title }
    }
}

impl Chart {
    /// Writes it as the ending of `path` says, `.png` (two pixels a point) or `.svg`; the file appears whole or not at all.
    ///
    /// # Errors
    /// If the ending is another, the paper would be too large, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        ground::write(path, self.paper(), |paper| self.draw(paper))
    }

    /// The text of an svg file.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        ground::svg(self.paper(), |paper| self.draw(paper))
    }

    /// Where the first panel's steps lie, for who asks a place on its svg for its step.
    pub fn place(&self) -> Place {
        let (width, _) = self.paper();
        let default = Panel::default();
        let panel = self.panels.first().unwrap_or(&default);
        let (from, to) = field::plotted(panel, f64::from(self.size.0));
        let share = |points: f64| points / f64::from(width.max(1));
        Place { share: (share(from), share(to)), steps: panel.across.unwrap_or(self.across()) }
    }

    /// Width and height of the paper in points.
    fn paper(&self) -> (u32, u32) {
        let columns = self.columns.clamp(1, self.panels.len().max(1)) as u32;
        let rows = (self.panels.len().div_ceil(columns as usize)).max(1) as u32;
        let width = self.size.0.saturating_mul(columns);
        let above = legend::height(&self.legend, width).saturating_add(self.named());
        (width, above.saturating_add(self.size.1.saturating_mul(rows)))
    }

    /// Points that the title of the axis below takes; only the last panel of a column has it.
    fn named(&self) -> u32 {
        if self.x_title.is_empty() { 0 } else { field::NAMED as u32 }
    }

    fn draw(&self, paper: &Paper<'_>) -> Result<(), Undrawn> {
        let (width, _) = self.paper();
        let columns = (width / self.size.0.max(1)).max(1) as usize;
        let across = self.across();
        legend::draw(paper, &self.legend, width)?;
        let top = legend::height(&self.legend, width);
        for (i, panel) in self.panels.iter().enumerate() {
            let at = ((i % columns) as u32 * self.size.0, top + (i / columns) as u32 * self.size.1);
            let (low, high) = panel.across.unwrap_or(across);
            let last = i + columns >= self.panels.len();
            let below = if panel.x_title.is_empty() && last { &self.x_title } else { &panel.x_title };
            let size = (self.size.0, self.size.1 + if last { self.named() } else { 0 });
            field::draw(paper, panel, below, Axis::between(Scale::Linear, low, high), (at, size))?;
        }
        Ok(())
    }

    /// The axis below of panels without their own: from 0, or from the first point where that is far from it.
    fn across(&self) -> (f64, f64) {
        let own = self.panels.iter().filter(|p| p.across.is_none());
        let lines = own.clone().flat_map(|p| &p.lines).flat_map(|l| &l.points).map(|p| p.0);
        let blocks = own.flat_map(|p| &p.blocks).flat_map(|b| [b.across.0, b.across.1]);
        let all = lines.chain(blocks).filter(|x| x.is_finite());
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
        match () {
            () if low > high => (0.0, 1.0),
            () if low >= 0.0 && low < 0.3 * high => (0.0, high),
            () if low < high => (low, high),
            () => (low - 0.5, high + 0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chart(points: Vec<(f64, f64)>, scale: Scale) -> Chart {
        let line = Line { points, group: 12, cross: true };
        let panel = Panel {
            title: "a < b".into(),
            y_title: "energy (nats)".into(),
            scale,
            lines: vec![line],
            ..Panel::default()
        };
        Chart { panels: vec![panel], legend: vec!["one".into(), "two\u{1}".into()], ..Chart::default() }
    }

    fn noisy(n: u32) -> Vec<(f64, f64)> {
        (0..n).map(|i| (f64::from(i), (f64::from(i) * 0.7).sin())).collect()
    }

    #[test]
    fn both_formats_are_written_to_the_same_bytes_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |n: &str| folder.path().join(n);
        let drawn = chart(noisy(300), Scale::Fitting);
        for name in ["a.png", "b.png", "a.svg", "b.svg"] {
            drawn.write(&at(name)).unwrap();
        }
        let read = |n: &str| std::fs::read(at(n)).unwrap();
        assert!(read("a.png").starts_with(b"\x89PNG") && read("a.png") == read("b.png"));
        assert!(read("a.svg").starts_with(b"<svg") && read("a.svg") == read("b.svg"));
        // A panel of 640 by 190 points, the legend, the title of the axis; four units a point.
        let head = "<svg width=\"640\" height=\"234\" viewBox=\"0 0 2560 936\"";
        assert!(String::from_utf8(read("a.svg")).unwrap().starts_with(head));
        let refused = drawn.write(&at("a.gif")).unwrap_err().to_string();
        assert!(refused.contains("gif") && refused.contains(".svg") && !at("a.gif").exists(), "{refused}");
    }

    #[test]
    fn titles_marks_and_names_are_on_it() {
        let svg = chart(noisy(300), Scale::Linear).svg().unwrap();
        for text in ["a &lt; b", "energy (nats)", "update", "\n−0.5\n", "\n250\n", "\none\n", "\ntwo\n"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        // As it is, pale, and smooth in front of it.
        let at = |colour: &str| svg.find(&format!("stroke=\"{colour}\"")).unwrap();
        assert!(at("#F8E2B3") < at("#E69F00") && !svg.contains("beyond"));
    }

    #[test]
    fn a_spike_is_marked_and_told_not_followed() {
        let mut points = noisy(300);
        points[0].1 = 4e6;
        points[9].1 = f64::NAN;
        let svg = chart(points, Scale::Fitting).svg().unwrap();
        assert!(svg.contains("1 of 300 values beyond the axis, the furthest 4·10⁶; 1 not finite"), "{svg}");
        // A mark at the upper end, and an axis for the others.
        assert!(svg.contains("<polygon") && svg.contains("\n1\n") && !svg.contains("10⁶\n<"));
    }

    #[test]
    fn a_note_is_shorter_beside_a_long_title() {
        let mut points = noisy(300);
        points[0].1 = 4e6;
        let mut drawn = chart(points, Scale::Fitting);
        drawn.panels[0].title = "A title that leaves little room beside it for what is to be said".into();
        assert!(drawn.svg().unwrap().contains("\n1 of 300 beyond, to 4·10⁶\n"));
    }

    #[test]
    fn a_step_is_found_where_it_is_drawn() {
        let drawn = chart(vec![(100.0, 1.0), (400.0, 2.0)], Scale::Linear);
        let place = drawn.place();
        // The line goes from one quarter of the axis, which begins at 0, to its end; an svg has four units a point.
        let svg = drawn.svg().unwrap();
        let own = svg.split("stroke=\"#E69F00\"").nth(1).unwrap();
        let line = own.split("points=\"").nth(1).unwrap();
        let x: f64 = line.split(',').next().unwrap().parse().unwrap();
        let want = place.share.0 + (place.share.1 - place.share.0) / 4.0;
        assert_eq!(place.steps, (0.0, 400.0));
        // Within a point of 640.
        assert!((x / 4.0 / 640.0 - want).abs() < 1.0 / 640.0, "{x} {want}");
    }

    #[test]
    fn a_chart_of_anything_is_a_picture() {
        let odd = vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, f64::INFINITY), (4.0, -1e300), (f64::NAN, 0.0)];
        for points in [odd, vec![], vec![(5.0, 1.0)], vec![(0.0, f64::MAX), (1.0, f64::MIN)]] {
            for scale in [Scale::Fitting, Scale::Linear, Scale::Log, Scale::SymLog(1e-3)] {
                let drawn = chart(points.clone(), scale);
                assert!(drawn.svg().unwrap().ends_with("</svg>\n"), "{points:?}");
                ground::png(drawn.paper(), |paper| drawn.draw(paper)).unwrap();
            }
        }
        assert!(Chart::default().svg().unwrap().contains("<svg"));
        let many = vec![Panel::default(); 100_000];
        let refused = Chart { panels: many, ..Chart::default() }.write(Path::new("no/many.png")).unwrap_err();
        assert!(refused.to_string().contains("fewer panels"), "{refused}");
    }

    #[test]
    fn ten_million_points_are_as_small_as_a_few() {
        let points: Vec<(f64, f64)> = (0..10_000_000).map(|i| (f64::from(i), f64::from(i % 1000))).collect();
        let svg = chart(points, Scale::Fitting).svg().unwrap();
        assert!(svg.len() < 100_000 && svg.contains("\n2·10⁶\n"), "{}", svg.len());
    }
}
