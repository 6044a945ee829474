//! Rows of a table on the lines of a stream: objects with columns by their names, or CSV with the names in the first line.

use std::path::Path;

use ebm_core::{Cell, Cells, Column, Columns};
use ebm_data::table::{Table, TableOptions};
use serde_json::{Map, Value};

use super::read::{cell, taken};

/// Values of a sample, or what is wrong with its line.
type Row = Result<Vec<f64>, String>;

/// The same with the name that the line gives the sample.
type Named = Result<(Vec<f64>, Option<String>), String>;

/// Values of the sample that an object holds by the names of columns, and its `id`; `None` if it is an object of another form.
pub(super) fn of_object(text: &str, columns: &Columns) -> Option<Named> {
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    if ["values", "path"].iter().any(|key| object.contains_key(*key) && !named(columns, key)) {
        return None;
    }
    let id = object.get("id").filter(|_| !named(columns, "id"));
    let id = id.map(|id| id.as_str().map_or_else(|| id.to_string(), String::from));
    Some(row(&object, columns).map(|values| (values, id)))
}

fn named(columns: &Columns, name: &str) -> bool {
    columns.list().iter().any(|c| c.name == name)
}

fn row(object: &Map<String, Value>, columns: &Columns) -> Row {
    let each = columns.each();
    let mut table: Vec<Vec<Value>> = Vec::new();
    for column in columns.list() {
        let name = &column.name;
        let wanted = "a line has all columns of the run by their names, or all `values`";
        let value = object.get(name).ok_or_else(|| format!("without the column `{name}`; {wanted}"))?;
        let list = match value {
            Value::Array(list) if each > 1 => list.clone(),
            one if each == 1 => vec![one.clone()],
            other => return Err(format!("column `{name}` holds {other}, wanted a list of {each} values")),
        };
        if list.len() != each {
            return Err(format!("column `{name}` holds {} values, wanted {each}", list.len()));
        }
        let list = list.into_iter().map(|v| known(column, v));
        table.push(list.collect::<Result<_, _>>()?);
    }
    let cell = |row: usize, column: usize| match &table[column][row] {
        Value::String(word) => Cell::Word(word),
        number => Cell::Number(number.as_f64().unwrap_or(f64::NAN)),
    };
    columns.samples(&[0], cell).map_err(|e| unknown(columns, e.column, &e.found))
}

/// A value of a column as a number or a word.
fn known(column: &Column, value: Value) -> Result<Value, String> {
    let refuse = |wanted: &str| Err(format!("column `{}` holds {value}, wanted {wanted}", column.name));
    match (&column.cells, &value) {
        (Cells::Words(_), Value::String(_)) => Ok(value),
        (Cells::Words(_), Value::Number(_) | Value::Bool(_)) => Ok(Value::String(value.to_string())),
        (Cells::Words(_), _) => refuse("a word"),
        (_, Value::Bool(truth)) => Ok(u8::from(*truth).into()),
        (_, Value::Number(_)) => Ok(value),
        _ => refuse("a number"),
    }
}

fn unknown(columns: &Columns, column: usize, found: &str) -> String {
    let name = columns.list().get(column).map_or("", |c| c.name.as_str());
    format!("holds `{found}` in column `{name}`, which no training row did")
}

/// The first line of a table as CSV.
pub(super) struct Head(String);

/// What errors of the table's reader call it, which name the line instead.
const NAME: &str = "the table";

impl Head {
    /// A line of names.
    ///
    /// # Errors
    /// In words, if it lacks a column, or rows of such a table make series.
    pub fn of(line: &str, columns: &Columns) -> Result<Self, String> {
        parse(line, columns).map_err(|why| {
            format!("is no JSON, no file, and no line of names: {why}; wanted one of these")
        })?;
        match columns.each() {
            1 => Ok(Head(line.into())),
            each => Err(format!(
                "rows of a table make series of {each}: give them in a file, or as JSON with a list for each column"
            )),
        }
    }

    /// The values of the sample on a line below it.
    pub fn row(&self, line: &str, columns: &Columns) -> Row {
        let table = parse(&format!("{}\n{line}\n", self.0), columns)?;
        columns
            .samples(&[0], |row, at| cell(&table, row, at))
            .map_err(|e| unknown(columns, e.column, &e.found))
    }
}

fn parse(text: &str, columns: &Columns) -> Result<Table, String> {
    let mut wanted = taken(columns);
    wanted.truncate(columns.list().len());
    let options = TableOptions { header: Some(true), ..TableOptions::default() };
    Table::parse(text.as_bytes(), Path::new(NAME), &options, &wanted).map_err(|e| {
        // The place of a row is that of the line in the stream.
        e.to_string()
            .replace(&format!("{NAME}: "), "")
            .replace("row 0 (from 0; line 2), ", "")
            .replace("row 0 (from 0; line 2)", "the row")
    })
}
