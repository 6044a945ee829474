//! 5,000 training and 1,000 held-out images of MNIST, compiled into the program (919 kB).
//!
#![doc = include_str!("../README.md")]

use ebm_data::idx::Idx;
use ebm_data::{ImageSet, Result};

const TRAIN: [&[u8]; 2] = [
    include_bytes!("../data/train-images-idx3-ubyte.gz"),
    include_bytes!("../data/train-labels-idx1-ubyte.gz"),
];
const HELD_OUT: [&[u8]; 2] = [
    include_bytes!("../data/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../data/t10k-labels-idx1-ubyte.gz"),
];

/// The first 500 images of each class of MNIST's training set, `(1, 28, 28)`, in its order, with labels.
pub fn train() -> ImageSet {
    // The bytes are part of this crate and read by its tests: no user can make this fail.
    read(TRAIN).unwrap_or_else(|e| unreachable!("embedded MNIST: {e}"))
}

/// The first 1,000 images of MNIST's test set (`t10k`), `(1, 28, 28)`, with labels.
pub fn held_out() -> ImageSet {
    read(HELD_OUT).unwrap_or_else(|e| unreachable!("embedded MNIST: {e}"))
}

/// `(train(), held_out())`.
pub fn split() -> (ImageSet, ImageSet) {
    (train(), held_out())
}

fn read([images, labels]: [&[u8]; 2]) -> Result<ImageSet> {
    let labels = Idx::parse(labels, "embedded MNIST labels")?.into_labels()?;
    let names = (0..10).map(|d| d.to_string()).collect();
    Idx::parse(images, "embedded MNIST images")?.into_images()?.with_labels(labels, names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_class_has_five_hundred_training_images() {
        let set = train();
        let labels = set.labels().unwrap();
        assert!((0..10).all(|c| labels.iter().filter(|&&l| l == c).count() == 500));
        // The well-known start of MNIST: 5 0 4 1 9 2 1 3 1 4.
        assert_eq!(labels[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    }

    #[test]
    fn the_held_out_part_is_the_start_of_the_test_set() {
        assert_eq!(held_out().labels().unwrap()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    }

    #[test]
    fn pixels_have_the_statistics_of_mnist() {
        let set = train();
        let mean = set.unit_values().iter().map(|&v| f64::from(v)).sum::<f64>() / set.bytes().len() as f64;
        // 0.1307 over the full training set; 5,000 images of about ±0.04 each give ±0.0006, and balancing
        // the classes moves the mean by about as much.
        assert!((mean - 0.1307).abs() < 0.003, "{mean}");
        assert_eq!(set.bytes().iter().max(), Some(&255));
    }

    #[test]
    fn the_embedded_files_stay_below_a_megabyte() {
        let total: usize = TRAIN.iter().chain(&HELD_OUT).map(|f| f.len()).sum();
        assert!(total < 1_000_000, "{total} bytes");
    }
}
