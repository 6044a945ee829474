//! Samples by a name or a path, a few at a time: what `ebm score` and `ebm eval` read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::{Columns, DataSource, Family, Split};

use super::named::{data_setting, kind_of, open_data};
use super::units::Units;
use crate::config::validate::unknown_kind;
use crate::error::{Error, Result};

/// Samples of one shape that go through a model together.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Values of all samples, one sample after the other, in the units of training samples and with all digits of their file.
    pub values: Vec<f64>,
    /// File and number within it of each sample, from 0.
    pub places: Vec<(PathBuf, u64)>,
    /// Grey values of the samples: each stands in the middle of its level. `None` for numbers that are used as they are.
    pub levels: Option<u32>,
}

impl Piece {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The values in single precision.
    pub fn floats(&self) -> Vec<f32> {
        ebm_data::passes::singles(&self.values)
    }

    /// Number of values of a sample.
    pub fn width(&self) -> usize {
        self.values.len() / self.len().max(1)
    }
}

/// A set of samples that is read from its beginning to its end, as often as wanted.
pub struct Inputs {
    pub(super) name: String,
    pub(super) from: From,
}

pub(super) enum From {
    /// A split of a data source, which holds it in memory.
    Source(Arc<dyn DataSource>, Split),
    /// Rows of a NumPy file.
    Npy(PathBuf),
    /// Rows of an array in an archive.
    Npz(PathBuf, String),
    /// Rows of a file in the format of MNIST.
    Idx(PathBuf),
    /// Binary files of CIFAR-10.
    Cifar(Vec<PathBuf>),
    /// Rows of a table.
    Table(PathBuf),
    /// Pictures.
    Pictures(Vec<PathBuf>),
}

impl Inputs {
    /// The set that `what` names: a linked kind of data (`digits`), one with settings
    /// (`idx:images=a,held_out_images=b`), a picture, a folder of pictures, the folder or a file of CIFAR-10's binary
    /// version, an `.npy` file `(N, ...)`, a table (`.csv`, `.tsv`, or Parquet without pictures), an array of an archive (`set.npz` if it holds one, `set.npz:images`), or an
    /// IDX file, plain or gzipped. Folders of MNIST's four files, of CIFAR-100 and of Parquet files, and a Parquet file, are
    /// read as `--data` of `ebm train` reads them.
    ///
    /// Of a kind, a published set and a folder in splits it is the held-out part, if there is one; `WHAT:training` and
    /// `WHAT:held-out` say which. Bytes are levels of 256, those that are all 0 or 1 of 2.
    ///
    /// # Errors
    /// If it is neither a kind nor there, or there is nothing in it.
    pub fn open(what: &str) -> Result<Self> {
        let name = what.to_string();
        let (what, split) = match what.rsplit_once(':') {
            Some((what, "training")) => (what, Some(Split::Train)),
            Some((what, "held-out")) => (what, Some(Split::HeldOut)),
            _ => (what, None),
        };
        let path = PathBuf::from(what);
        if kind_of(what).is_some() || (split.is_some() && !path.is_dir() && path.exists()) {
            return Ok(Inputs { name, from: source(open_data(what)?, split, what)? });
        }
        if path.is_dir() {
            return Ok(Inputs { name, from: folder(&path, split)? });
        }
        if !path.exists() {
            if let Some((file, array)) = what.rsplit_once(':')
                && file.ends_with(".npz")
                && Path::new(file).exists()
            {
                return Ok(Inputs { from: From::Npz(file.into(), array.into()), name });
            }
            let kind = unknown_kind(Family::Data, what.split_once(':').map_or(what, |(kind, _)| kind));
            return Err(
                ebm_core::Error::data(path, format!("is not there: no file or folder, and {kind}")).into()
            );
        }
        let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        let from = match ending.as_deref() {
            Some("npy") => From::Npy(path),
            Some("npz") => {
                let names = ebm_data::npz::Npz::open(&path)?.names();
                match &names[..] {
                    [one] => From::Npz(path, one.clone()),
                    _ => {
                        return Err(Error::unfit(
                            what,
                            format!("holds the arrays {}; name one of them: {what}:NAME", names.join(", ")),
                        ));
                    }
                }
            }
            Some("png" | "jpg" | "jpeg" | "webp" | "bmp" | "tif" | "tiff" | "gif" | "ppm" | "pgm") => {
                From::Pictures(vec![path])
            }
            Some("bin") => From::Cifar(vec![path]),
            _ if ebm_data::table::is_table(&path) => From::Table(path),
            Some("parquet" | "mat") => source(open_data(what)?, None, what)?,
            _ if ebm_data::pictures::is_archive(&path) => source(open_data(what)?, None, what)?,
            _ => From::Idx(path),
        };
        Ok(Inputs { name, from })
    }

    /// The held-out part of the data that a model was trained on.
    ///
    /// # Errors
    /// If none was held out: then the setting must name a set.
    pub(crate) fn held_out(source: &Arc<dyn DataSource>, setting: &'static str) -> Result<Self> {
        let name = source.name();
        if source.stored(Split::HeldOut, 1)?.is_none_or(|l| l.x.dims().first() == Some(&0)) {
            return Err(Error::missing(
                &[setting],
                format!(
                    "the run's data `{name}` have no held-out part, wanted samples that it was not trained on"
                ),
            ));
        }
        Ok(Inputs { name: format!("{name} (held out)"), from: From::Source(source.clone(), Split::HeldOut) })
    }

    /// The training part of a source.
    pub(crate) fn training(source: &Arc<dyn DataSource>) -> Self {
        Inputs {
            name: format!("{} (training)", source.name()),
            from: From::Source(source.clone(), Split::Train),
        }
    }

    /// The source of a linked kind or a published set.
    pub(crate) fn source(&self) -> Option<&Arc<dyn DataSource>> {
        match &self.from {
            From::Source(source, _) => Some(source),
            _ => None,
        }
    }

    /// The source of a linked kind or a published set, and the part of it that this is.
    pub(crate) fn stored_part(&self) -> Option<(&Arc<dyn DataSource>, Split)> {
        match &self.from {
            From::Source(source, split) => Some((source, *split)),
            _ => None,
        }
    }

    /// The training part of a source of which this is the held-out part.
    pub(crate) fn training_part(&self) -> Option<Self> {
        match &self.from {
            From::Source(source, Split::HeldOut) => Some(Self::training(source)),
            _ => None,
        }
    }

    /// The units of its numbers, as far as its form tells them: those of images.
    pub(crate) fn units(&self) -> Option<Units> {
        match &self.from {
            From::Source(source, _) => Units::new(source.range()?, source.levels()),
            From::Pictures(_) | From::Cifar(_) => Units::new((0.0, 1.0), Some(256)),
            From::Npy(_) | From::Npz(..) | From::Idx(_) | From::Table(_) => None,
        }
    }

    /// The columns that its samples are made of, as far as it has learnt such.
    pub(crate) fn columns(&self) -> Option<&Columns> {
        self.source().and_then(|s| s.columns())
    }

    /// As it was named.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The part of a source that is asked for; else the held-out part, or all of one that has none.
fn source(source: Arc<dyn DataSource>, split: Option<Split>, what: &str) -> Result<From> {
    let held = source.stored(Split::HeldOut, 1)?.is_some();
    match split {
        Some(Split::HeldOut) if !held => Err(no_held_out(what)),
        Some(split) => Ok(From::Source(source, split)),
        None => Ok(From::Source(source, if held { Split::HeldOut } else { Split::Train })),
    }
}

fn no_held_out(what: &str) -> Error {
    ebm_core::Error::data(what, "has no held-out part, which `held-out` behind its name asks for").into()
}

/// What a folder holds: files of CIFAR-10, or pictures; of a set in splits the part that is asked for, else the held-out one.
fn folder(path: &Path, split: Option<Split>) -> Result<From> {
    let test = path.join("test_batch.bin");
    if test.is_file() && split != Some(Split::Train) {
        return Ok(From::Cifar(vec![test]));
    }
    let train: Vec<PathBuf> =
        (1..=5).map(|i| path.join(format!("data_batch_{i}.bin"))).filter(|p| p.is_file()).collect();
    if !train.is_empty() && split != Some(Split::HeldOut) {
        return Ok(From::Cifar(train));
    }
    let whole = path.display().to_string();
    // Other published sets: a folder of MNIST's files, CIFAR-100, Parquet.
    if data_setting(&whole)?.get("kind").and_then(|k| k.as_str()) != Some("image-folder") {
        return source(open_data(&whole)?, split, &whole);
    }
    if !ebm_data::pictures::is_plain_folder(path) {
        return source(open_data(&whole)?, split, &whole);
    }
    let parts = ebm_data::folder::files(path)?;
    for line in parts.report.lines() {
        tracing::info!("{whole}: {line}");
    }
    match (split, parts.held_out) {
        (Some(Split::HeldOut), None) => Err(no_held_out(&whole)),
        (None | Some(Split::HeldOut), Some(held)) => Ok(From::Pictures(held)),
        _ => Ok(From::Pictures(parts.training)),
    }
}
