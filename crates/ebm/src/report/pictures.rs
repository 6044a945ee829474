//! What can be seen of runs: samples over training beside each other, histograms of energies, surfaces of the plane.

use base64::Engine as _;
use ebm_data::png::Sheet;
use ebm_draw::chart::{Chart, number};
use ebm_draw::distributions::Distribution;

use super::RunPage;
use super::curves::inline;
use super::landscape::{Histograms, Surface};
use super::markup::text;
use super::sheets::Picture;
use crate::error::Result;

/// Width and height of a histogram in points.
const SIZE: (u32, u32) = (560, 220);
/// Pixels a side of a cell of a surface.
const ZOOM: usize = 4;
/// Below this share of the energies the colours of a surface run: beyond it there is nothing to tell apart.
const TOLD: f64 = 0.6;

/// Samples over training, in strips, and those at the end.
pub(super) fn samples(runs: &[RunPage]) -> String {
    let mut page = String::new();
    for run in runs.iter().filter(|r| !r.sheets.is_empty() || r.samples.is_some()) {
        let named = if runs.len() > 1 { format!(" of {}", text(&run.name)) } else { String::new() };
        page += &format!("<section class=\"samples\"><h2>Samples over training{named}</h2>\n");
        for sheets in &run.sheets {
            page += &format!("<h3>{}</h3><div class=\"strip\" tabindex=\"0\">", text(&sheets.kind));
            for p in &sheets.pictures {
                let after = format!("after update {}", number(p.step as f64));
                page += &picture(p, &format!("{} {after}", sheets.kind), &after);
            }
            page += "</div>\n";
        }
        if let Some(p) = &run.samples {
            page += "<h3>at the end</h3>";
            page += &picture(p, "samples at the end, drawn from fresh starts", "drawn from fresh starts");
        }
        page += "</section>\n";
    }
    page
}

fn picture(p: &Picture, says: &str, caption: &str) -> String {
    let (width, height) = p.size;
    format!(
        "<figure><img src=\"{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\"><figcaption>{}</figcaption></figure>\n",
        p.data,
        text(says),
        text(caption)
    )
}

/// Histograms of energies, run by run.
pub(super) fn energies(runs: &[RunPage]) -> Result<String> {
    if runs.iter().all(|r| r.histograms.is_empty()) {
        return Ok(String::new());
    }
    let mut page = String::from(
        "<section id=\"energies\"><h2>Energies</h2>\n<p class=\"quiet\">Low energy is likely. Held-out data lie where \
         training data lie, or the model has learnt them by heart; chains lie where data lie; noise lies far above.</p>\n\
         <div class=\"grid\">",
    );
    for run in runs {
        let named = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
        for h in &run.histograms {
            let title = format!("{named}{}", h.title);
            page += &format!("<figure><figcaption><h3>{}</h3></figcaption>", text(&title));
            page += &inline(&histogram(h), &format!("Histogram of energies: {title}"))?;
            page += "</figure>\n";
        }
    }
    Ok(page + "</div></section>\n")
}

fn histogram(h: &Histograms) -> Chart {
    let share = |counts: &Vec<u64>| -> Vec<f64> {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        counts.iter().map(|n| *n as f64 / all).collect()
    };
    let d = Distribution {
        title: String::new(),
        x_title: "energy (nats)".into(),
        range: (h.edges.first().copied().unwrap_or(0.0), h.edges.last().copied().unwrap_or(1.0)),
        series: h.sets.iter().map(|(_, counts)| share(counts)).collect(),
    };
    let legend = h.sets.iter().map(|(name, _)| name.clone()).collect();
    Chart {
        panels: vec![d.panel("share of the set")],
        legend,
        columns: 1,
        size: SIZE,
        x_title: String::new(),
    }
}

/// Energies over the plane.
pub(super) fn surfaces(runs: &[RunPage]) -> Result<String> {
    let planes: Vec<(&RunPage, &Surface)> =
        runs.iter().filter_map(|r| Some((r, r.surface.as_ref()?))).collect();
    if planes.is_empty() {
        return Ok(String::new());
    }
    let mut page = String::from(
        "<section id=\"plane\"><h2>Energy over the plane</h2>\n<p class=\"quiet\">Yellow is low energy (likely), violet is high; \
         white points are data, orange ones chains of the replay buffer.</p>\n<div class=\"strip\">",
    );
    for (run, surface) in planes {
        let (pixels, side) = painted(surface);
        let sheet = Sheet { gap: 0, ..Sheet::default() };
        let png = sheet.encode(&pixels, (1, 3, side, side))?;
        let data = format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png));
        let p = Picture { step: run.step, data, size: (side, side) };
        page += &picture(&p, &format!("Energy over the plane, {}", run.name), &run.name);
    }
    Ok(page + "</div></section>\n")
}

/// Colours of viridis, from dark to light.
const VIRIDIS: [[u8; 3]; 6] =
    [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];

/// The colour of a share, low ones dark.
fn viridis(share: f64) -> [f32; 3] {
    let at = share.clamp(0.0, 1.0) as f32 * (VIRIDIS.len() - 1) as f32;
    let i = (at as usize).min(VIRIDIS.len() - 2);
    let t = at - i as f32;
    let part = |j: usize, c: usize| f32::from(VIRIDIS[j][c]) / 255.0;
    std::array::from_fn(|c| (1.0 - t) * part(i, c) + t * part(i + 1, c))
}

/// Planes of red, green and blue of a square, and its side in pixels.
fn painted(surface: &Surface) -> (Vec<f32>, usize) {
    let (cells, side) = (surface.cells, ZOOM * surface.cells);
    let mut finite: Vec<f64> =
        surface.energies.iter().map(|e| f64::from(*e)).filter(|e| e.is_finite()).collect();
    finite.sort_by(f64::total_cmp);
    let low = finite.first().copied().unwrap_or(0.0);
    let high = finite.get((finite.len() as f64 * TOLD) as usize).copied().unwrap_or(1.0);
    let mut pixels = vec![0f32; 3 * side * side];
    let mut paint = |x: usize, y: usize, ink: [f32; 3]| {
        ink.iter().enumerate().for_each(|(c, v)| pixels[(c * side + y) * side + x] = *v);
    };
    for y in 0..side {
        for x in 0..side {
            let e = f64::from(surface.energies[x / ZOOM * cells + cells - 1 - y / ZOOM]);
            let share = if e.is_finite() { 1.0 - (e - low) / (high - low).max(1e-300) } else { 0.0 };
            paint(x, y, viridis(share));
        }
    }
    for (points, ink) in [(&surface.data, [1.0; 3]), (&surface.chains, [0.9, 0.62, 0.0])] {
        for [x, y] in points {
            let at = |v: f64| (v + 1.0) / 2.0 * side as f64;
            let (px, py) = (at(f64::from(*x) / surface.half), at(-f64::from(*y) / surface.half));
            for (dx, dy) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
                let (px, py) = (px + dx, py + dy);
                if (0.0..side as f64).contains(&px) && (0.0..side as f64).contains(&py) {
                    paint(px as usize, py as usize, ink);
                }
            }
        }
    }
    (pixels, side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_energies_are_yellow_where_they_are_and_points_lie_on_them() {
        // Low in the cell at the lower left, the first.
        let surface = Surface {
            half: 1.0,
            cells: 2,
            energies: vec![0.0, 5.0, 5.0, f32::NAN],
            data: vec![[0.9, 0.9], [f32::NAN, 0.0], [7.0, 0.0]],
            chains: vec![],
        };
        let (pixels, side) = painted(&surface);
        let at = |x: usize, y: usize| [0, 1, 2].map(|c| pixels[(c * side + y) * side + x]);
        assert_eq!((side, viridis(0.0)[0]), (8, 68.0 / 255.0));
        assert_eq!((at(0, 7), at(0, 0)), (viridis(1.0), viridis(0.0)));
        assert_eq!(at(7, 0), [1.0; 3]);
    }
}
