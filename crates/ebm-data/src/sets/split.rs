//! Splits into training and held-out parts that depend on nothing but the order of the data, and those that names tell.

pub(crate) use super::split_names::of_files;
pub use super::split_names::{SplitName, of_name, of_path};
use crate::{DataError, Result};

/// Indices `(training, held-out)` of `len` samples: 0, k, 2k, … are held out.
///
/// The split needs no random numbers, so two programs that read the same file agree on it; it is
/// balanced if the file's order has nothing to do with the class, so shuffle sorted files first.
///
/// # Errors
/// If `k` is below 2.
pub fn every(len: usize, k: usize) -> Result<(Vec<usize>, Vec<usize>)> {
    if k < 2 {
        return Err(DataError::mismatch(
            "k of split_every",
            k.to_string(),
            "2 or more: every k-th sample is held out",
        ));
    }
    Ok((0..len).partition(|i| i % k != 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_index_lands_in_exactly_one_part(len in 0usize..500, k in 2usize..20) {
            let (train, held) = every(len, k).unwrap();
            prop_assert_eq!(held.len(), len.div_ceil(k));
            let mut all = [train, held].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_k_that_leaves_nothing_is_refused() {
        assert!(every(10, 0).is_err() && every(10, 1).is_err());
    }
}
