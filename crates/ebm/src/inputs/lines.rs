//! Samples named or written out on the lines of a stream: paths of pictures, JSON, or rows of a table.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::fit::Fit;
use super::line_rows::{Head, of_object};
use super::read::{Sink, finite, picture};
use super::set::Piece;
use super::units::Tally;
use crate::error::{Error, Result};

/// No line is longer: a sample of a million numbers takes about 10 MB.
const LONGEST: u64 = 1 << 28;

/// What some programs put before the first letter of a text in UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// A sample as a line of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// A picture.
    path: Option<PathBuf>,
    /// The values, in the units of training samples or of the table that these were made of, row by row.
    values: Option<Vec<f64>>,
    /// Name for the output; the number of the line without it.
    id: Option<String>,
}

/// Hands the samples that the lines of `from` name to `sink`, at most `rows` at a time, and fewer where the next line
/// would have to be waited for. A line is the path of a picture, `{"path": "a.png"}`, or `{"values": [0.1, ...]}` with
/// an optional `"id"`; empty lines are passed over. For a model of a table it may also be an object with its columns by their names
/// (`{"height": 1.7, "job": "cook"}`, of series lists), or all lines are a table as CSV, the names of columns in the first. A sample
/// has the number of its line from 0, a row of a table that of the row, as in a file. Memory does not grow with the number of lines.
///
/// # Errors
/// If a line is none of this, a picture cannot be read or does not fit, or `sink` fails; samples of earlier lines have
/// been handed on by then. If there is no sample at all.
pub fn lines(from: impl Read, rows: usize, fit: &Fit, sink: &mut Sink<'_>) -> Result<()> {
    let mut from = BufReader::new(from);
    let empty = || Piece { values: Vec::new(), places: Vec::new(), levels: None };
    let mut seen = Tally::new(fit.units);
    let (mut kept, mut line, mut number, mut samples) = (empty(), Vec::new(), 0u64, 0u64);
    let mut head = None;
    loop {
        line.clear();
        let mut limited = (&mut from).take(LONGEST);
        let read = limited.read_until(b'\n', &mut line).map_err(Error::io("standard input"))?;
        if read == 0 {
            break;
        }
        number += 1;
        let line = line.strip_prefix(MARK).filter(|_| number == 1).unwrap_or(&line);
        match sample(line, number, fit, &mut head, &mut seen) {
            Ok(None) => {}
            Ok(Some((values, place))) => {
                kept.values.extend(values);
                // A row of a table has the number that it has where the same table is a file.
                kept.places.push((place, if head.is_some() { samples } else { number - 1 }));
                samples += 1;
            }
            Err(e) => {
                // What came before the line that is wrong still has an answer.
                if !kept.is_empty() {
                    sink(kept)?;
                }
                return Err(e);
            }
        }
        let waiting = !from.buffer().contains(&b'\n');
        if kept.len() >= rows.max(1) || (waiting && !kept.is_empty()) {
            sink(std::mem::replace(&mut kept, empty()))?;
        }
    }
    if !kept.is_empty() {
        sink(kept)?;
    }
    if let Some(remark) = seen.remark() {
        tracing::warn!("standard input: {remark}");
    }
    if samples == 0 {
        return Err(
            ebm_core::Error::data("standard input", "holds no sample, wanted at least one line").into()
        );
    }
    Ok(())
}

/// Values and name of the sample of a line, which `seen` sees; `None` for an empty one.
fn sample(
    line: &[u8],
    number: u64,
    fit: &Fit,
    head: &mut Option<Head>,
    seen: &mut Tally,
) -> Result<Option<(Vec<f64>, PathBuf)>> {
    let here = format!("standard input, line {number}");
    let wrong = |message: String| -> Error { ebm_core::Error::data(&here, message).into() };
    let text = std::str::from_utf8(line)
        .map_err(|_| wrong("is not UTF-8, wanted the path of a picture or JSON".into()))?
        .trim();
    if text.is_empty() {
        return Ok(None);
    }
    let mut given = |values: Vec<f64>, id: Option<String>| -> Result<Option<(Vec<f64>, PathBuf)>> {
        seen.see(&values, None, Path::new(&here))?;
        let values = fit.of_domain(values, None, Path::new(&here), seen)?;
        Ok(Some((values, id.map_or_else(|| "-".into(), PathBuf::from))))
    };
    if let Some(head) = head {
        let values = head.row(text, &fit.columns).map_err(wrong)?;
        finite(&values, fit.double, values.len(), Path::new(&here), |_| 0)?;
        return given(values, None);
    }
    if text.starts_with('{') && !fit.columns.is_empty() {
        if let Some(row) = of_object(text, &fit.columns) {
            let (values, id) = row.map_err(wrong)?;
            finite(&values, fit.double, values.len(), Path::new(&here), |_| 0)?;
            return given(values, id);
        }
    } else if !fit.columns.is_empty() && !Path::new(text).exists() {
        *head = Some(Head::of(text, &fit.columns).map_err(wrong)?);
        return Ok(None);
    }
    let written = if text.starts_with('{') {
        serde_json::from_str::<Written>(text).map_err(|e| {
            wrong(format!("{e}; wanted {{\"path\": \"a.png\"}} or {{\"values\": [0.1, ...]}}"))
        })?
    } else {
        Written { path: Some(text.into()), values: None, id: None }
    };
    match (written.path, written.values) {
        (Some(path), None) => {
            let picture = picture(&path, fit)?;
            let (c, h, w) = picture.shape();
            let values = ebm_data::passes::middles(picture.bytes(), 256);
            let (values, _) = fit.apply(values, &[c, h, w], &path)?;
            seen.see(&values, Some(256), Path::new(&here))?;
            let values = fit.of_domain(values, Some(256), Path::new(&here), seen)?;
            Ok(Some((values, written.id.map_or(path, PathBuf::from))))
        }
        (None, Some(mut values)) => {
            let wanted: usize = fit.shape.iter().product();
            if values.len() != wanted {
                return Err(wrong(format!(
                    "found {} values, expected {wanted} for a sample of shape {:?}",
                    values.len(),
                    fit.shape
                )));
            }
            fit.columns.from_own(&mut values);
            finite(&values, fit.double, wanted, Path::new(&here), |_| 0)?;
            given(values, written.id)
        }
        _ => Err(wrong("wanted either `path` or `values`".into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::{Cells, Column, Columns};

    use super::*;

    fn all(text: &str, rows: usize) -> (Vec<(String, u64, f64)>, Result<()>) {
        all_of(text, rows, &Fit::of_shape(&[2]))
    }

    fn all_of(text: &str, rows: usize, fit: &Fit) -> (Vec<(String, u64, f64)>, Result<()>) {
        let mut found = Vec::new();
        let ended = lines(text.as_bytes(), rows, fit, &mut |p: Piece| {
            assert!(p.len() <= rows && p.values.len() == 2 * p.len());
            found.extend(
                p.places
                    .iter()
                    .zip(p.values.chunks(2))
                    .map(|((f, i), v)| (f.display().to_string(), *i, v[1])),
            );
            Ok(())
        });
        (found, ended)
    }

    #[test]
    fn lines_of_json_come_out_in_order_in_pieces_of_any_size() {
        let text = "{\"values\": [0, 1]}\n\n{\"values\": [0, 2], \"id\": \"b\"}\n{\"values\": [0, 3]}";
        for rows in [1, 2, 9] {
            let (found, ended) = all(text, rows);
            ended.unwrap();
            assert_eq!(found, [("-".into(), 0, 1.0), ("b".into(), 2, 2.0), ("-".into(), 3, 3.0)]);
        }
    }

    /// A model of heights around 1.5 and of two jobs would have three numbers a sample; this one has two.
    fn table() -> Fit {
        let number = |centre| Cells::Numbers { centre, spread: 2.0 };
        let column = |name: &str, cells| Column { name: name.into(), cells };
        let columns = vec![column("height", number(1.0)), column("weight", number(0.0))];
        Fit { columns: Columns::new(columns, 1), ..Fit::of_shape(&[2]) }
    }

    #[test]
    fn rows_of_a_table_come_by_the_names_of_its_columns_in_json_and_csv() {
        let json = "{\"weight\": 3, \"other\": \"x\", \"height\": 2}\n{\"height\": 1, \"weight\": 5, \"id\": \"b\"}\n";
        let (found, ended) = all_of(json, 9, &table());
        ended.unwrap();
        assert_eq!(found, [("-".into(), 0, 1.5), ("b".into(), 1, 2.5)]);
        for rows in [1, 9] {
            let (found, ended) = all_of("other;weight;height\nx;3;2\n\n\"y;z\";5;1\n", rows, &table());
            ended.unwrap();
            // As of a file: rows from 0, without the line of names and empty ones.
            assert_eq!(found, [("-".into(), 0, 1.5), ("-".into(), 1, 2.5)]);
        }
        // As spreadsheets write it, with a mark of the encoding.
        for text in ["\u{feff}height,weight\n2,3\n", "\u{feff}{\"height\": 2, \"weight\": 3}\n"] {
            let (found, ended) = all_of(text, 9, &table());
            ended.unwrap();
            assert_eq!(found, [("-".into(), 0, 1.5)], "{text:?}");
        }
        for (text, parts) in [
            ("{\"height\": 2}\n", &["line 1: without the column `weight`"][..]),
            (
                "{\"height\": \"tall\", \"weight\": 1}\n",
                &["line 1: column `height` holds \"tall\"", "a number"],
            ),
            ("{\"height\": null, \"weight\": 1}\n", &["line 1: column `height` holds null"]),
            ("height,weight\n1,2\n1\n", &["line 3", "of 1 values"]),
            ("height,weight\n1,2\nx,1\n", &["line 3", "column `height` is the text \"x\""]),
            ("height,width\n1,2\n", &["line 1", "without a column `weight`", "height, width"]),
        ] {
            let text = (all_of(text, 9, &table()).1.unwrap_err().to_string(), text);
            parts.iter().for_each(|part| assert!(text.0.contains(part), "{part} is not in: {text:?}"));
        }
    }

    #[test]
    fn a_wrong_line_is_named_and_what_came_before_it_is_answered() {
        for (line, part) in [
            ("{\"values\": [1]}", "line 2: found 1 values, expected 2"),
            ("{\"values\": [1, 1e999]}", "line 2"),
            ("{\"valuse\": [1, 2]}", "line 2: unknown field"),
            ("{}", "either `path` or `values`"),
            ("no-such.png", "no-such.png"),
        ] {
            let (found, ended) = all(&format!("{{\"values\": [0, 1]}}\n{line}\n"), 9);
            let text = ended.unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
            assert_eq!(found.len(), 1, "{line}");
        }
        assert!(all("\n", 9).1.unwrap_err().to_string().contains("holds no sample"));
    }
}
