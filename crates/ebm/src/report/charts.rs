//! Charts of runs: energies and gradient norms over steps, a line a run.

use std::path::{Path, PathBuf};

use ebm_draw::chart::{Chart, Line, Panel, Scale};

use crate::error::Result;
use crate::report::series::Series;

/// One run on the charts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charted<'a> {
    /// Its numbers.
    pub series: &'a Series,
    /// Which entry of the legend it belongs to.
    pub group: usize,
    /// Whether a cross marks its end.
    pub cross: bool,
}

/// What the axes are called.
const ENERGY: &str = "energy (nats)";
const NORM: &str = "norm";

/// Writes `energies` and, if a run has norms of terms, `gradients` into `directory`, each as png and svg; energies are
/// cut at `most`.
pub(crate) fn write(
    runs: &[Charted<'_>],
    legend: &[String],
    most: f64,
    directory: &Path,
) -> Result<Vec<PathBuf>> {
    let energies = [
        ("energy.data", "Mean energy of the data"),
        ("energy.samples", "Mean energy of the samples"),
        ("energy.difference", "Energy of the data minus energy of the samples"),
    ];
    let norms = [
        ("grad.cd", "Gradient of contrastive divergence"),
        ("grad.kl", "Gradient of the KL term"),
        ("grad.ent", "Gradient of the entropy term"),
        ("grad.reg", "Gradient of the energy penalty"),
    ];
    let mut files = Vec::new();
    for (stem, names, y_title, scale, cut) in [
        ("energies", &energies[..], ENERGY, Scale::Fitting, most),
        ("gradients", &norms[..], NORM, Scale::Log, f64::INFINITY),
    ] {
        let panels: Vec<Panel> = names
            .iter()
            .map(|(name, title)| Panel { y_title: y_title.into(), ..panel(runs, (name, title), scale, cut) })
            .filter(|p| !p.lines.is_empty())
            .collect();
        if panels.is_empty() {
            continue;
        }
        let chart = Chart { panels, legend: legend.to_vec(), ..Chart::default() };
        for ending in ["png", "svg"] {
            let path = directory.join(stem).with_extension(ending);
            chart.write(&path)?;
            files.push(path);
        }
    }
    Ok(files)
}

fn panel(runs: &[Charted<'_>], (name, title): (&str, &str), scale: Scale, cut: f64) -> Panel {
    let lines = runs.iter().filter_map(|run| {
        let points: Vec<(f64, f64)> =
            run.series.points(name).map(|(step, v)| (step as f64, v.clamp(-cut, cut))).collect();
        (!points.is_empty()).then_some(Line { points, group: run.group, cross: run.cross })
    });
    Panel { title: title.into(), scale, lines: lines.collect(), ..Panel::default() }
}
