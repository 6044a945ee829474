//! Text, tables and numbers as parts of a page.

use ebm_draw::chart::number;
use serde_json::Value;

/// A text that ends no element and no attribute.
pub(super) fn text(t: &str) -> String {
    let mut safe = String::with_capacity(t.len());
    for c in t.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
    }
    safe
}

/// A value as JSON that ends no script element.
pub(super) fn json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// A number with four digits.
pub(super) fn figure(v: f64) -> String {
    number(rounded(v, 4))
}

/// A number with so many digits.
pub(super) fn rounded(v: f64, digits: usize) -> f64 {
    format!("{v:.*e}", digits.saturating_sub(1)).parse().unwrap_or(v)
}

/// What stands in a cell for a value of a file.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".into(),
        Some(Value::String(s)) => text(s),
        Some(v) => v.as_f64().map_or_else(|| text(&v.to_string()), figure),
    }
}

/// A table whose cells are markup: rows begin with their names.
pub(super) fn table(caption: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let mut page = String::from("<div class=\"wide\"><table>");
    if !caption.is_empty() {
        page += &format!("<caption>{}</caption>", text(caption));
    }
    if !head.is_empty() {
        page += "<thead><tr>";
        head.iter().for_each(|h| page += &format!("<th scope=\"col\">{h}</th>"));
        page += "</tr></thead>";
    }
    page += "<tbody>";
    for row in rows {
        page += "<tr>";
        for (i, c) in row.iter().enumerate() {
            page += &if i == 0 { format!("<th scope=\"row\">{c}</th>") } else { format!("<td>{c}</td>") };
        }
        page += "</tr>";
    }
    page + "</tbody></table></div>\n"
}

/// Paths and values of all leaves.
pub(super) fn leaves(value: &Value) -> Vec<(String, &Value)> {
    fn go<'a>(value: &'a Value, path: String, all: &mut Vec<(String, &'a Value)>) {
        let under = |k: &str| if path.is_empty() { k.to_string() } else { format!("{path}.{k}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| go(v, under(k), all)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| go(v, under(&i.to_string()), all))
            }
            leaf => all.push((path, leaf)),
        }
    }
    let mut all = Vec::new();
    go(value, String::new(), &mut all);
    all
}

/// Columns of a table of records at most: more are too many to read.
const COLUMNS: usize = 24;

/// A value of a file as tables: figures as rows of two cells, records as rows of many.
pub(super) fn tables(value: &Value) -> String {
    let is_record = |v: &Value| v.is_object();
    let named = |v: &Value| -> Vec<(String, Value)> {
        match v {
            Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v.clone())).collect(),
            Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            _ => Vec::new(),
        }
    };
    let rows = named(value);
    if !rows.is_empty() && rows.iter().all(|(_, v)| is_record(v)) {
        return records(&rows);
    }
    let (plain, rest): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(_, v)| !v.is_object() && !v.is_array());
    // Figures beside records, such as {count, samples: {...}, real: {...}}.
    if value.is_object() && !rest.is_empty() {
        let own: Vec<Vec<String>> = plain.iter().map(|(k, v)| vec![text(k), cell(Some(v))]).collect();
        let own = if own.is_empty() { String::new() } else { table("", &[], &own) };
        let parts = match rest.iter().all(|(_, v)| is_record(v)) {
            true => records(&rest),
            false => rest.iter().map(|(k, v)| format!("<h3>{}</h3>{}", text(k), tables(v))).collect(),
        };
        return own + &parts;
    }
    let rows: Vec<Vec<String>> =
        leaves(value).into_iter().map(|(path, v)| vec![text(&path), cell(Some(v))]).collect();
    table("", &[], &rows)
}

fn records(rows: &[(String, Value)]) -> String {
    let flats: Vec<Vec<(String, &Value)>> = rows.iter().map(|(_, v)| leaves(v)).collect();
    let mut columns: Vec<&String> = Vec::new();
    for (name, _) in flats.iter().flatten() {
        if !columns.contains(&name) && columns.len() < COLUMNS {
            columns.push(name);
        }
    }
    let head: Vec<String> = std::iter::once(String::new()).chain(columns.iter().map(|c| text(c))).collect();
    let body: Vec<Vec<String>> = rows
        .iter()
        .zip(&flats)
        .map(|((name, _), flat)| {
            let of = |c: &&String| cell(flat.iter().find(|(n, _)| n == *c).map(|(_, v)| *v));
            std::iter::once(text(name)).chain(columns.iter().map(of)).collect()
        })
        .collect();
    table("", &head, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_written_ends_its_element() {
        assert_eq!(text("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
        assert!(!json(&json!("</script>")).contains('<'));
        assert!(
            tables(&json!({"<i>": {"<u>": "<p>"}}))
                .contains("<th scope=\"row\">&lt;i&gt;</th><td>&lt;p&gt;</td>")
        );
    }

    #[test]
    fn values_become_rows_records_and_parts() {
        let figures = tables(&json!({"a": 1.23456, "b": null}));
        assert!(figures.contains("<th scope=\"row\">a</th><td>1.235</td>") && figures.contains("<td>–</td>"));
        let records = tables(&json!([{"x": 1, "y": {"z": 2}}, {"x": 3}]));
        assert!(records.contains("<th scope=\"col\">y.z</th>") && records.contains("<td>3</td><td>–</td>"));
        let both = tables(&json!({"count": 5, "samples": {"near": 0.5}, "real": {"near": 1}}));
        assert!(
            both.contains("<td>5</td>") && both.contains("<th scope=\"row\">real</th><td>1</td>"),
            "{both}"
        );
        assert!(tables(&json!(3)).contains("<td>3</td>") && tables(&json!({})).contains("<table>"));
    }
}
