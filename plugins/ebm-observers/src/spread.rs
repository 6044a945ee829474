//! Histograms over training as a picture: time to the right, values upwards, more ink where more values are.

use std::path::Path;

use ebm_core::Result;
use ebm_draw::chart::{self, Axes, Scale};
use serde::{Deserialize, Serialize};

use crate::probe::Bins;

/// What is shown, in this order; data and samples of each share a panel.
const QUANTITIES: [(&str, &str); 3] =
    [("energy", "energy"), ("slope", "norm of the energy's slope"), ("values", "values")];
/// Ink of each, after the dot of its name.
const INKS: [(&str, [f32; 3]); 2] = [("data", [0.35, 0.35, 0.35]), ("samples", [0.0, 0.45, 0.80])];

/// A histogram of one quantity at one step: a line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub step: u64,
    pub name: String,
    #[serde(flatten)]
    pub bins: Bins,
}

/// Draws all histograms to `path`; the file appears whole or not at all.
pub(crate) fn write(path: &Path, entries: &[Entry]) -> Result<()> {
    let mut canvas = chart::paper(QUANTITIES.len());
    // Each column reaches from its step to the next one.
    let mut steps: Vec<u64> = entries.iter().map(|e| e.step).collect();
    steps.dedup();
    let width = steps.windows(2).map(|w| w[1] - w[0]).next_back().or(steps.first().copied()).unwrap_or(1);
    let end = steps.last().copied().unwrap_or(0) + width;
    for (i, (quantity, title)) in QUANTITIES.iter().enumerate() {
        let of = |what: &str| {
            let name = format!("{quantity}.{what}");
            entries.iter().filter(move |e| e.name == name)
        };
        let both = INKS.iter().flat_map(|(what, _)| of(what));
        let range = both.fold((f64::MAX, f64::MIN), |(l, h), e| (l.min(e.bins.low), h.max(e.bins.high)));
        let axes = Axes::new(i, Scale::Linear, range, end as f64);
        axes.draw(&mut canvas, title);
        for (what, ink) in INKS {
            let most = |e: &Entry| e.bins.counts.iter().max().copied().unwrap_or(1).max(1);
            for e in of(what) {
                let next = steps.iter().find(|s| **s > e.step).copied().unwrap_or(end);
                for (bin, n) in e.bins.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
                    let cover = 0.1 + 0.6 * *n as f32 / most(e) as f32;
                    let (low, high) = e.bins.edges(bin);
                    axes.fill(&mut canvas, (e.step as f64, next as f64), (low, high), ink, cover);
                }
            }
        }
    }
    chart::draw_legend(&mut canvas, &INKS);
    canvas.write(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn more_values_are_more_ink_at_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let entry = |step, name: &str, values: &[f32]| Entry {
            step,
            name: name.into(),
            bins: Bins::of(values, 2).unwrap(),
        };
        // Three of four energies of the data are low.
        write(&path, &[entry(10, "energy.data", &[0.0, 0.0, 0.0, 1.0])]).unwrap();
        let set = ebm_data::folder::read(folder.path(), &Default::default()).unwrap();
        let (_, h, w) = set.shape();
        let red = |x: usize, y: usize| set.bytes()[y * w + x];
        // The column of step 10 is the right half of the field: from 376 to 690 of 860 pixels.
        let (x, low, high) = (500, h / 3 - 60, 60);
        assert!(red(x, low) < red(x, high), "{} {}", red(x, low), red(x, high));
        assert_eq!(red(200, low), 255);
        write(&path, &[]).unwrap();
        write(&path, &[entry(1, "energy.samples", &[3.0])]).unwrap();
    }
}
