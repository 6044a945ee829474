//! Drawing: samples as pictures, curves as charts, distributions over each other; png, gif and svg.
//!
//! ```
//! use ebm_core::candle::{Device, Tensor};
//! use ebm_draw::picture;
//!
//! // Four grey images in [0, 1] as one sheet.
//! let samples = Tensor::rand(0f32, 1.0, (4, 1, 8, 8), &Device::Cpu)?;
//! let png = picture::encode(&samples, None)?;
//! assert!(png.starts_with(b"\x89PNG"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
