//! What every reader of a Parquet file begins with: a file whose claims are checked, and the values of a column.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::column::reader::ColumnReaderImpl;
use ::parquet::data_type::DataType;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};

use crate::error::Origin;
use crate::{DataError, Result};

/// Rows read at a time: packed pictures of so many are in memory beside the decoded ones.
pub(super) const PIECE: usize = 64;

pub(super) fn damaged(path: &Path, item: &str) -> impl Fn(ParquetError) -> DataError {
    move |e| {
        let item = item.to_string();
        match &e {
            ParquetError::NYI(what) => {
                let reason = "this build reads plain pages and those of snappy and gzip, and with its features of \
                              zstd, brotli and lz4; write the file again with one of these";
                Origin(path).unsupported(0, format!("{item}, {what},"), reason)
            }
            _ => {
                let foreign = crate::foreign::of_file(path).filter(|f| !f.what.contains("Parquet"));
                let found = foreign.map_or(format!("unreadable ({e})"), |f| f.to_string());
                Origin(path).format(0, item, found, "a sound Parquet file")
            }
        }
    }
}

/// Number of rows of a row group, which claims no more than `most`.
pub(super) fn rows_of(
    reader: &SerializedFileReader<File>,
    path: &Path,
    index: usize,
    most: u64,
) -> Result<usize> {
    let claim = reader.metadata().row_group(index).num_rows();
    let rows = u64::try_from(claim).ok().filter(|n| *n <= most).and_then(|n| usize::try_from(n).ok());
    rows.ok_or_else(|| {
        let expected = format!("at most {most}, which a file of this size can hold");
        Origin(path).format(0, format!("row group {index}"), format!("of {claim} rows"), expected)
    })
}

pub(super) fn reader(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = crate::regular::open(path)?;
    let length = file.metadata().map_err(DataError::io(path, "open"))?.len();
    let reader = SerializedFileReader::new(file).map_err(damaged(path, "the file"))?;
    // Places of columns are used by the library as they stand.
    for (g, group) in reader.metadata().row_groups().iter().enumerate() {
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
            if end.and_then(|(start, n)| start.checked_add(n)).is_none_or(|end| end > length) {
                let item = format!("the place of column {} of row group {g}", column.column_path().string());
                let found = format!("{} bytes from {start}", column.compressed_size());
                return Err(Origin(path).format(0, item, found, format!("inside of the {length} bytes")));
            }
        }
    }
    Ok(reader)
}

/// Runs `f`; where the library gives up on a damaged file instead of saying so, that is an error of the file, too.
pub(super) fn guarded<T>(path: &Path, f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        Err(Origin(path).format(0, "the file", "damaged", "a sound Parquet file; write or fetch it again"))
    })
}

/// Hands every value of a column of a row group to `each`, with its row in the group; rows without one are passed over.
pub(super) fn values<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    optional: bool,
    rows: usize,
    place: (&Path, &str, usize),
    mut each: impl FnMut(usize, &T::T) -> Result<()>,
) -> Result<()> {
    let (path, name, group) = place;
    let item = format!("column {name} of row group {group}");
    let mut done = 0;
    while done < rows {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let wanted = PIECE.min(rows - done);
        let levels_to = optional.then_some(&mut levels);
        let (records, found, _) =
            column.read_records(wanted, levels_to, None, &mut values).map_err(damaged(path, &item))?;
        if records == 0 {
            let found = format!("{done} rows");
            return Err(Origin(path).format(0, item, found, format!("{rows} rows as the file claims")));
        }
        let most = if found < records { levels.iter().max().copied().unwrap_or(0) } else { 0 };
        // Without a single value the deepest level there is tells nothing.
        let there = (0..records).filter(|i| found == records || (found > 0 && levels.get(*i) == Some(&most)));
        for (i, value) in there.zip(&values) {
            each(done + i, value)?;
        }
        done += records;
    }
    Ok(())
}
