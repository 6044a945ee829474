//! Data sources: embedded digits, published sets as downloaded, arrays, tables and series, folders and archives of pictures, 2-D sets.
//!
#![doc = include_str!("../README.md")]

mod cifar10;
mod cifar100;
mod digits;
mod folder;
mod idx;
mod imagenet32;
mod images;
pub mod kit;
mod labels;
#[cfg(feature = "mnist-5k")]
mod mnist5k;
mod npy;
mod order;
mod parquet;
mod points;
mod standard;
mod svhn;
mod table;
mod table_columns;
mod table_part;
mod toy2d;

pub use cifar10::Cifar10;
pub use cifar100::{Cifar100, Classes};
pub use digits::Digits;
pub use folder::ImageFolder;
pub use idx::IdxImages;
pub use imagenet32::Imagenet32;
pub use images::{Binary, ImageOptions, ImageSource};
pub use labels::MissingLabels;
#[cfg(feature = "mnist-5k")]
pub use mnist5k::Mnist5k;
pub use npy::{Layout, NpyArray, Values};
pub use order::Order;
pub use parquet::Parquet;
pub use points::PointSource;
pub use standard::Axis;
pub use svhn::Svhn;
pub use table::{AngleColumn, TableRows};
pub use toy2d::Toy2dSet;

use std::sync::Arc;

use ebm_core::{BuildCx, DataSource, Error, Result};
use ebm_data::{DataError, ImageSet};

/// The framework's error for a reader's error, which already names the file and the place.
fn data_error(source: DataError) -> Error {
    Error::data_source(source)
}

/// Says what a reader reported, line by line.
fn say(cx: &mut BuildCx, report: &ebm_data::Report) {
    report.lines().into_iter().for_each(|line| cx.note(line));
}

/// A source that a kind made under the name `kind`, which stands for the place in the configuration in its refusals.
fn placed<S: DataSource + 'static>(cx: &BuildCx, kind: &str, made: Result<S>) -> Result<Arc<dyn DataSource>> {
    match made {
        Ok(source) => Ok(Arc::new(source)),
        Err(Error::Config { path, message }) => Err(match path.strip_prefix(kind) {
            Some(setting) => cx.refuse(setting.trim_start_matches('.'), message),
            None => Error::Config { path, message },
        }),
        Err(other) => Err(other),
    }
}

/// Remarks on bytes that use a part of their range only, which `way` helps with where it is a mistake.
fn remark_dim(cx: &mut BuildCx, set: &ImageSet, way: impl Fn(u8) -> String) {
    let most = set.bytes().iter().max().copied().unwrap_or(255);
    if set.levels() == 256 && most < 128 {
        let part = f64::from(most) / 255.0;
        cx.note(format!(
            "the brightest value of all images is {most} of 255 ({part:.4}): is this another number of levels? {}",
            way(most)
        ));
    }
}

/// The two parts of a set, every so many of its images held out where that is asked for and nothing else is.
fn apart(
    cx: &BuildCx,
    train: ImageSet,
    held: Option<ImageSet>,
    every: usize,
) -> Result<(ImageSet, Option<ImageSet>)> {
    some_are_left(cx, every)?;
    match (every, &held) {
        (0, _) => Ok((train, held)),
        (_, Some(_)) => Err(cx.refuse("held_out_every", TWICE)),
        (k, None) => {
            let (train, held) = train.split_every(k).map_err(data_error)?;
            Ok((train, Some(held)))
        }
    }
}

/// Why `held_out_every` is refused beside a held-out part.
const TWICE: &str = "takes images out of training, but the set has a held-out part already: leave it out";

/// Refuses to hold out every image.
fn some_are_left(cx: &BuildCx, held_out_every: usize) -> Result<()> {
    match held_out_every {
        1 => Err(cx.refuse(
            "held_out_every",
            "is 1, which leaves nothing to train on; 0 holds out none, 10 a tenth",
        )),
        _ => Ok(()),
    }
}
