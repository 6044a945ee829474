//! Histograms of a few sets over each other, in a grid of panels, as png or svg.

use std::path::Path;

use ebm_core::Result;

use crate::chart::{Block, Chart, Panel};

/// Width and height of a panel in points.
const SIZE: (u32, u32) = (320, 200);
/// How much a bar covers of those behind it.
const COVER: f64 = 0.55;
/// The least height of a bar as a share of the highest: a bin that holds anything is seen.
const SEEN: f64 = 0.008;

/// One field of the grid.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// What is shown.
    pub title: String,
    /// The quantity along the axis, with its unit.
    pub x_title: String,
    /// Ends of the axis.
    pub range: (f64, f64),
    /// The share of each bin, for each set; later sets lie on top.
    pub series: Vec<Vec<f64>>,
}

impl Distribution {
    /// Its panel; `y_title` says what of a set is in a bin.
    pub fn panel(&self, y_title: &str) -> Panel {
        let most = self.series.iter().flatten().copied().filter(|s| s.is_finite()).fold(0.0, f64::max);
        let (low, high) = self.range;
        let bars = self.series.iter().enumerate().flat_map(|(group, shares)| {
            let width = (high - low) / shares.len().max(1) as f64;
            let bar = move |(bin, share): (usize, &f64)| Block {
                across: (low + bin as f64 * width, low + (bin + 1) as f64 * width),
                up: (0.0, share.max(SEEN * most)),
                group,
                cover: COVER,
            };
            shares.iter().enumerate().filter(|(_, s)| **s > 0.0 && s.is_finite()).map(bar)
        });
        Panel {
            title: self.title.clone(),
            x_title: self.x_title.clone(),
            y_title: y_title.into(),
            across: Some(if low < high { self.range } else { (low - 0.5, low + 0.5) }),
            blocks: bars.collect(),
            ..Panel::default()
        }
    }
}

/// Writes a grid of `columns`, with the names of the sets in `legend` above; `path` ends in `.png` or `.svg`.
///
/// # Errors
/// As [`Chart::write`].
pub fn write(path: &Path, all: &[Distribution], columns: usize, legend: &[String]) -> Result<()> {
    let panels = all.iter().map(|d| d.panel("share of the set")).collect();
    Chart { panels, legend: legend.to_vec(), columns, size: SIZE, x_title: String::new() }.write(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn distribution() -> Distribution {
        Distribution {
            title: "a < b".into(),
            x_title: "score (nats)".into(),
            range: (-1.0, 3.0),
            series: vec![vec![0.5, 0.5, 0.0], vec![0.0, 0.1, 0.9]],
        }
    }

    #[test]
    fn bars_of_all_sets_names_and_marks_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let at = |n: &str| folder.path().join(n);
        write(&at("a.svg"), &[distribution()], 1, &["x".into(), "y".into()]).unwrap();
        let svg = std::fs::read_to_string(at("a.svg")).unwrap();
        for text in ["a &lt; b", "score (nats)", "share of the set", "\nx\n", "\ny\n", "\n0\n", "\n2\n"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        // Two bins of each set, two entries of the legend, the paper.
        assert_eq!(svg.matches("<rect").count(), 7, "{svg}");
        write(&at("a.png"), &[distribution(), distribution(), distribution()], 2, &[]).unwrap();
        write(&at("b.png"), &[], 3, &[]).unwrap();
        let odd =
            Distribution { range: (2.0, 2.0), series: vec![vec![], vec![0.0, f64::NAN]], ..distribution() };
        write(&at("c.svg"), &[odd], 1, &[]).unwrap();
    }

    #[test]
    fn a_bar_is_as_high_as_its_share() {
        let panel = distribution().panel("share");
        let bars: Vec<_> = panel.blocks.iter().map(|b| (b.across, b.up.1, b.group)).collect();
        assert_eq!(bars.len(), 4);
        assert_eq!((bars[0].1, bars[2].1, bars[3].1, bars[3].2), (0.5, 0.1, 0.9, 1));
        assert!((bars[3].0.0 - (3.0 - 4.0 / 3.0)).abs() < 1e-12 && (bars[3].0.1 - 3.0).abs() < 1e-12);
    }
}
