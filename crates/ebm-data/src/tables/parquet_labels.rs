//! Classes of the rows of Parquet files: whole numbers, words or truth values, with the names that `datasets` keeps.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::basic::Type;
use ::parquet::column::reader::ColumnReader;
use ::parquet::file::reader::{FileReader, SerializedFileReader};

use super::parquet_columns::{ParquetOptions, column_names, find};
use super::parquet_pages;
use super::parquet_reader::{damaged, values};
use crate::Result;
use crate::error::Origin;

/// More different words than classes of any set: a column with so many is text.
const MOST_WORDS: usize = 1 << 16;

/// Classes of a set.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    /// Of every row, `None` where a row has none.
    pub labels: Option<Vec<u32>>,
    /// By the number, empty if they have none.
    pub names: Vec<String>,
    /// Rows without a class, whose label is 0, where the others have one.
    pub missing: Vec<usize>,
}

/// Labels gathered group by group.
pub(super) struct Gathered<'o> {
    options: &'o ParquetOptions,
    column: Option<String>,
    /// Names in the metadata of the first file.
    names: Option<Vec<String>>,
    /// Number, or number of the word, of each row.
    rows: Vec<Option<i64>>,
    words: HashMap<String, i64>,
    /// The files with their first rows.
    files: Vec<(PathBuf, usize)>,
}

impl<'o> Gathered<'o> {
    pub fn new(options: &'o ParquetOptions) -> Self {
        Gathered {
            options,
            column: None,
            names: None,
            rows: Vec::new(),
            words: HashMap::new(),
            files: Vec::new(),
        }
    }

    /// Finds the column in a further file.
    pub fn file(&mut self, reader: &SerializedFileReader<File>, path: &Path) -> Result<()> {
        let metadata = reader.metadata().file_metadata();
        let schema = metadata.schema_descr_ptr();
        self.files.push((path.to_path_buf(), self.rows.len()));
        if self.files.len() == 1 {
            let there = column_names(&schema);
            self.column = self.options.label.clone().or_else(|| there.into_iter().find(|n| n == "label"));
            if self.column.is_none() && self.options.labels {
                let found = "without a column `label`";
                let expected =
                    format!("one of classes; set label = \"NAME\", of {}", column_names(&schema).join(", "));
                return Err(Origin(path).format(0, "the schema", found, expected));
            }
            let kept = metadata.key_value_metadata().into_iter().flatten().find(|kv| kv.key == "huggingface");
            let text = kept.and_then(|kv| kv.value.as_deref());
            self.names =
                self.column.as_deref().zip(text).and_then(|(column, text)| class_names(text, column));
        }
        let Some(column) = &self.column else { return Ok(()) };
        let fits = |t| {
            matches!(
                t,
                Type::INT32 | Type::INT64 | Type::BYTE_ARRAY | Type::BOOLEAN | Type::FLOAT | Type::DOUBLE
            )
        };
        let found = find(&schema, path, column, fits, "classes: whole numbers, words or truth values");
        match found {
            Ok(_) => Ok(()),
            Err(e) if self.options.labels || self.options.label.is_some() => Err(e),
            // Nobody asked for it.
            Err(_) => {
                self.column = None;
                Ok(())
            }
        }
    }

    /// Reads the labels of a row group.
    pub fn group(
        &mut self,
        reader: &SerializedFileReader<File>,
        path: &Path,
        index: usize,
        rows: usize,
    ) -> Result<()> {
        let Some(name) = self.column.clone() else { return Ok(()) };
        match self.read(reader, path, &name, (index, rows)) {
            Err(e) if self.options.labels => Err(e),
            Err(_) => {
                self.column = None;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn read(
        &mut self,
        reader: &SerializedFileReader<File>,
        path: &Path,
        name: &str,
        (group, rows): (usize, usize),
    ) -> Result<()> {
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let at = find(&schema, path, name, |_| true, "classes")?;
        let optional = schema.column(at).max_def_level() > 0;
        let item = format!("column {name} of row group {group}");
        let file = crate::regular::open(path)?;
        let chunk = reader.metadata().row_group(group).column(at);
        let column = parquet_pages::column(&file, chunk, rows).map_err(damaged(path, &item))?;
        let first = self.rows.len();
        let (kept, words) = (&mut self.rows, &mut self.words);
        // Rows arrive in order, those without a value not at all; a claim of rows takes no memory.
        let mut take = |row: usize, v: i64| {
            kept.resize(first + row, None);
            kept.push((v >= 0).then_some(v));
            Ok(())
        };
        let place = (path, name, group);
        match column {
            ColumnReader::Int64ColumnReader(c) => values(c, optional, rows, place, |row, v| take(row, *v))?,
            ColumnReader::Int32ColumnReader(c) => {
                values(c, optional, rows, place, |row, v| take(row, i64::from(*v)))?;
            }
            ColumnReader::BoolColumnReader(c) => {
                values(c, optional, rows, place, |row, v| take(row, i64::from(*v)))?;
            }
            // Whole numbers among which some are missing, as pandas writes them.
            ColumnReader::FloatColumnReader(c) => {
                values(c, optional, rows, place, |row, v| take(row, whole(path, name, row, f64::from(*v))?))?;
            }
            ColumnReader::DoubleColumnReader(c) => {
                values(c, optional, rows, place, |row, v| take(row, whole(path, name, row, *v)?))?;
            }
            ColumnReader::ByteArrayColumnReader(c) => values(c, optional, rows, place, |row, v| {
                let word = String::from_utf8_lossy(v.data()).into_owned();
                if words.len() >= MOST_WORDS && !words.contains_key(&word) {
                    let found = format!("more than {MOST_WORDS} different texts");
                    return Err(Origin(path).format(0, format!("column {name}"), found, "names of classes"));
                }
                let next = words.len() as i64;
                take(row, *words.entry(word).or_insert(next))
            })?,
            _ => return Err(Origin(path).format(0, item, "of another type", "classes")),
        }
        kept.resize(first + rows, None);
        Ok(())
    }

    /// The classes of all rows; words are numbered in their order.
    pub fn finish(self) -> Result<Classes> {
        let wanted = self.options.labels;
        let Some(column) = self.column else { return Ok(Classes::default()) };
        let mut words: Vec<(String, i64)> = self.words.into_iter().collect();
        words.sort();
        let given = self.options.classes.clone();
        let names = match (given.or(self.names), words.is_empty()) {
            (Some(names), _) => names,
            (None, true) => Vec::new(),
            (None, false) => words.iter().map(|(w, _)| w.clone()).collect(),
        };
        let number: HashMap<i64, i64> = words
            .iter()
            .filter_map(|(word, id)| Some((*id, names.iter().position(|n| n == word)? as i64)))
            .collect();
        let label = |row: &Option<i64>| -> Option<u32> {
            let row = if words.is_empty() { (*row)? } else { *number.get(&(*row)?)? };
            u32::try_from(row).ok().filter(|l| names.is_empty() || (*l as usize) < names.len())
        };
        let labels: Vec<Option<u32>> = self.rows.iter().map(label).collect();
        let missing: Vec<usize> = (0..labels.len()).filter(|row| labels[*row].is_none()).collect();
        let Some(first) = missing.first().copied() else {
            return Ok(Classes { labels: Some(labels.into_iter().flatten().collect()), names, missing });
        };
        // A number that is there and is no class.
        let beyond = missing.iter().copied().find(|row| words.is_empty() && self.rows[*row].is_some());
        let place = |row: usize| {
            let at = self.files.iter().rfind(|(_, first)| *first <= row);
            at.map_or((Path::new(""), row), |(path, first)| (path.as_path(), row - first))
        };
        match beyond {
            Some(at) if wanted => {
                let (path, row) = place(at);
                let found = self.rows[at].map_or_else(String::new, |v| v.to_string());
                let expected = match names.len() {
                    0 => "a class, a whole number below 2^32".to_string(),
                    n => format!("a class below {n}, the number of names"),
                };
                Err(Origin(path).format(0, format!("{column}, the label of row {row}"), found, expected))
            }
            None if self.options.some_labels && missing.len() < labels.len() => {
                let labels = labels.into_iter().map(Option::unwrap_or_default).collect();
                Ok(Classes { labels: Some(labels), names, missing })
            }
            None if wanted => {
                let (path, row) = place(first);
                let found = format!("missing or -1 (as of {} of {} rows)", missing.len(), labels.len());
                let expected = "a class; set missing_labels = \"drop\" to leave such rows out, or labels = false to do without classes";
                Err(Origin(path).format(0, format!("{column}, the label of row {row}"), found, expected))
            }
            _ => Ok(Classes { names, ..Classes::default() }),
        }
    }
}

/// A class that is stored as a float; not-a-number is a missing one.
fn whole(path: &Path, name: &str, row: usize, v: f64) -> Result<i64> {
    if v.is_nan() {
        return Ok(-1);
    }
    if v.fract() == 0.0 && v.abs() < 9e15 {
        return Ok(v as i64);
    }
    let item = format!("column {name}, row {row} of a row group");
    Err(Origin(path).format(0, item, v.to_string(), "a class: a whole number"))
}

/// Names of the classes of a column, as `datasets` keeps them in the metadata of a file.
fn class_names(text: &str, column: &str) -> Option<Vec<String>> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let names = json.get("info")?.get("features")?.get(column)?.get("names")?.as_array()?;
    names.iter().map(|n| n.as_str().map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_come_from_the_metadata_of_datasets() {
        let text = r#"{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
        assert_eq!(class_names(text, "label"), Some(vec!["cat".into(), "dog".into()]));
        assert_eq!(class_names(text, "image"), None);
        assert_eq!(class_names("{", "label"), None);
    }
}
