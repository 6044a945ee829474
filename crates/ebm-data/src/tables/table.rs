//! Columns of numbers and of words, from a file of rows: CSV, values between tabs, or Parquet.

use std::path::Path;

use super::columns::unlike;
pub use super::columns::{MOST_VALUES, Table, TableOptions, Take};
use super::{csv, parquet_table};
use crate::Result;

impl Table {
    /// Names of the columns of a file, of which those ending in `parquet` are Parquet and all others text.
    ///
    /// # Errors
    /// If it cannot be read, has no columns, or two of one name.
    pub fn names(path: impl AsRef<Path>, options: &TableOptions) -> Result<Vec<String>> {
        let path = path.as_ref();
        let names = if is_parquet(path) { parquet_table::names(path)? } else { csv::names(path, options)? };
        unlike(path, names)
    }

    /// Reads these columns, in this order.
    ///
    /// # Errors
    /// If the file cannot be read, has no such column or two of one name; if a row has more or fewer values than there are
    /// columns; if a value is missing, no finite number where numbers are wanted, or there are more than [`MOST_VALUES`]. Rows
    /// are counted from 0 without the line of names.
    pub fn read(path: impl AsRef<Path>, options: &TableOptions, wanted: &[(String, Take)]) -> Result<Self> {
        let path = path.as_ref();
        match is_parquet(path) {
            true => parquet_table::read(path, wanted),
            false => csv::read(path, options, wanted),
        }
    }

    /// Reads the text of a table that is called `name` in errors.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn parse(
        text: &[u8],
        name: impl AsRef<Path>,
        options: &TableOptions,
        wanted: &[(String, Take)],
    ) -> Result<Self> {
        csv::parse(text, name.as_ref(), options, wanted)
    }
}

/// Whether a file is Parquet, by its ending.
pub fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"))
}

/// Whether a file is a table: text by its ending, or Parquet without a column of pictures.
pub fn is_table(path: &Path) -> bool {
    let text =
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv") || e.eq_ignore_ascii_case("tsv"));
    text || (is_parquet(path) && path.is_file() && parquet_table::without_pictures(path))
}

/// Whether a column has this name from pandas, which writes the index of rows so: no variable.
pub fn is_index(name: &str) -> bool {
    let number = name.strip_prefix("__index_level_").and_then(|rest| rest.strip_suffix("__"));
    name == "Unnamed: 0" || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
