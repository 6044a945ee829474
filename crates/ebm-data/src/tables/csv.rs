//! Tables as text (RFC 4180, with any character between values), read and written.

use std::io::{Chain, Cursor, Read};
use std::path::Path;

use ::csv::{ByteRecord, Reader, ReaderBuilder};

use super::columns::{Gathered, Table, TableOptions, Take, fits, missing, no_column, place, table, unlike};
use super::quotes::{Misquoted, Quotes};
use crate::error::Origin;
use crate::{DataError, Result};

/// What programs write for a number that is not there.
const MISSING: [&str; 9] = ["", "?", "NA", "N/A", "na", "null", "NULL", "None", "-"];

pub(super) fn names(path: &Path, options: &TableOptions) -> Result<Vec<String>> {
    Rows::new(crate::regular::open(path)?, path, options)?.names()
}

pub(super) fn read(path: &Path, options: &TableOptions, wanted: &[(String, Take)]) -> Result<Table> {
    gather(Rows::new(crate::regular::open(path)?, path, options)?, wanted)
}

pub(super) fn parse(
    text: &[u8],
    name: &Path,
    options: &TableOptions,
    wanted: &[(String, Take)],
) -> Result<Table> {
    gather(Rows::new(text, name, options)?, wanted)
}

/// Bytes of the beginning that the delimiter is looked for in.
const HEAD: u64 = 1 << 16;

/// A file whose beginning was looked at.
type Begun<R> = Quotes<Chain<Cursor<Vec<u8>>, R>>;

/// The one of comma, semicolon and tab that the first line has most of, outside of quotes.
fn delimiter_of(head: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b'\t', 0), (b';', 0)];
    for byte in head {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => counts.iter_mut().filter(|(d, _)| d == byte).for_each(|(_, n)| *n += 1),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, n)| *n).map_or(b',', |(d, _)| d)
}

/// Rows of a file behind its names.
struct Rows<'p, R> {
    reader: Reader<Begun<R>>,
    path: &'p Path,
    names: Vec<String>,
    /// Nobody said that the first line has names.
    guessed: bool,
    /// The first row where there are no names.
    first: Option<ByteRecord>,
}

impl<'p, R: Read> Rows<'p, R> {
    fn new(mut from: R, path: &'p Path, options: &TableOptions) -> Result<Self> {
        let mut head = Vec::new();
        from.by_ref().take(HEAD).read_to_end(&mut head).map_err(DataError::io(path, "read"))?;
        let delimiter = options.delimiter.unwrap_or_else(|| delimiter_of(&head));
        let mut builder = ReaderBuilder::new();
        // Lengths of rows are compared here, where the place can be told.
        builder.has_headers(false).flexible(true).delimiter(delimiter);
        let mut reader = builder.from_reader(Quotes::new(Cursor::new(head).chain(from), delimiter));
        let mut record = ByteRecord::new();
        let any = reader.read_byte_record(&mut record).map_err(|e| unreadable(path, e))?;
        if !any {
            return Err(Origin(path).format(0, "the table", "empty", "a line of names, and rows below it"));
        }
        let name =
            |(i, cell)| text(path, cell, || format!("the name of column {}", i + 1)).map(str::to_string);
        let texts: Vec<String> = record.iter().enumerate().map(name).collect::<Result<_>>()?;
        let (names, first) = match options.header.unwrap_or(true) {
            true => {
                if let Some(at) = texts.iter().position(String::is_empty) {
                    let item = format!("the name of column {}", at + 1);
                    let expected = "a name; pandas writes the numbers of rows under none, and does not with index=False; of a \
                                    file without names set header = false";
                    return Err(Origin(path).format(0, item, "empty", expected));
                }
                if options.header.is_none() {
                    values_for_names(path, &texts)?;
                }
                (texts, None)
            }
            false => ((1..=texts.len()).map(|i| i.to_string()).collect(), Some(record)),
        };
        Ok(Rows { reader, path, names, guessed: options.header.is_none(), first })
    }

    fn names(self) -> Result<Vec<String>> {
        unlike(self.path, self.names)
    }

    /// The line of the row that was read last, and whether empty lines stood before it, which the reader passes over.
    fn line(&self, record: &ByteRecord) -> (Option<u64>, bool) {
        let Some(start) = record.position().map(::csv::Position::line) else { return (None, false) };
        let within = record.as_slice().iter().filter(|b| **b == b'\n').count() as u64;
        // The last line may have no end.
        let lines = self.reader.position().line().saturating_sub(start);
        let blank = lines.saturating_sub(1 + within);
        (Some(start + blank), blank > 0)
    }

    /// Reads the next row; `false` at the end.
    fn next(&mut self, record: &mut ByteRecord) -> Result<bool> {
        if let Some(first) = self.first.take() {
            *record = first;
            return Ok(true);
        }
        self.reader.read_byte_record(record).map_err(|e| unreadable(self.path, e))
    }
}

/// Refuses a first line with numbers in it: values of a file without names would be lost as such.
fn values_for_names(path: &Path, names: &[String]) -> Result<()> {
    // "NA", "inf" and the like may well be names.
    let is_value = |n: &&String| n.parse::<f64>().is_ok_and(f64::is_finite);
    let Some(number) = names.iter().find(is_value) else { return Ok(()) };
    Err(names_or_values(path, format!("with the number {number} among the names of columns")))
}

/// What to say of a first line that has `found` where names are expected.
fn names_or_values(path: &Path, found: String) -> DataError {
    let expected = "names of columns; set header = false if it has values and the file no names, or header = true if it has names";
    Origin(path).format(0, "the first line", found, expected)
}

fn unreadable(path: &Path, e: ::csv::Error) -> DataError {
    let error = match e.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        other => {
            return Origin(path).format(0, "the table", format!("unreadable ({other:?})"), "lines of values");
        }
    };
    match error.get_ref().and_then(|e| e.downcast_ref::<Misquoted>()) {
        Some(Misquoted { line, column, found }) => {
            let item = format!("line {line}, column {}", column + 1);
            let expected =
                "values that have quotes around all of them or none, with quotes inside of them doubled";
            Origin(path).format(0, item, format!("with {found}"), expected)
        }
        None => DataError::io(path, "read")(error),
    }
}

fn text<'c>(path: &Path, cell: &'c [u8], item: impl Fn() -> String) -> Result<&'c str> {
    std::str::from_utf8(cell.trim_ascii()).map_err(|e| {
        let (found, expected) = match crate::foreign::of_file(path).filter(|f| !f.what.contains("CSV")) {
            Some(foreign) => (foreign.to_string(), "a table as UTF-8 text; write the file again".to_string()),
            None => other_encoding(cell.trim_ascii(), e.valid_up_to()),
        };
        Origin(path).format(0, item(), found, expected)
    })
}

/// What bytes that are no UTF-8 probably are, and what to do.
fn other_encoding(cell: &[u8], at: usize) -> (String, String) {
    if cell.starts_with(b"\xff\xfe") || cell.starts_with(b"\xfe\xff") {
        let expected = "UTF-8; convert the file, as `iconv -f UTF-16 -t UTF-8` does";
        return ("text in UTF-16".into(), expected.into());
    }
    let byte = cell.get(at).copied().unwrap_or_default();
    // The letters of Latin-1 have the numbers of Unicode.
    let latin: String = cell.iter().take(40).map(|b| char::from(*b)).filter(|c| !c.is_control()).collect();
    let found = format!("no UTF-8 text (byte {byte:#04x}); in Latin-1 it would be \"{latin}\"");
    let expected = "UTF-8; convert the file, as `iconv -f LATIN1 -t UTF-8` does, or leave the column out if its name is sound";
    (found, expected.into())
}

fn gather<R: Read>(mut rows: Rows<'_, R>, wanted: &[(String, Take)]) -> Result<Table> {
    let path = rows.path;
    let names = unlike(path, rows.names.clone())?;
    let mut columns = Vec::with_capacity(wanted.len());
    for (name, take) in wanted {
        let at = names.iter().position(|n| n == name).ok_or_else(|| no_column(path, name, &names))?;
        columns.push((at, Gathered::new(*take)));
    }
    let (mut record, mut row) = (ByteRecord::new(), 0);
    while rows.next(&mut record)? {
        let (line, blank) = rows.line(&record);
        if record.len() != names.len() {
            let item =
                line.map_or(format!("row {row} (from 0)"), |l| format!("row {row} (from 0; line {l})"));
            let expected =
                format!("{} as there are columns; is a value with a comma in it not quoted?", names.len());
            return Err(Origin(path).format(0, item, format!("of {} values", record.len()), expected));
        }
        if blank && names.len() == 1 {
            let (found, expected) = missing();
            let item = format!("the line before row {row} (from 0; line {})", line.unwrap_or(0));
            return Err(Origin(path).format(0, item, found, expected));
        }
        fits(path, row + 1, columns.len())?;
        for (at, column) in &mut columns {
            let item = || place(row, line, &names[*at]);
            let cell = text(path, record.get(*at).unwrap_or_default(), item)?;
            let took = match column.take() {
                Take::Words if cell.is_empty() => Err(missing()),
                // A first row of words that was taken for names would be lost.
                Take::Words if rows.guessed && cell == names[*at] => {
                    let found = format!(
                        "with the name \"{cell}\", which row {row} (from 0) has as a value in that column"
                    );
                    return Err(names_or_values(path, found));
                }
                Take::Words => column.word(cell),
                Take::Numbers => match cell.parse::<f64>() {
                    Ok(v) => column.number(v),
                    Err(_) if MISSING.contains(&cell) => Err(missing()),
                    Err(_) => match cell {
                        "true" | "True" | "TRUE" => column.truth(true),
                        "false" | "False" | "FALSE" => column.truth(false),
                        _ => Err(no_number(cell)),
                    },
                },
            };
            took.map_err(|(found, expected)| Origin(path).format(0, item(), found, expected))?;
        }
        row += 1;
    }
    Ok(table(columns.into_iter().map(|(_, c)| c).collect(), row))
}

fn no_number(cell: &str) -> (String, String) {
    let shown: String = cell.chars().take(40).collect();
    let comma = cell.contains(',') && cell.replace(',', ".").parse::<f64>().is_ok();
    let expected = match comma {
        true => "a number with a point in it, as 3.5",
        false => "a number; a column of words belongs to categories, or is left out",
    };
    (format!("the text \"{shown}\""), expected.into())
}

/// Writes a table as text with commas; the file appears whole or not at all.
///
/// # Errors
/// If the folder does not exist or cannot be written.
pub fn write(path: &Path, names: &[String], rows: &[Vec<String>]) -> Result<()> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let unwritten = |e: ::csv::Error| DataError::io(path, "write")(e.into());
    writer.write_record(names).map_err(unwritten)?;
    for row in rows {
        writer.write_record(row).map_err(unwritten)?;
    }
    let bytes = writer.into_inner().map_err(|e| DataError::io(path, "write")(e.into_error()))?;
    crate::atomic::write(path, &bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str, wanted: &[(&str, Take)]) -> Result<Table> {
        let wanted: Vec<_> = wanted.iter().map(|(n, t)| (n.to_string(), *t)).collect();
        parse(text.as_bytes(), Path::new("t.csv"), &TableOptions::default(), &wanted)
    }

    #[test]
    fn what_is_wrong_is_named_by_row_and_column() {
        let x = [("x", Take::Numbers)];
        for (text, wanted, parts) in [
            (
                "x,y\n1,2\n,3\n",
                &x[..],
                &["row 1 (from 0; line 3), column `x` is missing", "leave the row"][..],
            ),
            ("x,y\n1,2\nNA,3\n", &x, &["row 1", "`x` is missing"]),
            ("x,y\n1,2\n\n3.5kg,3\n", &x, &["row 1", "line 4", "\"3.5kg\"", "categories"]),
            ("y;z\n1;2\n", &x, &["without a column `x`", "one of y, z"]),
            ("x,y\n\"1,5\",2\n", &x, &["a number with a point"]),
            ("x,y\n1,2,3\n", &x, &["row 0", "of 3 values, expected 2", "quoted"]),
            ("x,y\n1,2\n7\n", &x, &["row 1", "of 1 values, expected 2"]),
            ("x,x\n1,2\n", &x, &["name of column 2 is `x`, as that of column 1"]),
            ("x,\n1,2\n", &x, &["name of column 2 is empty", "header = false", "index=False"]),
            (
                "1.5,x\n2,3\n",
                &x,
                &["the first line is with the number 1.5", "header = false", "header = true"],
            ),
            (
                "red,round\nblue,square\nred,square\n",
                &[("red", Take::Words)],
                &["the first line is with the name \"red\"", "row 1", "header = false", "header = true"],
            ),
            ("x\n1\ntrue\n", &x, &["row 1 (from 0; line 3)", "truth value true", "numbers"]),
            ("x\nFALSE\n0\n", &x, &["row 1 (from 0; line 3)", "the number 0", "truth values"]),
            ("x\ntRue\n", &x, &["the text \"tRue\""]),
            ("x,y\n3,4\n\"1\"2,4\n", &x, &["line 3, column 1", "`2` behind the quote", "doubled"]),
            ("x,y\n3,\"4\n5,6\n", &x, &["line 2, column 2", "nothing closes"]),
            ("x\nNaN\n", &x, &["row 0", "`x` is NaN", "finite"]),
            ("x\n-inf\n", &x, &["`x` is -inf"]),
            ("x\n1e999\n", &x, &["`x` is inf"]),
            ("x,w\n1,\n", &[("w", Take::Words)], &["row 0", "`w` is missing"]),
            ("x\n1\n\n2\n", &x, &["before row 1 (from 0; line 4) is missing"]),
            ("", &x, &["empty"]),
        ] {
            let error = parsed(text, wanted).unwrap_err().to_string();
            parts.iter().for_each(|part| assert!(error.contains(part), "{part} is not in: {error}"));
        }
        let latin = parse(
            b"x\nok\ncaf\xe9\n",
            Path::new("t.csv"),
            &TableOptions::default(),
            &[("x".into(), Take::Words)],
        );
        let latin = latin.unwrap_err().to_string();
        for part in ["row 1 (from 0; line 3)", "byte 0xe9", "Latin-1", "café", "iconv"] {
            assert!(latin.contains(part), "{part} is not in: {latin}");
        }
        let wide =
            parse(b"\xff\xfex\0\n\0", Path::new("t"), &TableOptions::default(), &[]).unwrap_err().to_string();
        assert!(wide.contains("UTF-16"), "{wide}");
    }

    #[test]
    fn columns_come_in_the_order_asked_for_with_quotes_blanks_and_marks() {
        let text = "\u{feff}a, b ,c\r\n1,\"x, \"\"y\"\"\", true\r\n-2e3,z,False\r\n";
        let t = parsed(text, &[("c", Take::Numbers), ("b", Take::Words), ("a", Take::Numbers)]).unwrap();
        assert_eq!((t.len(), t.number(0, 0), t.number(1, 0)), (2, Some(1.0), Some(0.0)));
        assert_eq!(
            (t.word(0, 1), t.word(1, 1), t.number(1, 2)),
            (Some("x, \"y\""), Some("z"), Some(-2000.0))
        );
        let options = TableOptions { delimiter: Some(b';'), header: Some(false) };
        let t = parse(b"1;2\n3;4\n", Path::new("t"), &options, &[("2".into(), Take::Numbers)]).unwrap();
        assert_eq!((t.len(), t.number(1, 0)), (2, Some(4.0)));
        let names = [("inf", Take::Numbers), ("NA", Take::Numbers)];
        assert_eq!(parsed("NA,inf\n1,2\n", &names).unwrap().number(0, 0), Some(2.0));
        // Names that are numbers, by their owner's word.
        let options = TableOptions { delimiter: None, header: Some(true) };
        let t =
            parse(b"2019,2020\n3,4\n", Path::new("t"), &options, &[("2020".into(), Take::Numbers)]).unwrap();
        assert_eq!((t.len(), t.number(0, 0)), (1, Some(4.0)));
        let t =
            parse(b"kind\nkind\ncruel\n", Path::new("t"), &options, &[("kind".into(), Take::Words)]).unwrap();
        assert_eq!(t.words(0), ["cruel", "kind"]);
    }

    #[test]
    fn words_are_in_order_of_numbers_or_letters_and_only_those_that_are_there() {
        let t = parsed("n,w\n10,b\n9,a\n-1,b\n", &[("n", Take::Words), ("w", Take::Words)]).unwrap();
        assert_eq!(
            (t.words(0), t.words(1)),
            (vec!["-1".into(), "9".into(), "10".into()], vec!["a".into(), "b".into()])
        );
        let part = t.select(&[2, 0, 7]);
        assert_eq!((part.len(), part.words(1), part.word(0, 0)), (2, vec!["b".to_string()], Some("-1")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(rows in prop::collection::vec((any::<f32>().prop_filter("", |v| v.is_finite()), "[a-z,\" \n]{1,6}"), 1..20)) {
            // Blanks at the ends are no part of a value.
            let rows: Vec<Vec<String>> = rows.iter().map(|(v, w)| vec![v.to_string(), format!("w{w}w")]).collect();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.csv");
            write(&path, &["x".into(), "a word".into()], &rows).unwrap();
            let wanted = [("x".to_string(), Take::Numbers), ("a word".to_string(), Take::Words)];
            let t = Table::read(&path, &TableOptions::default(), &wanted).unwrap();
            for (i, row) in rows.iter().enumerate() {
                prop_assert_eq!(t.number(i, 0).unwrap() as f32, row[0].parse::<f32>().unwrap());
                prop_assert_eq!(t.word(i, 1).unwrap(), row[1].as_str());
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let wanted = [("x".to_string(), Take::Numbers)];
            let _ = parse(&bytes, Path::new("t.csv"), &TableOptions { delimiter: None, header: Some(false) }, &wanted);
        }
    }
}
