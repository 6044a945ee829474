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

mod arrays;
pub mod atomic;
mod error;
pub mod foreign;
pub mod pictures;
mod published;
mod sets;
mod tables;
pub mod toy2d;
mod unpack;

pub(crate) use arrays::npy_header;
pub use arrays::{idx, mat, npy, npz, pickle, torch};
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
