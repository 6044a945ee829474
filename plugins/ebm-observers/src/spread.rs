//! Histograms over training as a picture: time to the right, values upwards, more ink where more values are.

use std::path::Path;

use ebm_core::Result;
use ebm_draw::chart::{Block, Chart, Panel, Scale};
use serde::{Deserialize, Serialize};

use crate::probe::Bins;

/// What is shown, in this order, and what its axis is called; data and samples of each share a panel.
const QUANTITIES: [(&str, &str, &str); 3] = [
    ("energy", "Energy", "energy (nats)"),
    ("slope", "Norm of the energy's slope", "nats a unit"),
    ("values", "Values", "value"),
];
/// The groups, after the dot of a name.
const GROUPS: [&str; 2] = ["data", "samples"];

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
    // Each column reaches from its step to the next one.
    let mut steps: Vec<u64> = entries.iter().map(|e| e.step).collect();
    steps.dedup();
    let width = steps.windows(2).map(|w| w[1] - w[0]).next_back().or(steps.first().copied()).unwrap_or(1);
    let end = steps.last().copied().unwrap_or(0) + width;
    let panel = |(quantity, title, y_title): (&str, &str, &str)| Panel {
        title: title.into(),
        y_title: y_title.into(),
        scale: Scale::Linear,
        across: Some((0.0, end as f64)),
        blocks: (GROUPS.iter().enumerate())
            .flat_map(|(group, what)| {
                let name = format!("{quantity}.{what}");
                entries.iter().filter(move |e| e.name == name).map(move |e| (group, e))
            })
            .flat_map(|(group, e)| {
                let next = steps.iter().find(|s| **s > e.step).copied().unwrap_or(end);
                column(e, (e.step as f64, next as f64), group)
            })
            .collect(),
        ..Panel::default()
    };
    let panels = QUANTITIES.map(panel).to_vec();
    let legend = GROUPS.map(String::from).to_vec();
    Chart { panels, legend, ..Chart::default() }.write(path)
}

/// The bins of a histogram that hold anything, above each other: more of them, more ink.
fn column(e: &Entry, across: (f64, f64), group: usize) -> impl Iterator<Item = Block> {
    let most = e.bins.counts.iter().max().copied().unwrap_or(1).max(1);
    e.bins.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(bin, n)| {
        let cover = 0.1 + 0.6 * *n as f64 / most as f64;
        Block { across, up: e.bins.edges(bin), group, cover }
    })
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
        // The column of step 10 is the right half of the first field, from about 750 to 1230 of 1280 pixels and 100 to 380 down.
        let (x, low, high) = (1000, 320, 160);
        assert!(red(x, low) < red(x, high), "{} {} of {h}", red(x, low), red(x, high));
        assert_eq!(red(300, low), 255);
        write(&path, &[]).unwrap();
        write(&path, &[entry(1, "energy.samples", &[3.0])]).unwrap();
    }
}
