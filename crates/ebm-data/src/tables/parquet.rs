//! Parquet files with pictures inside, as the Hugging Face hub keeps image sets.
//!
//! Such a file has a column of pictures, a group `image` with the bytes in `image.bytes` or a plain binary column,
//! and often a column of classes. Its rows come in row groups; one of them, decoded, is the most that is held at a
//! time. Pages may be plain or packed by snappy or gzip, and with features of this crate by zstd, brotli and lz4.

use std::fs;
use std::path::{Path, PathBuf};

use ::parquet::basic::Type;
use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::ByteArrayType;
use ::parquet::file::reader::FileReader;

pub use super::parquet_columns::ParquetOptions;
use super::parquet_columns::{find, image_column};
pub use super::parquet_files::{files, is_repository, parts};
use super::parquet_labels::{Classes, Gathered};
use super::parquet_pages;
use super::parquet_reader::{PIECE, damaged, guarded, reader, rows_of, values};
use crate::error::Origin;
use crate::pictures::by_all_cores;
use crate::pictures::decode::Gauge;
use crate::{DataError, ImageSet, Result};

/// Rows that are read together.
#[derive(Clone, Copy, Debug)]
struct Group {
    file: usize,
    index: usize,
    first: usize,
    rows: usize,
}

/// Images in one or more files, read a row group at a time.
#[derive(Clone, Debug)]
pub struct ParquetImages {
    files: Vec<PathBuf>,
    column: String,
    groups: Vec<Group>,
    classes: Classes,
    gauge: Gauge,
}

impl ParquetImages {
    /// Opens files in this order; reads their schema, all labels and the first picture.
    ///
    /// # Errors
    /// If a file is no Parquet file, has no such column, or other columns than the first file; if classes are asked for
    /// and a row has none; if there are no rows, or the first picture is damaged.
    pub fn open(files: &[impl AsRef<Path>], options: &ParquetOptions) -> Result<Self> {
        let files: Vec<PathBuf> = files.iter().map(|f| f.as_ref().to_path_buf()).collect();
        let (mut groups, mut image) = (Vec::new(), None);
        let mut gathered = Gathered::new(options);
        let mut first = 0;
        for (file, path) in files.iter().enumerate() {
            let reader = guarded(path, || reader(path))?;
            let schema = reader.metadata().file_metadata().schema_descr_ptr();
            let image = match &image {
                None => image.insert(image_column(&schema, path, options)?),
                Some(name) => name,
            };
            find(&schema, path, image, |t| t == Type::BYTE_ARRAY, "binary")?;
            gathered.file(&reader, path)?;
            for index in 0..reader.num_row_groups() {
                // No picture takes less than a byte, whatever the file claims.
                let most = fs::metadata(path).map_err(DataError::io(path, "open"))?.len();
                let rows = rows_of(&reader, path, index, most)?;
                guarded(path, || gathered.group(&reader, path, index, rows))?;
                groups.push(Group { file, index, first, rows });
                first += rows;
            }
        }
        groups.retain(|g| g.rows > 0);
        let (Some(column), Some(group)) = (image, groups.first().copied()) else {
            let path = files.first().map_or(Path::new("parquet"), PathBuf::as_path);
            return Err(Origin(path).format(0, "the file", "without rows", "at least one picture"));
        };
        let classes = gathered.finish()?;
        let mut gauge = None;
        guarded(&files[group.file], || {
            read_pictures(&files[group.file], &column, group, 1, |path, raw| {
                gauge = Some(Gauge::of(raw, path, &options.pictures)?.0);
                Ok(())
            })
        })?;
        let gauge = gauge.ok_or_else(|| {
            let item = format!("column {column}");
            Origin(&files[group.file]).format(0, item, "without values", "one picture a row")
        })?;
        Ok(ParquetImages { files, column, groups, classes, gauge })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.groups.last().map_or(0, |g| g.first + g.rows)
    }

    /// Whether there is none, which [`open`](Self::open) refuses.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `(C, H, W)` of every image.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.gauge.shape
    }

    /// Images without a class, where the others have one.
    pub fn without_class(&self) -> &[usize] {
        &self.classes.missing
    }

    /// The file of an image, and its row there.
    pub fn place(&self, image: usize) -> (&Path, usize) {
        let group = self.groups.iter().rfind(|g| g.first <= image);
        let Some(group) = group else { return (Path::new(""), image) };
        let first = self.groups.iter().find(|g| g.file == group.file).map_or(0, |g| g.first);
        (&self.files[group.file], image - first)
    }

    /// Class of every image `(N,)`, if each has one, or those that [`without_class`](Self::without_class) tells have none.
    pub fn labels(&self) -> Option<&[u32]> {
        self.classes.labels.as_deref()
    }

    /// Names of the classes by their number; empty if they have none.
    pub fn class_names(&self) -> &[String] {
        &self.classes.names
    }

    /// Number of images of each file, in order.
    pub fn by_file(&self) -> Vec<(PathBuf, usize)> {
        let rows = |file| self.groups.iter().filter(|g| g.file == file).map(|g| g.rows).sum();
        self.files.iter().enumerate().map(|(i, f)| (f.clone(), rows(i))).collect()
    }

    /// Number of images of each row group, in order.
    pub fn groups(&self) -> Vec<usize> {
        self.groups.iter().map(|g| g.rows).collect()
    }

    /// All values `(n, C, H, W)` of a row group.
    ///
    /// # Errors
    /// If there is no such group, the file cannot be read any more, or a picture is missing, damaged or of another
    /// size or sort than the first.
    pub fn group(&self, index: usize) -> Result<Vec<u8>> {
        let group = *self.groups.get(index).ok_or_else(|| {
            DataError::mismatch(
                "index of a row group",
                index.to_string(),
                format!("below {}", self.groups.len()),
            )
        })?;
        let (mut packed, mut bytes) = (Vec::new(), Vec::new());
        let unpack = |packed: &mut Vec<(PathBuf, Vec<u8>)>, bytes: &mut Vec<u8>| -> Result<()> {
            bytes.append(&mut by_all_cores(packed, |(shown, raw), to| {
                to.extend(self.gauge.take(raw, shown)?);
                Ok(())
            })?);
            packed.clear();
            Ok(())
        };
        let path = &self.files[group.file];
        guarded(path, || {
            read_pictures(path, &self.column, group, group.rows, |shown, raw| {
                packed.push((shown.to_path_buf(), raw.to_vec()));
                if packed.len() < PIECE { Ok(()) } else { unpack(&mut packed, &mut bytes) }
            })?;
            unpack(&mut packed, &mut bytes)
        })?;
        Ok(bytes)
    }

    /// All images in memory.
    ///
    /// # Errors
    /// As [`group`](Self::group).
    pub fn read(&self) -> Result<ImageSet> {
        let mut bytes = Vec::new();
        for group in 0..self.groups.len() {
            bytes.extend(self.group(group)?);
        }
        let set = ImageSet::new(bytes, self.shape(), 256)?;
        match &self.classes.labels {
            Some(labels) => set.with_labels(labels.clone(), self.classes.names.clone()),
            None => Ok(set),
        }
    }
}

fn read_pictures(
    path: &Path,
    name: &str,
    group: Group,
    rows: usize,
    mut each: impl FnMut(&Path, &[u8]) -> Result<()>,
) -> Result<()> {
    let reader = reader(path)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let at = find(&schema, path, name, |t| t == Type::BYTE_ARRAY, "binary")?;
    let item = format!("column {name} of row group {}", group.index);
    let file = crate::regular::open(path)?;
    let column = parquet_pages::column(&file, reader.metadata().row_group(group.index).column(at), rows);
    let ColumnReader::ByteArrayColumnReader(column) = column.map_err(damaged(path, &item))? else {
        return Err(Origin(path).format(0, item, "of another type", "binary"));
    };
    let optional = schema.column(at).max_def_level() > 0;
    let mut next = 0;
    let missing = |row: usize| {
        Origin(path).format(
            0,
            format!("{item}, row {row}"),
            "missing",
            "a picture in every row; drop such rows",
        )
    };
    values::<ByteArrayType>(column, optional, rows, (path, name, group.index), |row, value| {
        if row != next {
            return Err(missing(next));
        }
        next += 1;
        // Shown as `set.parquet/image.bytes[7]`, counted over all files.
        each(&path.join(format!("{name}[{}]", group.first + row)), value.data())
    })?;
    if next < rows { Err(missing(next)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;
    use std::sync::Arc;

    use ::parquet::basic::Compression;
    use ::parquet::data_type::{ByteArray, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use image::GrayImage;
    use proptest::prelude::*;

    use super::*;

    /// What the hub writes: a group of bytes and a path, and a class.
    const HUB: &str =
        "message schema { optional group image { optional binary bytes; optional binary path (utf8); }
        optional int64 label; }";

    fn png(side: u32, v: u8) -> Vec<u8> {
        let mut out = Vec::new();
        let picture = GrayImage::from_fn(side, 1, |x, _| [v + x as u8].into());
        picture.write_to(&mut Cursor::new(&mut out), image::ImageFormat::Png).unwrap();
        out
    }

    type Row = (Option<Vec<u8>>, Option<i64>);

    /// A file of these row groups.
    fn file(groups: &[Vec<Row>]) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(HUB).unwrap());
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let mut out = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut out, schema, properties).unwrap();
        for rows in groups {
            let mut group = writer.next_row_group().unwrap();
            let pictures: Vec<ByteArray> =
                rows.iter().filter_map(|r| r.0.clone()).map(ByteArray::from).collect();
            let levels: Vec<i16> = rows.iter().map(|r| if r.0.is_some() { 2 } else { 0 }).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&pictures, Some(&levels), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let none: Vec<i16> = rows.iter().map(|r| i16::from(r.0.is_some())).collect();
            column.typed::<ByteArrayType>().write_batch(&[], Some(&none), None).unwrap();
            column.close().unwrap();
            let labels: Vec<i64> = rows.iter().filter_map(|r| r.1).collect();
            let levels: Vec<i16> = rows.iter().map(|r| i16::from(r.1.is_some())).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        out
    }

    fn good(values: std::ops::Range<u8>) -> Vec<Row> {
        values.map(|v| (Some(png(2, v)), Some(i64::from(v % 10)))).collect()
    }

    fn open(bytes: &[u8], options: &ParquetOptions) -> Result<ImageSet> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        fs::write(&path, bytes).unwrap();
        ParquetImages::open(&[path], options)?.read()
    }

    fn message(bytes: &[u8], options: &ParquetOptions) -> String {
        open(bytes, options).unwrap_err().to_string()
    }

    #[test]
    fn row_groups_of_several_files_are_one_set() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // More rows than are read at a time, then a small group, then another file.
        fs::write(at("train-0.parquet"), file(&[good(0..100), good(100..103)])).unwrap();
        fs::write(at("train-1.parquet"), file(&[good(103..105)])).unwrap();
        fs::write(at("test-0.parquet"), file(&[good(7..8)])).unwrap();
        fs::write(at("readme.md"), "passed over").unwrap();
        let (train, held) = files(folder.path()).unwrap();
        assert_eq!((train.len(), held), (2, vec![at("test-0.parquet")]));
        let set = ParquetImages::open(&train, &ParquetOptions::default()).unwrap();
        assert_eq!((set.len(), set.shape(), set.groups()), (105, (1, 1, 2), vec![100, 3, 2]));
        assert_eq!(set.group(1).unwrap(), [100, 101, 101, 102, 102, 103]);
        let all = set.read().unwrap();
        assert_eq!(all.bytes(), (0..105u8).flat_map(|v| [v, v + 1]).collect::<Vec<_>>());
        assert_eq!(all.labels().unwrap()[98..102], [8, 9, 0, 1]);
        assert!(set.group(3).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_named_by_file_and_column() {
        let options = ParquetOptions::default();
        let text = message(b"PAR1 and no more", &options);
        assert!(text.contains("a.parquet: the file is unreadable"), "{text}");
        let mut rows = good(0..3);
        rows[1].0 = None;
        let text = message(&file(&[rows]), &options);
        assert!(text.contains("column image.bytes of row group 0, row 1 is missing"), "{text}");
        let mut rows = good(0..3);
        rows[2].1 = Some(-1);
        // Of no concern to who does not ask for classes.
        assert_eq!(open(&file(&[rows.clone()]), &options).unwrap().labels(), None);
        let text = message(&file(&[rows]), &ParquetOptions { labels: true, ..Default::default() });
        assert!(text.contains("label of row 2") && text.contains("missing or -1"), "{text}");
        let mut rows = good(0..3);
        rows[2].0 = Some(png(3, 0));
        let text = message(&file(&[rows]), &options);
        assert!(text.contains("a.parquet/image.bytes[2]: the size of the picture: found 1 x 3"), "{text}");
        let column = |image: &str| ParquetOptions { image: Some(image.into()), ..Default::default() };
        let text = message(&file(&[good(0..1)]), &column("photo"));
        assert!(
            text.contains("without column photo, expected one of image.bytes, image.path, label"),
            "{text}"
        );
        let text = message(&file(&[good(0..1)]), &column("label"));
        assert!(text.contains("column label is INT64, expected binary"), "{text}");
        assert_eq!(open(&file(&[good(4..5)]), &column("image")).unwrap().bytes(), [4, 5]);
        assert!(message(&file(&[]), &options).contains("without rows"));
        let label = ParquetOptions { label: Some("photo".into()), ..Default::default() };
        assert!(message(&file(&[good(0..1)]), &label).contains("without column photo"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(
            std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
        ))]
        #[test]
        fn damage_anywhere_never_panics(at in 0.0f64..1.0, byte in any::<u8>()) {
            let mut bytes = file(&[good(0..3), good(3..5)]);
            let at = (at * bytes.len() as f64) as usize;
            prop_assert!(open(&bytes[..at], &ParquetOptions::default()).is_err());
            bytes[at] = byte;
            let _ = open(&bytes, &ParquetOptions::default());
        }
    }
}
