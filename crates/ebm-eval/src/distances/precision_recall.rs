//! Fidelity and diversity apart: precision, recall, density and coverage from balls around nearest neighbours.

use serde::Serialize;

use crate::error::{Result, at_least};
use crate::numeric::dense::for_squares;
use crate::samples::{Features, same_width};

/// The four figures for one `k`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PrecisionRecall {
    /// Share of drawn rows inside some real row's ball: fidelity (Kynkäänniemi et al. 2019).
    pub precision: f64,
    /// Share of real rows inside some drawn row's ball: diversity (same).
    pub recall: f64,
    /// Mean number of real balls around a drawn row, over `k`; not swayed by outliers, may exceed 1
    /// (Naeem et al. 2020).
    pub density: f64,
    /// Share of real rows whose ball holds a drawn row (same).
    pub coverage: f64,
    /// Real rows that were compared: all four depend on the counts.
    pub real_rows: usize,
    /// Drawn rows.
    pub drawn_rows: usize,
}

/// Precision, recall, density and coverage of `drawn` against `real`. The ball of a row reaches to its `k`-th nearest
/// neighbour in its own set, border included. Customary: `k` 3 for precision and recall, 5 for density and coverage,
/// equal counts of rows, features of a network. `O((n + m)² d)`.
///
/// prdc 0.2 takes distances strictly below the radius and needs one row more, which differs on ties alone.
///
/// Perfect samples have density 1, coverage 1 - 2^-k for many rows; precision and recall have no such value. Exact
/// copies of rows make balls of radius 0, where rounding decides. Errs if the widths differ, `k` is 0, or a set has
/// not more than `k` rows.
pub fn precision_recall(real: &Features, drawn: &Features, k: usize) -> Result<PrecisionRecall> {
    same_width(real, drawn)?;
    at_least("neighbours", k, 1)?;
    at_least("real rows", real.n(), k + 1)?;
    at_least("drawn rows", drawn.n(), k + 1)?;
    let (real_radius, drawn_radius) = (radii(real, k), radii(drawn, k));
    let mut inside = 0usize;
    let mut balls = 0usize;
    let mut recalled = vec![false; real.n()];
    let mut covered = vec![false; real.n()];
    for_squares(drawn, real, |j, squares| {
        let mut own = 0;
        for (i, s) in squares.iter().enumerate() {
            if *s <= real_radius[i] {
                own += 1;
                covered[i] = true;
            }
            recalled[i] |= *s <= drawn_radius[j];
        }
        inside += usize::from(own > 0);
        balls += own;
    });
    let share = |v: &[bool]| v.iter().filter(|b| **b).count() as f64 / v.len() as f64;
    Ok(PrecisionRecall {
        precision: inside as f64 / drawn.n() as f64,
        recall: share(&recalled),
        density: balls as f64 / (k * drawn.n()) as f64,
        coverage: share(&covered),
        real_rows: real.n(),
        drawn_rows: drawn.n(),
    })
}

/// Squared distance of every row to its `k`-th nearest other row.
fn radii(f: &Features, k: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(f.n());
    let mut others = Vec::with_capacity(f.n());
    for_squares(f, f, |i, squares| {
        others.clear();
        others.extend_from_slice(&squares[..i]);
        others.extend_from_slice(&squares[i + 1..]);
        out.push(*others.select_nth_unstable_by(k - 1, f64::total_cmp).1);
    });
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, clouds, normals};

    #[test]
    fn agrees_with_numpy() {
        // python tests/goldens.py precision_recall
        let (real, drawn) = clouds();
        for (k, gold) in [(3, GOLD[0]), (5, GOLD[1])] {
            let f = precision_recall(&real, &drawn, k).unwrap();
            let found = [f.precision, f.recall, f.density, f.coverage];
            found.iter().zip(gold).for_each(|(f, w)| assert_close(*f, w, 1e-14));
        }
    }
    const GOLD: [[f64; 4]; 2] = [
        [0.8, 0.43333333333333335, 0.4666666666666666, 0.26666666666666666],
        [0.85, 0.5166666666666667, 0.45499999999999996, 0.31666666666666665],
    ];

    #[test]
    fn a_missing_mode_costs_recall_and_an_invented_one_precision() {
        let mode = |seed, n: usize, at: f64| normals(seed, 2 * n).into_iter().map(move |v| 0.1 * v + at);
        let table = |v: Vec<f64>| Features::new(v.clone(), v.len() / 2, 2).unwrap();
        let two = table(mode(1, 30, 0.0).chain(mode(2, 30, 5.0)).collect());
        let one = table(mode(3, 60, 0.0).collect());
        let missing = precision_recall(&two, &one, 3).unwrap();
        assert!(missing.precision > 0.8 && missing.recall <= 0.5 && missing.coverage <= 0.5, "{missing:?}");
        let invented = precision_recall(&one, &two, 3).unwrap();
        assert!(invented.precision <= 0.5 && invented.recall > 0.8 && invented.density < 0.8, "{invented:?}");
    }

    #[test]
    fn counts_are_checked() {
        let (real, drawn) = clouds();
        assert!(precision_recall(&real, &drawn, 0).is_err());
        assert!(precision_recall(&real, &drawn, 40).is_err());
        assert!(precision_recall(&real, &drawn, 39).is_ok());
    }
}
