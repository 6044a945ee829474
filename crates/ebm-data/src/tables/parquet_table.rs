//! Columns of numbers and of words of Parquet files.

use std::path::Path;

use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::file::reader::FileReader;
use ::parquet::schema::types::ColumnDescriptor;

use super::columns::{Gathered, MOST_VALUES, Table, Take, fits, missing, place, table, unlike};
use super::parquet_columns::{ParquetOptions, column_names, find, image_column};
use super::parquet_numbers::{Meaning, Value};
use super::parquet_pages;
use super::parquet_reader::{damaged, guarded, reader, rows_of, values};
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
        let told = matches!(c.logical_type_ref(), Some(LogicalType::String | LogicalType::Decimal(_)))
            || [ConvertedType::UTF8, ConvertedType::DECIMAL].contains(&c.converted_type());
        c.physical_type() == Type::BYTE_ARRAY && !told
    };
    image_column(&schema, path, &ParquetOptions::default()).is_err() && !schema.columns().iter().any(bytes)
}

pub(super) fn read(path: &Path, wanted: &[(String, Take)]) -> Result<Table> {
    guarded(path, || {
        let reader = reader(path)?;
        let metadata = reader.metadata();
        let schema = metadata.file_metadata().schema_descr_ptr();
        unlike(path, column_names(&schema))?;
        let file = crate::regular::open(path)?;
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
            let at = find(&schema, path, name, |_| true, "numbers, truth values or words")?;
            let kind = schema.column(at);
            let meaning = Meaning::of(path, metadata.file_metadata(), &kind)?;
            for (index, (first, count)) in groups.iter().enumerate() {
                let item = format!("column {name} of row group {index}");
                let chunk = parquet_pages::column(&file, metadata.row_group(index).column(at), *count);
                let chunk = chunk.map_err(damaged(path, &item))?;
                let to = To { column: &mut column, path, name, first: *first, kind: &kind, meaning };
                to.take(chunk, (index, *count))?;
            }
            columns.push(column);
        }
        Ok(table(columns, rows))
    })
}

/// Where the values of a column go.
struct To<'a> {
    column: &'a mut Gathered,
    path: &'a Path,
    name: &'a str,
    /// The first row of the group.
    first: usize,
    kind: &'a ColumnDescriptor,
    meaning: Meaning,
}

impl To<'_> {
    fn take(self, chunk: ColumnReader, group: (usize, usize)) -> Result<()> {
        let meaning = self.meaning;
        let unsigned = meaning == Meaning::Unsigned;
        match chunk {
            ColumnReader::BoolColumnReader(c) => self.each(c, group, |v| Some(Value::Truth(*v))),
            ColumnReader::Int32ColumnReader(c) => {
                let of =
                    |v: i32| if unsigned { Value::Whole((v as u32).into()) } else { meaning.whole(v.into()) };
                self.each(c, group, |v| Some(of(*v)))
            }
            ColumnReader::Int64ColumnReader(c) => {
                let of = |v: i64| if unsigned { Value::Whole((v as u64).into()) } else { meaning.whole(v) };
                self.each(c, group, |v| Some(of(*v)))
            }
            ColumnReader::Int96ColumnReader(c) => self.each(c, group, |v| Some(Meaning::old_instant(v))),
            ColumnReader::FloatColumnReader(c) => self.each(c, group, |v| Some(Value::Real((*v).into()))),
            ColumnReader::DoubleColumnReader(c) => self.each(c, group, |v| Some(Value::Real(*v))),
            ColumnReader::ByteArrayColumnReader(c) => self.each(c, group, |v| meaning.bytes(v.data())),
            ColumnReader::FixedLenByteArrayColumnReader(c) => {
                self.each(c, group, |v| meaning.bytes(v.data()))
            }
        }
    }

    fn each<T: DataType>(
        self,
        chunk: ColumnReaderImpl<T>,
        (index, count): (usize, usize),
        of: impl for<'v> Fn(&'v T::T) -> Option<Value<'v>>,
    ) -> Result<()> {
        let To { column, path, name, first, kind, .. } = self;
        let refuse = |row: usize, (found, expected): (String, String)| {
            Origin(path).format(0, place(first + row, None, name), found, expected)
        };
        let mut next = 0;
        values(chunk, kind.max_def_level() > 0, count, (path, name, index), |row, value| {
            if row != next {
                return Err(refuse(next, missing()));
            }
            next += 1;
            let value = of(value).ok_or_else(|| refuse(row, unreadable()))?;
            took(column, &value).map_err(|why| refuse(row, why))
        })?;
        if next < count { Err(refuse(next, missing())) } else { Ok(()) }
    }
}

/// What is found and expected where bytes are no number of the column's type.
fn unreadable() -> (String, String) {
    (
        "bytes of another length than its type has".into(),
        "a number of at most 16 bytes; write the file again".into(),
    )
}

/// Puts a value into a column.
fn took(column: &mut Gathered, value: &Value<'_>) -> std::result::Result<(), (String, String)> {
    let text =
        |bytes| std::str::from_utf8(bytes).map_err(|_| ("no UTF-8 text".to_string(), "a word".to_string()));
    match (column.take(), value) {
        (Take::Numbers, Value::Whole(v)) => column.number(*v as f64),
        (Take::Numbers, Value::Truth(v)) => column.truth(*v),
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
