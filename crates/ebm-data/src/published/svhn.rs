//! SVHN (Netzer et al. 2011), cropped digits: `train_32x32.mat`, `test_32x32.mat`, `extra_32x32.mat`.
//!
//! A file holds `X` `(32, 32, 3, N)` of bytes and `y` `(N, 1)`, in which the digit 0 is the class 10.

use std::path::Path;

use crate::mat::Mat;
use crate::{DataError, ImageSet, Result};

/// Images `(3, 32, 32)` of a file with the digits as labels.
///
/// # Errors
/// If the file is no MATLAB file of version 5, lacks an array, or holds other sizes or labels.
pub fn read(path: impl AsRef<Path>) -> Result<ImageSet> {
    let path = path.as_ref();
    let mat = Mat::open(path)?;
    let images = mat.array("X")?.into_images_samples_last()?;
    let mut labels = Vec::with_capacity(images.len());
    for (i, y) in mat.array("y")?.into_whole_numbers()?.into_iter().enumerate() {
        match y {
            1..=9 => labels.push(y as u32),
            0 | 10 => labels.push(0),
            _ => {
                let what = format!("{}: label of image {i}", path.display());
                return Err(DataError::mismatch(what, y.to_string(), "a digit, 1 to 10"));
            }
        }
    }
    images.with_labels(labels, (0..10).map(|d| d.to_string()).collect())
}
