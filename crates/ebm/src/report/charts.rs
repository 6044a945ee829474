//! Charts of runs: energies and gradient norms over steps, a line a run.

use std::path::{Path, PathBuf};

use ebm_draw::chart::{self, Line, Panel, Scale};

use crate::error::Result;
use crate::report::series::Series;

/// Energies below this are drawn on a linear scale: those of stable runs are about as large.
const SMALL: f64 = 0.01;

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

/// Writes `energies.png` and, if a run has norms of terms, `gradients.png` into `directory`; energies are cut at
/// `most`.
pub(crate) fn write(
    runs: &[Charted<'_>],
    legend: &[String],
    most: f64,
    directory: &Path,
) -> Result<Vec<PathBuf>> {
    let energies = [
        ("energy.data", "mean energy of the data"),
        ("energy.samples", "mean energy of the samples"),
        ("energy.difference", "energy of the data - energy of the samples"),
    ];
    let norms = [
        ("grad.cd", "norm of the gradient, contrastive divergence"),
        ("grad.kl", "norm of the gradient, KL term"),
        ("grad.ent", "norm of the gradient, entropy term"),
        ("grad.reg", "norm of the gradient, energy penalty"),
    ];
    let mut files = Vec::new();
    for (file, names, scale, cut) in [
        ("energies.png", &energies[..], Scale::SymLog(SMALL), most),
        ("gradients.png", &norms[..], Scale::Log, f64::INFINITY),
    ] {
        let panels: Vec<Panel> = names
            .iter()
            .map(|(name, title)| panel(runs, (name, title), scale, cut))
            .filter(|p| !p.lines.is_empty())
            .collect();
        if !panels.is_empty() {
            let path = directory.join(file);
            chart::write(&path, &panels, legend)?;
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
    Panel { title: title.into(), scale, lines: lines.collect() }
}
