//! Columns of numbers and of words of Parquet files.

use std::fs::File;
use std::path::Path;

use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::file::reader::FileReader;
use ::parquet::schema::types::ColumnDescriptor;

use super::csv::missing;
use super::parquet::{ParquetOptions, damaged, guarded, reader, rows_of, values};
use super::parquet_columns::{column_names, find, image_column};
use super::parquet_pages;
use super::table::{Gathered, MOST_VALUES, Table, Take, fits, place, table, unlike};
use crate::error::Origin;
use crate::{DataError, Result};

pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let reader = guarded(path, || reader(path))?;
    Ok(column_names(&reader.metadata().file_metadata().schema_descr_ptr()))
}

/// Whether a file can be read and has no column of pictures.
pub(super) fn without_pictures(path: &Path) -> bool {
    let Ok(reader) = guarded(path, || reader(path)) else { return false };
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let bytes = |c: &std::sync::Arc<ColumnDescriptor>| {
        let words = matches!(c.logical_type_ref(), Some(LogicalType::String))
            || c.converted_type() == ConvertedType::UTF8;
        c.physical_type() == Type::BYTE_ARRAY && !words
    };
    image_column(&schema, path, &ParquetOptions::default()).is_err() && !schema.columns().iter().any(bytes)
}

pub(super) fn read(path: &Path, wanted: &[(String, Take)]) -> Result<Table> {
    guarded(path, || {
        let reader = reader(path)?;
        let metadata = reader.metadata();
        let schema = metadata.file_metadata().schema_descr_ptr();
        unlike(path, column_names(&schema))?;
        let file = File::open(path).map_err(DataError::io(path, "open"))?;
        // Runs of one value take next to nothing, yet no table of many rows is all runs.
        let size = file.metadata().map_err(DataError::io(path, "open"))?.len();
        let most = size.saturating_mul(64).max(1 << 20).min(MOST_VALUES as u64);
        let mut groups = Vec::new();
        let mut rows = 0;
        for index in 0..reader.num_row_groups() {
            groups.push((rows, rows_of(&reader, path, index, most)?));
            rows += groups[index].1;
            fits(path, rows, wanted.len())?;
        }
        let mut columns = Vec::with_capacity(wanted.len());
        for (name, take) in wanted {
            let mut column = Gathered::new(*take);
            let at = find(&schema, path, name, |t| t != Type::INT96, "numbers, truth values or words")?;
            let kind = schema.column(at);
            plain(path, &kind, name)?;
            for (index, (first, count)) in groups.iter().enumerate() {
                let item = format!("column {name} of row group {index}");
                let chunk = parquet_pages::column(&file, metadata.row_group(index).column(at), *count);
                let chunk = chunk.map_err(damaged(path, &item))?;
                let to = To { column: &mut column, path, name, first: *first, kind: &kind };
                to.take(chunk, (index, *count))?;
            }
            columns.push(column);
        }
        Ok(table(columns, rows))
    })
}

/// Refuses numbers that mean others than they are.
fn plain(path: &Path, kind: &ColumnDescriptor, name: &str) -> Result<()> {
    let decimal = matches!(kind.logical_type_ref(), Some(LogicalType::Decimal { .. }))
        || kind.converted_type() == ConvertedType::DECIMAL;
    match decimal {
        true => {
            let expected = "plain numbers; write the column again as floats";
            Err(Origin(path).format(0, format!("column {name}"), "of decimals", expected))
        }
        false => Ok(()),
    }
}

fn is_unsigned(kind: &ColumnDescriptor) -> bool {
    matches!(kind.logical_type_ref(), Some(LogicalType::Integer(i)) if !i.is_signed)
        || matches!(
            kind.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        )
}

/// A value as it is taken.
enum Value<'v> {
    Whole(i128),
    Truth(bool),
    Real(f64),
    Bytes(&'v [u8]),
}

/// Where the values of a column go.
struct To<'a> {
    column: &'a mut Gathered,
    path: &'a Path,
    name: &'a str,
    /// The first row of the group.
    first: usize,
    kind: &'a ColumnDescriptor,
}

impl To<'_> {
    fn take(self, chunk: ColumnReader, group: (usize, usize)) -> Result<()> {
        let unsigned = is_unsigned(self.kind);
        match chunk {
            ColumnReader::BoolColumnReader(c) => self.each(c, group, |v| Value::Truth(*v)),
            ColumnReader::Int32ColumnReader(c) => {
                self.each(c, group, |v| Value::Whole(if unsigned { (*v as u32).into() } else { (*v).into() }))
            }
            ColumnReader::Int64ColumnReader(c) => {
                self.each(c, group, |v| Value::Whole(if unsigned { (*v as u64).into() } else { (*v).into() }))
            }
            ColumnReader::FloatColumnReader(c) => self.each(c, group, |v| Value::Real((*v).into())),
            ColumnReader::DoubleColumnReader(c) => self.each(c, group, |v| Value::Real(*v)),
            ColumnReader::ByteArrayColumnReader(c) => self.each(c, group, |v| Value::Bytes(v.data())),
            _ => {
                let item = format!("column {}", self.name);
                Err(Origin(self.path).format(0, item, "of another type", "numbers, truth values or words"))
            }
        }
    }

    fn each<T: DataType>(
        self,
        chunk: ColumnReaderImpl<T>,
        (index, count): (usize, usize),
        of: impl for<'v> Fn(&'v T::T) -> Value<'v>,
    ) -> Result<()> {
        let To { column, path, name, first, kind } = self;
        let refuse = |row: usize, (found, expected): (String, String)| {
            Origin(path).format(0, place(first + row, None, name), found, expected)
        };
        let mut next = 0;
        values(chunk, kind.max_def_level() > 0, count, (path, name, index), |row, value| {
            if row != next {
                return Err(refuse(next, missing()));
            }
            next += 1;
            took(column, &of(value)).map_err(|why| refuse(row, why))
        })?;
        if next < count { Err(refuse(next, missing())) } else { Ok(()) }
    }
}

/// Puts a value into a column.
fn took(column: &mut Gathered, value: &Value<'_>) -> std::result::Result<(), (String, String)> {
    let text =
        |bytes| std::str::from_utf8(bytes).map_err(|_| ("no UTF-8 text".to_string(), "a word".to_string()));
    match (column.take(), value) {
        (Take::Numbers, Value::Whole(v)) => column.number(*v as f64),
        (Take::Numbers, Value::Truth(v)) => column.number(f64::from(u8::from(*v))),
        (Take::Numbers, Value::Real(v)) => column.number(*v),
        (Take::Numbers, Value::Bytes(v)) => {
            let shown: String = text(v)?.chars().take(40).collect();
            Err((
                format!("the text \"{shown}\""),
                "a number; a column of words belongs to categories, or is left out".into(),
            ))
        }
        (Take::Words, Value::Whole(v)) => column.word(&v.to_string()),
        (Take::Words, Value::Truth(v)) => column.word(&v.to_string()),
        (Take::Words, Value::Real(v)) if v.is_nan() => Err(missing()),
        (Take::Words, Value::Real(v)) => column.word(&v.to_string()),
        (Take::Words, Value::Bytes(v)) => match text(v)? {
            "" => Err(missing()),
            word => column.word(word),
        },
    }
}
