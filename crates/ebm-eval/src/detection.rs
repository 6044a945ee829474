//! How well a score tells two sets apart: AUROC, AUPR and the false-positive rate at 95 % recall.

pub(crate) mod auroc_interval;
pub(crate) mod calibrated;
pub(crate) mod fiducial;
pub(crate) mod intervals;
pub(crate) mod overlap;
pub(crate) mod typical;

use serde::Serialize;

use crate::chains::average_ranks;
use crate::error::{EvalError, Result, at_least};

/// Figures of a detector; `positives` are the data a model was trained for, scores are high for them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Detection {
    /// [`auroc`].
    pub auroc: f64,
    /// [`aupr`] with the in-distribution set as positives.
    pub aupr_in: f64,
    /// [`aupr`] with the other set as positives and the scores negated.
    pub aupr_out: f64,
    /// [`fpr_at_tpr`] at 0.95.
    pub fpr95: f64,
}

/// All figures of [`Detection`]. For an energy-based model hand in -E(x) of both sets, taken by the same program in
/// the same mode: in-distribution first. Errs like [`auroc`].
pub fn detection(inside: &[f64], outside: &[f64]) -> Result<Detection> {
    let negated = |v: &[f64]| v.iter().map(|s| -s).collect::<Vec<f64>>();
    Ok(Detection {
        auroc: auroc(inside, outside)?,
        aupr_in: aupr(inside, outside)?,
        aupr_out: aupr(&negated(outside), &negated(inside))?,
        fpr95: fpr_at_tpr(inside, outside, 0.95)?,
    })
}

/// Area under the ROC curve: the probability that a positive scores above a negative, ties counting half
/// (Mann and Whitney 1947; Hanley and McNeil 1982). Infinite scores are ranked like others.
///
/// Errs if a set is empty or a score is NaN.
pub fn auroc(positives: &[f64], negatives: &[f64]) -> Result<f64> {
    check(positives, negatives)?;
    let (p, n) = (positives.len() as f64, negatives.len() as f64);
    let ranks = average_ranks(&[positives, negatives].concat());
    let sum: f64 = ranks[..positives.len()].iter().sum();
    Ok((sum - p * (p + 1.0) / 2.0) / (p * n))
}

/// Area under the precision-recall curve as average precision, Σ (R_i - R_{i-1}) P_i over falling thresholds, tied
/// scores taken at once. A useless detector has the share of positives, so the figure depends on the sets' sizes.
///
/// Errs like [`auroc`].
pub fn aupr(positives: &[f64], negatives: &[f64]) -> Result<f64> {
    check(positives, negatives)?;
    let (mut hits, mut taken, mut area) = (0.0, 0.0, 0.0);
    for (found, of) in falling(positives, negatives) {
        hits += found;
        taken += of;
        area += found / positives.len() as f64 * hits / taken;
    }
    Ok(area)
}

/// Share of negatives at or above the highest threshold that keeps at least the share `tpr` of the positives.
///
/// Errs like [`auroc`], or if `tpr` is outside `(0, 1]`.
pub fn fpr_at_tpr(positives: &[f64], negatives: &[f64], tpr: f64) -> Result<f64> {
    check(positives, negatives)?;
    if !(tpr > 0.0 && tpr <= 1.0) {
        return Err(EvalError::Setting {
            what: "true-positive rate",
            found: tpr,
            wanted: "a share in (0, 1]",
        });
    }
    let (mut hits, mut taken) = (0.0, 0.0);
    for (found, of) in falling(positives, negatives) {
        hits += found;
        taken += of;
        if hits / positives.len() as f64 >= tpr {
            break;
        }
    }
    Ok((taken - hits) / negatives.len() as f64)
}

/// Positives and members of every group of equal scores, from the highest score down.
fn falling(positives: &[f64], negatives: &[f64]) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, bool)> = positives.iter().map(|&s| (s, true)).collect();
    all.extend(negatives.iter().map(|&s| (s, false)));
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.chunk_by(|a, b| a.0 == b.0)
        .map(|tied| (tied.iter().filter(|t| t.1).count() as f64, tied.len() as f64))
        .collect()
}

pub(crate) fn check(positives: &[f64], negatives: &[f64]) -> Result<()> {
    for (what, scores) in [("scores of positives", positives), ("scores of negatives", negatives)] {
        at_least(what, scores.len(), 1)?;
        if let Some(index) = scores.iter().position(|s| s.is_nan()) {
            return Err(EvalError::NotFinite { what, index, value: f64::NAN });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testing::goldens::{assert_close, scores};

    #[test]
    fn agrees_with_scikit_learn_with_and_without_ties() {
        // python tests/goldens.py detection
        for (levels, gold) in [(0.0, GOLD[0]), (8.0, GOLD[1])] {
            let (p, n) = scores(levels);
            let d = detection(&p, &n).unwrap();
            let found = [d.auroc, d.aupr_in, d.aupr_out, d.fpr95, fpr_at_tpr(&p, &n, 0.8).unwrap()];
            found.iter().zip(gold).for_each(|(f, w)| assert_close(*f, w, 1e-13));
        }
    }
    const GOLD: [[f64; 5]; 2] = [
        [0.7874285714285715, 0.8584423597986217, 0.6750842259950092, 0.82, 0.42],
        [0.7855714285714286, 0.8494358790358095, 0.6698887502058986, 0.84, 0.44],
    ];

    #[test]
    fn clear_cases() {
        let d = detection(&[2.0, f64::INFINITY], &[1.0, f64::NEG_INFINITY, 0.0]).unwrap();
        assert_eq!(d, Detection { auroc: 1.0, aupr_in: 1.0, aupr_out: 1.0, fpr95: 0.0 });
        let d = detection(&[1.0; 4], &[1.0; 6]).unwrap();
        assert_eq!(d, Detection { auroc: 0.5, aupr_in: 0.4, aupr_out: 0.6, fpr95: 1.0 });
        assert!(auroc(&[], &[1.0]).is_err() && auroc(&[1.0], &[f64::NAN]).is_err());
        assert!(fpr_at_tpr(&[1.0], &[0.0], 0.0).is_err() && fpr_at_tpr(&[1.0], &[0.0], f64::NAN).is_err());
    }

    proptest! {
        #[test]
        fn swapping_the_sets_mirrors_and_monotone_maps_change_nothing(
            p in prop::collection::vec(-4i8..4, 1..20), n in prop::collection::vec(-4i8..4, 1..20)
        ) {
            let wide = |v: &[i8], f: fn(f64) -> f64| v.iter().map(|s| f(f64::from(*s))).collect::<Vec<f64>>();
            let same: fn(f64) -> f64 = |s| s;
            let (p0, n0) = (wide(&p, same), wide(&n, same));
            prop_assert!((auroc(&p0, &n0).unwrap() + auroc(&n0, &p0).unwrap() - 1.0).abs() < 1e-12);
            let (a, b) = (detection(&p0, &n0).unwrap(), detection(&wide(&p, f64::exp), &wide(&n, f64::exp)).unwrap());
            prop_assert_eq!(a, b);
            // By counting pairs.
            let pairs: f64 = p0.iter().flat_map(|a| n0.iter().map(move |b| (a, b)))
                .map(|(a, b)| if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 }).sum();
            prop_assert!((a.auroc - pairs / (p.len() * n.len()) as f64).abs() < 1e-12);
        }
    }
}
