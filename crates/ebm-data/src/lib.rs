//! Readers of image and array data, and writers of what a run produces.
//!
#![doc = include_str!("../README.md")]

mod arrays;
pub mod atomic;
mod error;
pub mod foreign;
pub mod pictures;
mod published;
pub mod regular;
mod sets;
mod tables;
pub mod toy2d;
mod unpack;

pub(crate) use arrays::npy_header;
pub use arrays::{idx, mat, npy, npz, passes, pickle, torch};
pub use error::{DataError, Result};
pub use pictures::{folder, patches, png, resize};
#[cfg(feature = "hub")]
pub use published::hub;
pub use published::{cifar, imagenet32, mnist, svhn};
pub use sets::array_set::ArraySet;
pub use sets::image_set::ImageSet;
pub use sets::report::{LeftOut, Parts, Report};
pub use sets::split;
pub use tables::{csv, parquet, table};
