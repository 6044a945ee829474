//! Readers of image and array data, and writers of what a run produces.
//!
//! Everything here works on plain bytes and floats: the crate knows no tensor library and no other
//! crate of the framework. A file is never trusted: sizes it claims are compared with its length before
//! memory is taken, and every error names the file, the place, what stood there and what was expected.
//!
//! ```
//! use ebm_data::idx::Idx;
//! // Two images of 1×2 pixels in the format of MNIST, plain or gzipped, from bytes or from a path.
//! let file = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40];
//! let images = Idx::parse(&file, "example")?.into_images()?;
//! let (train, held_out) = images.split_every(2)?;
//! assert_eq!((train.bytes(), held_out.bytes()), (&[30, 40][..], &[10, 20][..]));
//! # Ok::<(), ebm_data::DataError>(())
//! ```

mod array_set;
pub mod atomic;
pub mod cifar;
mod error;
pub mod folder;
#[cfg(feature = "hub")]
pub mod hub;
pub mod idx;
mod idx_rows;
mod image_set;
pub mod npy;
mod npy_header;
mod npy_rows;
pub mod npz;
pub mod parquet;
pub mod patches;
pub mod png;
pub mod resize;
pub mod split;
pub mod toy2d;
mod unpack;

pub use array_set::ArraySet;
pub use error::{DataError, Result};
pub use image_set::ImageSet;
