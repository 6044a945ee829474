//! Columns of a Parquet file by their names, and which of them are asked for.

use std::path::Path;

use ::parquet::basic::Type;
use ::parquet::schema::types::SchemaDescriptor;

use crate::Result;
use crate::error::Origin;
use crate::folder::FolderOptions;

/// Which columns are read, and how pictures become images.
#[derive(Clone, Debug, Default)]
pub struct ParquetOptions {
    /// Column of the pictures; without it the only one that can be.
    pub image: Option<String>,
    /// Column of the classes; without it `label`, if there is one.
    pub label: Option<String>,
    /// Whether classes are asked for: then a row without one, and a column that cannot hold classes, is an error.
    /// Otherwise such a set has no labels.
    pub labels: bool,
    /// Whether images without a class are to be left out by whoever reads them: then the others have theirs, see
    /// [`ParquetImages::without_class`](super::parquet::ParquetImages::without_class).
    pub some_labels: bool,
    /// Names of the classes by their number; without them those of the file, or its words in order.
    pub classes: Option<Vec<String>>,
    /// Colours and size.
    pub pictures: FolderOptions,
}

pub(super) fn column_names(schema: &SchemaDescriptor) -> Vec<String> {
    schema.columns().iter().map(|c| c.path().string()).collect()
}

/// The place of column `name`, which must have a type that `fits`.
pub(super) fn find(
    schema: &SchemaDescriptor,
    path: &Path,
    name: &str,
    fits: fn(Type) -> bool,
    wanted: &str,
) -> Result<usize> {
    let names = column_names(schema);
    let at = names.iter().position(|n| n == name).ok_or_else(|| {
        Origin(path).format(
            0,
            "the schema",
            format!("without column {name}"),
            format!("one of {}", names.join(", ")),
        )
    })?;
    let column = schema.column(at);
    if !fits(column.physical_type()) || column.max_rep_level() > 0 {
        let list = if column.max_rep_level() > 0 { " in a list" } else { "" };
        let found = format!("{}{list}", column.physical_type());
        return Err(Origin(path).format(
            0,
            format!("column {name}"),
            found,
            format!("{wanted}, one value a row"),
        ));
    }
    Ok(at)
}

/// Full name of the column of pictures.
pub(super) fn image_column(
    schema: &SchemaDescriptor,
    path: &Path,
    options: &ParquetOptions,
) -> Result<String> {
    let names = column_names(schema);
    if let Some(wanted) = &options.image {
        let inner = format!("{wanted}.bytes");
        return Ok(if names.contains(&inner) { inner } else { wanted.clone() });
    }
    let binary = |name: &&String| find(schema, path, name, |t| t == Type::BYTE_ARRAY, "").is_ok();
    let named = |name: &&String| name.ends_with(".bytes") || ["image", "img"].contains(&name.as_str());
    let mut fit = names.iter().filter(binary).filter(named);
    match (fit.next(), fit.next()) {
        (Some(one), None) => Ok(one.clone()),
        (found, _) => {
            // A name in the message is one that is taken.
            let taken: Vec<&str> = names.iter().filter(binary).map(String::as_str).collect();
            let found = if found.is_some() { "several columns of pictures" } else { "no column of pictures" };
            let expected = match &taken[..] {
                [] => format!("a binary column with one picture a row; there are {}", names.join(", ")),
                taken => format!("one; set image to one of {}", taken.join(", ")),
            };
            Err(Origin(path).format(0, "the schema", found, expected))
        }
    }
}
