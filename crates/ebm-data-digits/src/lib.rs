//! The UCI optical digits, 8×8 pixels of 17 grey levels, compiled into the program (44 kB).
//!
#![doc = include_str!("../README.md")]

use ebm_data::idx::Idx;
use ebm_data::{ImageSet, Result};

const IMAGES: &[u8] = include_bytes!("../data/digits-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../data/digits-labels-idx1-ubyte.gz");

/// Grey levels: values lie in 0..=16.
pub const LEVELS: u32 = 17;

/// Every k-th image is held out by [`split`].
pub const HELD_OUT_EVERY: usize = 5;

/// All 1,797 images `(1, 8, 8)` with values 0 to 16 and labels 0 to 9, in the source's order.
pub fn digits() -> ImageSet {
    // The bytes are part of this crate and read by its tests: no user can make this fail.
    read().unwrap_or_else(|e| unreachable!("embedded digits: {e}"))
}

/// `(training, held-out)`: images 0, 5, 10, … are held out (1,437 and 360 images).
pub fn split() -> (ImageSet, ImageSet) {
    digits().split_every(HELD_OUT_EVERY).unwrap_or_else(|e| unreachable!("embedded digits: {e}"))
}

fn read() -> Result<ImageSet> {
    let labels = Idx::parse(LABELS, "embedded digits labels")?.into_labels()?;
    let names = (0..10).map(|d| d.to_string()).collect();
    Idx::parse(IMAGES, "embedded digits images")?.into_images_of(LEVELS)?.with_labels(labels, names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_are_those_of_the_published_set() {
        let set = digits();
        let mut count = [0; 10];
        set.labels().unwrap().iter().for_each(|&l| count[l as usize] += 1);
        // Class counts of scikit-learn's load_digits.
        assert_eq!(count, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(set.bytes().iter().max(), Some(&16));
        // load_digits().data.sum()
        assert_eq!(set.bytes().iter().map(|&v| u64::from(v)).sum::<u64>(), 561_718);
    }

    #[test]
    fn the_first_image_is_the_well_known_zero() {
        let set = digits();
        assert_eq!(set.labels().unwrap()[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(set.image(0).unwrap()[..16], [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]);
    }

    #[test]
    fn held_out_images_are_no_training_images() {
        let (train, held) = split();
        assert_eq!(held.image(1), digits().image(5));
        assert_eq!(train.image(4), digits().image(6));
        assert!((0..10).all(|c| held.labels().unwrap().iter().filter(|&&l| l == c).count() >= 25));
    }
}
