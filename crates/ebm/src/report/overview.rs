//! The top of a page: whether each run is well, its key figures, its measures.

use serde_json::Value;

use super::RunPage;
use ebm_draw::chart::number;

use super::markup::{figure, leaves, rounded, table, tables, text};
use super::words::measure;
use crate::report::Level;

/// The last part of a run that late figures are of.
const LATE: f64 = 0.1;

/// A figure with its name and what is normal.
struct Key {
    name: &'static str,
    value: String,
    normal: &'static str,
}

/// Verdicts, key figures, measures.
pub(super) fn section(runs: &[RunPage]) -> String {
    let mut page = String::from("<section id=\"overview\">\n");
    runs.iter().for_each(|run| page += &verdict(run, runs.len() > 1));
    page += "<h2>Key figures</h2>\n";
    let keys: Vec<Vec<Key>> = runs.iter().map(keys).collect();
    if let [only] = keys.as_slice() {
        page += "<dl class=\"cards\">";
        for key in only {
            page += &format!(
                "<div><dt>{}</dt><dd>{}</dd><dd class=\"quiet\">{}</dd></div>",
                text(key.name),
                text(&key.value),
                text(key.normal)
            );
        }
        page += "</dl>\n";
    } else {
        let mut names: Vec<(&str, &str)> = Vec::new();
        for key in keys.iter().flatten() {
            if !names.iter().any(|(n, _)| *n == key.name) {
                names.push((key.name, key.normal));
            }
        }
        let of = |own: &[Key], name: &str| {
            own.iter().find(|k| k.name == name).map_or("–".into(), |k| text(&k.value))
        };
        let rows: Vec<Vec<String>> = names
            .iter()
            .map(|(name, normal)| {
                let values = keys.iter().map(|own| of(own, name));
                std::iter::once(text(name)).chain(values).chain([aside(normal)]).collect()
            })
            .collect();
        page += &table("", &head(runs.iter().map(|r| text(&r.name)), "normal"), &rows);
    }
    page + &measures(runs) + "</section>\n"
}

/// An empty corner, titles, and what is said at the end.
fn head(titles: impl Iterator<Item = String>, said: &str) -> Vec<String> {
    std::iter::once(String::new()).chain(titles).chain([aside(said)]).collect()
}

/// What is said aside.
fn aside(t: &str) -> String {
    format!("<span class=\"quiet\">{}</span>", text(t))
}

fn verdict(run: &RunPage, many: bool) -> String {
    let (class, word, sign) = match run.health.level {
        Level::Well => ("well", "well", "✓"),
        Level::Watch => ("watch", "watch", "!"),
        Level::Ill => ("ill", "ill", "✕"),
    };
    let name = if many { format!("{}: ", text(&run.name)) } else { String::new() };
    let mut page = format!(
        "<div class=\"health {class}\"><p class=\"word\"><span aria-hidden=\"true\">{sign}</span> {name}{word}</p><p>{}</p>",
        text(&run.health.sentence)
    );
    run.health.remarks.iter().for_each(|t| page += &format!("<p>{}</p>", text(t)));
    run.notes.iter().for_each(|t| page += &format!("<p class=\"quiet\">{}</p>", text(t)));
    page + "</div>\n"
}

fn keys(run: &RunPage) -> Vec<Key> {
    let short = |v: f64| number(rounded(v, 3));
    let mut all = Vec::new();
    let mut add = |name, value: Option<String>, normal| {
        all.extend(value.map(|value| Key { name, value, normal }));
    };
    let late = |name: &str| run.series.late(name, LATE);
    let percent = |v: f64| format!("{} %", short(100.0 * v));
    let of = run.of.map_or(String::new(), |of| format!(" of {}", number(of as f64)));
    add("updates", Some(format!("{}{of}", number(run.step as f64))), "");
    add("end", Some(run.outcome.clone()), "");
    add("time", run.seconds.map(|s| format!("{} s", short(s))), "of the last time it ran");
    add("an update", late("seconds").map(|s| format!("{} ms", short(1e3 * s))), "median of the last tenth");
    add(
        "E data − E samples",
        late("energy.difference").map(|v| format!("{} nats", short(v))),
        "small beside the spread; median of the last tenth",
    );
    add(
        "spread of E data",
        late("energy.data.sd").map(|v| format!("{} nats", short(v))),
        "above zero, as that of the samples",
    );
    add("samples above data", late("energy.overlap").map(percent), "of all pairs; near 50 %");
    add("gradient norm", late("grad").map(short), "not growing; median of the last tenth");
    add("accepted", late("sampler.accepted").map(percent), "of the proposals; far from 0 and 100 %");
    add("labels found", late("label.accuracy").map(percent), "of a batch");
    add(
        "batches left out",
        run.skipped.filter(|n| *n > 0).map(|n| number(n as f64)),
        "none: a number in each was not finite",
    );
    all
}

/// `measures.json` of each run: samples beside real data and noise, or runs beside each other.
fn measures(runs: &[RunPage]) -> String {
    let found: Vec<(&RunPage, &Value)> =
        runs.iter().filter_map(|r| Some((r, r.measures.as_ref()?))).collect();
    let Some((_, first)) = found.first() else { return String::new() };
    let mut page = String::from("<h2>Measures of the samples</h2>\n");
    if let ([_], Some(sets)) = (found.as_slice(), sets(first)) {
        let count = first["count"].as_u64().map_or(String::new(), |n| format!("{n} samples"));
        let own = sets.iter().map(|(k, v)| (if k == "real" { "held-out data".into() } else { text(k) }, *v));
        page += &beside(&count, own.collect());
    } else if found.len() == 1 {
        page += &tables(first);
    } else {
        page += &beside("", found.iter().map(|(r, v)| (text(&r.name), *v)).collect());
    }
    page
}

/// A table of all measures of some sets or runs.
fn beside(caption: &str, of: Vec<(String, &Value)>) -> String {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in of.iter().flat_map(|(_, v)| leaves(v)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let rows: Vec<Vec<String>> = names.iter().map(|name| row(name, of.iter().map(|(_, v)| *v))).collect();
    table(caption, &head(of.into_iter().map(|(title, _)| title), "what it is"), &rows)
}

/// A measure of some sets or runs, with what it says.
fn row<'a>(name: &str, of: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let value = |v: &Value| {
        let all = leaves(v);
        let leaf = all.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        match leaf {
            Some(Value::String(s)) => text(s),
            Some(v) => v.as_f64().map_or("–".into(), figure),
            None => "–".into(),
        }
    };
    std::iter::once(text(name)).chain(of.map(value)).chain([aside(measure(name))]).collect()
}

/// The sets that were measured, if that is what stands there: every record of the file.
fn sets(value: &Value) -> Option<Vec<(String, &Value)>> {
    let map = value.as_object()?;
    let mut records: Vec<(String, &Value)> =
        map.iter().filter(|(_, v)| v.is_object()).map(|(k, v)| (k.clone(), v)).collect();
    // Samples first, whatever the order of the file.
    records.sort_by_key(|(k, _)| ["samples", "real", "noise"].iter().position(|n| n == k).unwrap_or(3));
    (!records.is_empty()).then_some(records)
}
