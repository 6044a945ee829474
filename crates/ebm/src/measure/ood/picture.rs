//! The picture of a report: a grid of histograms.

use std::path::Path;

use ebm_draw::distributions::{self, Distribution};

use super::OodReport;
use crate::error::Result;

/// Most outside sets in one picture: more are too small to read.
const MOST: usize = 24;

pub(super) fn write(report: &OodReport, path: &Path) -> Result<()> {
    let columns = report.inside.mean.len().max(1);
    let panels: Vec<Distribution> = report
        .rows
        .iter()
        .take(MOST * columns)
        .map(|row| {
            let h = &row.histogram;
            let share = |counts: &[usize]| {
                let n = counts.iter().sum::<usize>().max(1) as f64;
                counts.iter().map(|c| *c as f64 / n).collect::<Vec<f64>>()
            };
            Distribution {
                title: format!("{}, AUROC {:.3}", short(&row.outside), row.figures.auroc.value),
                x_title: row.score.to_string(),
                range: (h.edges.first().copied().unwrap_or(0.0), h.edges.last().copied().unwrap_or(1.0)),
                series: vec![share(&h.inside), share(&h.outside)],
            }
        })
        .collect();
    let legend = [format!("inside: {}", short(&report.inside.name)), "outside".to_string()];
    Ok(distributions::write(path, &panels, columns, &legend)?)
}

/// The last two parts of a path; a name as it is.
fn short(name: &str) -> String {
    let mut parts: Vec<&str> = name.trim_end_matches('/').rsplit('/').take(2).collect();
    parts.reverse();
    parts.join("/")
}
