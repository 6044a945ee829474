//! The page around its parts: verdict and figures first, samples, curves, energies, tables, and settings last.

use std::collections::{BTreeMap, BTreeSet};

use ebm_draw::chart::STYLE_SHEET;

use super::RunPage;
use super::markup::{figure, table, tables, text};
use super::{curves, overview, pictures};
use crate::config::compared;
use crate::error::Result;

/// The whole document; it names nothing outside of itself.
pub(super) fn html(runs: &[RunPage]) -> Result<String> {
    let names: Vec<String> = runs.iter().map(|r| text(&r.name)).collect();
    let mut main = overview::section(runs);
    main += &pictures::samples(runs);
    main += &curves::section(runs)?;
    main += &pictures::energies(runs)?;
    main += &pictures::surfaces(runs)?;
    for run in runs {
        for (title, value) in &run.tables {
            main += &format!("<section><h2>{}</h2>{}</section>\n", heading(runs, run, title), tables(value));
        }
    }
    main += &last_values(runs);
    main += &settings(runs);
    let mut page = include_str!("page.html").to_string();
    // The last part may hold any text, so it is put in last.
    for (place, part) in [
        ("/*PAGE.CSS*/", include_str!("page.css")),
        ("/*CHARTS.CSS*/", STYLE_SHEET),
        ("/*PAGE.JS*/", include_str!("page.js")),
        ("<!--VERSION-->", env!("CARGO_PKG_VERSION")),
        ("<!--TITLE-->", &names.join(", ")),
        ("<!--HEADING-->", &names.join(" · ")),
        ("<!--MAIN-->", &main),
    ] {
        page = page.replacen(place, part, 1);
    }
    Ok(page)
}

/// A title, with the run it is of where there are several.
fn heading(runs: &[RunPage], run: &RunPage, title: &str) -> String {
    let named = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
    text(&format!("{named}{title}"))
}

/// The last value of every number, folded away.
fn last_values(runs: &[RunPage]) -> String {
    let names: BTreeSet<&String> = runs.iter().flat_map(|r| r.series.values.keys()).collect();
    if names.is_empty() {
        return String::new();
    }
    let head: Vec<String> =
        std::iter::once(String::new()).chain(runs.iter().map(|r| text(&r.name))).collect();
    let rows: Vec<Vec<String>> = names
        .into_iter()
        .map(|name| {
            let of = |r: &RunPage| r.series.points(name).last().map_or("–".into(), |(_, v)| figure(v));
            std::iter::once(format!("<code>{}</code>", text(name))).chain(runs.iter().map(of)).collect()
        })
        .collect();
    format!(
        "<section id=\"values\"><h2>Last values</h2><details><summary>every number of the last reports</summary>{}</details></section>\n",
        table("", &head, &rows)
    )
}

/// What differs between the configurations, and each of them, folded away.
fn settings(runs: &[RunPage]) -> String {
    let mut page = String::from("<section id=\"settings\"><h2>Settings</h2>\n");
    if runs.len() > 1 {
        let own: Vec<BTreeMap<String, String>> = runs.iter().map(|r| compared::settings(&r.config)).collect();
        let mut keys: Vec<&String> = Vec::new();
        for key in own.iter().flat_map(BTreeMap::keys) {
            let values: BTreeSet<Option<&String>> = own.iter().map(|m| m.get(key)).collect();
            if values.len() > 1 && !keys.contains(&key) {
                keys.push(key);
            }
        }
        let head: Vec<String> =
            std::iter::once(String::new()).chain(runs.iter().map(|r| text(&r.name))).collect();
        let rows: Vec<Vec<String>> = keys
            .into_iter()
            .map(|key| {
                let of = |m: &BTreeMap<String, String>| m.get(key).map_or("–".into(), |v| text(v));
                std::iter::once(text(key)).chain(own.iter().map(of)).collect()
            })
            .collect();
        page += &match rows.is_empty() {
            true => "<p class=\"quiet\">The configurations are the same.</p>\n".into(),
            false => table("what differs", &head, &rows),
        };
    }
    for run in runs {
        page += &format!(
            "<details><summary>{}</summary><pre>{}</pre></details>\n",
            heading(runs, run, "config.toml"),
            text(&run.config)
        );
    }
    page + "</section>\n"
}
