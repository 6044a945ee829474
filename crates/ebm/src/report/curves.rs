//! The curves of runs as charts of a page: a title in words, what is normal, a drawing, its numbers for the pointer.

use ebm_draw::chart::{Chart, Line, Panel};
use serde_json::json;

use super::RunPage;
use super::markup::{json, rounded, text};
use super::words::{Shown, charts};
use crate::error::Result;

/// Width and height of a chart in points; the page scales it.
const SIZE: (u32, u32) = (560, 200);
/// Most points of a curve that the pointer finds; longer ones keep the least and the greatest of each of so many parts.
const POINTS: usize = 1000;

/// All curves: those that are looked at first, then the rest folded away.
pub(super) fn section(runs: &[RunPage]) -> Result<String> {
    let mut names: Vec<&str> = runs.iter().flat_map(|r| r.series.values.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|n| runs.iter().any(|r| r.series.points(n).next().is_some()));
    if names.is_empty() {
        return Ok(String::new());
    }
    let (mut first, mut aside) = (String::new(), String::new());
    for shown in charts(&names, runs.len() == 1) {
        let place = if shown.first { &mut first } else { &mut aside };
        *place += &figure(runs, &shown)?;
    }
    let mut page = String::from("<section id=\"curves\"><h2>Curves</h2>\n");
    page += "<p class=\"quiet\">Pale: the numbers as they are. Strong: their running median. Triangles mark values beyond the axis. \
             The pointer tells the numbers of an update.</p>\n";
    page += &format!("<div class=\"grid\">{first}</div>\n");
    if !aside.is_empty() {
        let open = if first.is_empty() { " open" } else { "" };
        page += &format!(
            "<details{open}><summary>More curves: sampler, rates, buffer, time</summary><div class=\"grid\">{aside}</div></details>\n"
        );
    }
    Ok(page + "</section>\n")
}

fn figure(runs: &[RunPage], shown: &Shown<'_>) -> Result<String> {
    let many = runs.len() > 1;
    let (mut lines, mut legend, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (i, run) in runs.iter().enumerate() {
        for name in &shown.names {
            let points: Vec<(u64, f64)> = run.series.points(name).collect();
            // A run keeps its colour on every chart.
            let group = if many { i } else { legend.len() };
            let called = if many { run.name.as_str() } else { name };
            if !many || legend.len() <= i {
                legend.push(called.to_string());
            }
            if points.is_empty() {
                continue;
            }
            let (x, y): (Vec<u64>, Vec<f64>) =
                thinned(&points, POINTS).into_iter().map(|(x, y)| (x, rounded(y, 5))).unzip();
            numbers.push(json!([called, x, y]));
            let points = points.into_iter().map(|(x, y)| (x as f64, y)).collect();
            lines.push(Line { points, group, cross: many && run.outcome.starts_with("diverged") });
        }
    }
    let words = shown.words;
    let called = shown.names.join(", ");
    let title = match words {
        // One of several that the words are for has its name beside them.
        Some(words) if words.stand_for_more(shown.names.len()) => format!("{}: {called}", words.title),
        Some(words) => words.title.to_string(),
        None => called.clone(),
    };
    let y_title = words.map_or("value", |w| w.unit).to_string();
    let chart = Chart {
        panels: vec![Panel { y_title, lines, ..Panel::default() }],
        legend,
        size: SIZE,
        ..Chart::default()
    };
    let normal = words.map_or(String::new(), |w| format!("<p class=\"normal\">{}</p>", text(w.normal)));
    let ends: Vec<String> = numbers.iter().filter_map(last).collect();
    let says = format!("{title} over updates. {}", ends.join("; "));
    let names: Vec<String> = shown.names.iter().map(|n| format!("<code>{}</code>", text(n))).collect();
    let place = chart.place();
    let data = json!({
        "share": [place.share.0, place.share.1], "steps": [place.steps.0, place.steps.1], "lines": numbers
    });
    Ok(format!(
        "<figure class=\"curve\"><figcaption><h3>{}</h3>{normal}<p class=\"quiet names\">{}</p></figcaption>\n\
         <div class=\"plot\">{}</div><p class=\"tell\" aria-hidden=\"true\">&nbsp;</p>\n\
         <script type=\"application/json\">{}</script></figure>\n",
        text(&title),
        names.join(" "),
        inline(&chart, &says)?,
        json(&data),
    ))
}

/// An svg as a part of a page, with what it says for who cannot see it.
pub(super) fn inline(chart: &Chart, says: &str) -> Result<String> {
    let named = format!("<svg class=\"chart\" role=\"img\" aria-label=\"{}\" ", text(says));
    Ok(chart.svg()?.replacen("<svg ", &named, 1))
}

/// The last number of a line, in words.
fn last(line: &serde_json::Value) -> Option<String> {
    let (name, y) = (line[0].as_str()?, line[2].as_array()?.last()?.as_f64()?);
    Some(format!("{name} ends at {}", super::markup::figure(y)))
}

/// At most `most` points: the least and the greatest of each of `most / 2` parts, so that spikes stay.
fn thinned(curve: &[(u64, f64)], most: usize) -> Vec<(u64, f64)> {
    let n = curve.len();
    if n <= most {
        return curve.to_vec();
    }
    let parts = (most / 2).max(1);
    let mut kept: Vec<(u64, f64)> = Vec::new();
    for part in 0..parts {
        let range = part * n / parts..(part + 1) * n / parts;
        let by = |a: &usize, b: &usize| curve[*a].1.total_cmp(&curve[*b].1);
        let (Some(least), Some(greatest)) = (range.clone().min_by(by), range.max_by(by)) else { continue };
        for at in [least.min(greatest), least.max(greatest)] {
            if kept.last() != Some(&curve[at]) {
                kept.push(curve[at]);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_curve_keeps_its_spikes() {
        let mut curve: Vec<(u64, f64)> = (0..10_000).map(|x| (x, 0.0)).collect();
        (curve[1234].1, curve[7777].1) = (9.0, -9.0);
        let thin = thinned(&curve, 100);
        assert!(thin.len() <= 100 && thin.contains(&(1234, 9.0)) && thin.contains(&(7777, -9.0)));
        assert!(thin.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
