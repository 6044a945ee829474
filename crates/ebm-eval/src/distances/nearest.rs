//! Nearest neighbours: which training image a sample resembles, and how closely.

use std::collections::BTreeMap;

use crate::error::{Result, at_least};
use crate::numeric::dense::for_squares;
use crate::samples::{Features, same_width};

/// For every row, its nearest row in another set.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    /// Euclidean distances, in units of the features.
    pub distances: Vec<f64>,
    /// Row numbers in the other set; the first one on a tie.
    pub rows: Vec<usize>,
}

/// The nearest row of `reference` for every row of `x`, by exhaustive search (`O(n m d)`).
///
/// Distances are accurate to about 1e-8 times the length of the rows: an exact copy may show 1e-7, not 0.
/// Errs if the widths differ or `reference` is empty.
pub fn nearest(x: &Features, reference: &Features) -> Result<Nearest> {
    same_width(x, reference)?;
    at_least("rows of the reference set", reference.n(), 1)?;
    let mut found = Nearest { distances: Vec::with_capacity(x.n()), rows: Vec::with_capacity(x.n()) };
    for_squares(x, reference, |_, squares| {
        let mut best = 0;
        for (j, s) in squares.iter().enumerate() {
            if *s < squares[best] {
                best = j;
            }
        }
        found.distances.push(squares[best].sqrt());
        found.rows.push(best);
    });
    Ok(found)
}

/// Exponential of the entropy of the frequencies of `labels`: k equally frequent labels give k, one label 1;
/// NaN if there are none. As a count of modes: Hill 1973, order 1.
pub fn effective_classes(labels: impl IntoIterator<Item = u32>) -> f64 {
    let mut counts = BTreeMap::new();
    let mut n = 0usize;
    for label in labels {
        *counts.entry(label).or_insert(0usize) += 1;
        n += 1;
    }
    if n == 0 {
        return f64::NAN;
    }
    let entropy: f64 = counts
        .values()
        .map(|&c| {
            let p = c as f64 / n as f64;
            -p * p.ln()
        })
        .sum();
    entropy.exp()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_the_nearest_and_the_first_of_a_tie() {
        let r = Features::new(vec![0.0, 0.0, 4.0, 0.0, 0.0, 3.0], 3, 2).unwrap();
        let x = Features::new(vec![2.0, 0.0, 0.0, 2.0, 4.0, 1.0], 3, 2).unwrap();
        let found = nearest(&x, &r).unwrap();
        assert_eq!(found.rows, vec![0, 2, 1]);
        assert_eq!(found.distances, vec![2.0, 1.0, 1.0]);
        assert!(nearest(&x, &Features::new(vec![], 0, 2).unwrap()).is_err());
    }

    #[test]
    fn equal_labels_count_fully() {
        assert!((effective_classes([3, 1, 3, 1, 7, 7]) - 3.0).abs() < 1e-12);
        assert!((effective_classes([4; 9]) - 1.0).abs() < 1e-12);
        assert!(effective_classes([]).is_nan());
    }
}
