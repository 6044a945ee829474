//! Drawing: samples as pictures, curves as charts, distributions over each other; png, gif and svg.
//!
#![doc = include_str!("../README.md")]

use ebm_core::Error;
use ebm_data::DataError;

pub mod chart;
mod curve;
pub mod distributions;
mod field;
mod ground;
mod legend;
mod palette;
pub mod picture;
mod scale;

/// The error of a file that `part` could not write.
pub(crate) fn unwritten(part: &'static str) -> impl Fn(DataError) -> Error {
    move |e| match e {
        DataError::Io { path, source, .. } => Error::io(path, source),
        other => Error::plugin(part, other),
    }
}
