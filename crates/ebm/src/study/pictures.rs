//! The pictures of a study: energies and gradient norms over steps, a line a run, a colour a variant.

use std::path::{Path, PathBuf};

use ebm_observers::chart::{self, Line, Panel, Scale};

use super::record::Ended;
use super::summary::Summary;
use crate::Result;

/// Energies below this are drawn on a linear scale: those of stable runs are about as large.
const SMALL: f64 = 0.01;

/// Energies are cut at this many times the bound, or a run that blows up in one step leaves no room for the others.
const BEYOND: f64 = 10.0;

/// Writes `energies.png` and, if a run has norms of terms, `gradients.png` into `directory`.
pub(super) fn write(summary: &Summary, directory: &Path) -> Result<Vec<PathBuf>> {
    let legend: Vec<String> = summary.variants.iter().map(|v| v.name.clone()).collect();
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
    let most = BEYOND * summary.max_energy;
    let mut files = Vec::new();
    for (file, names, scale, cut) in [
        ("energies.png", &energies[..], Scale::SymLog(SMALL), most),
        ("gradients.png", &norms[..], Scale::Log, f64::INFINITY),
    ] {
        let panels: Vec<Panel> = names
            .iter()
            .map(|(name, title)| panel(summary, &legend, (name, title), scale, cut))
            .filter(|p| !p.lines.is_empty())
            .collect();
        if !panels.is_empty() {
            let path = directory.join(file);
            chart::write(&path, &panels, &legend)?;
            files.push(path);
        }
    }
    Ok(files)
}

fn panel(summary: &Summary, legend: &[String], (name, title): (&str, &str), scale: Scale, cut: f64) -> Panel {
    let lines = summary.runs.iter().filter_map(|run| {
        let points: Vec<(f64, f64)> =
            run.series.points(name).map(|(step, v)| (step as f64, v.clamp(-cut, cut))).collect();
        let group = legend.iter().position(|v| *v == run.record.variant)?;
        (!points.is_empty()).then_some(Line { points, group, cross: run.record.ended == Ended::BlownUp })
    });
    Panel { title: title.into(), scale, lines: lines.collect() }
}
