//! How right and how well calibrated a classifier's probabilities are.

use serde::Serialize;

use crate::error::{EvalError, Result, at_least, same};
use crate::numeric::bootstrap::Interval;
use crate::numeric::normal_quantile::normal_quantile;
use crate::samples::Features;

/// Bins of [`classification`]'s calibration error, as in Guo et al. 2017.
pub const CALIBRATION_BINS: usize = 15;
/// How far the sum of a row of probabilities may be from 1: f32 softmax over a thousand classes stays well below.
pub(crate) const SUM_TOLERANCE: f64 = 1e-3;

/// Figures of a classifier on labelled samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Classification {
    /// Samples.
    pub count: usize,
    /// Share whose most likely class (the first on a tie) is their label, with its 95 % [`wilson`] interval.
    pub accuracy: Interval,
    /// Expected calibration error Σ_b n_b/n |accuracy_b − confidence_b| of the most likely class, over bins `(low, high]`
    /// of equal width in confidence (Guo et al. 2017, equation 3; biased upwards by about √(bins/n)).
    ///
    /// torchmetrics' `multiclass_calibration_error` (norm l1) has the bins `[low, high)`, with confidences of exactly 1 in
    /// a bin of their own: equal unless confidences lie on edges. Other programs bin by quantiles or all classes.
    pub ece: f64,
    /// The largest |accuracy_b − confidence_b| of a bin.
    pub mce: f64,
    /// Mean Σ_k (p_k − y_k)² over all classes, in [0, 2] (Brier 1950). For two classes that is twice what scikit-learn's
    /// `brier_score_loss` prints by default.
    pub brier: f64,
    /// Mean −log p of the label, in nats; infinite if a label had probability 0.
    pub log_loss: f64,
}

/// Accuracy and calibration of `probabilities` `(n, classes)` against the `labels`, with `bins` bins
/// ([`CALIBRATION_BINS`] is customary).
///
/// # Errors
/// If there is no row, the counts differ, a label is no class, a row is not of non-negative numbers with sum 1 within
/// 1e-3, or `bins` is 0.
pub fn classification(probabilities: &Features, labels: &[u32], bins: usize) -> Result<Classification> {
    at_least("rows of probabilities", probabilities.n(), 1)?;
    at_least("bins", bins, 1)?;
    same("labels", labels.len(), probabilities.n(), "the rows of probabilities")?;
    check_probabilities(probabilities)?;
    let (n, classes) = (probabilities.n() as f64, probabilities.d());
    let (mut hits, mut brier, mut log_loss) = (0usize, 0.0, 0.0);
    let mut binned = vec![(0.0, 0.0); bins];
    for (row, &label) in probabilities.data().chunks_exact(classes).zip(labels) {
        let label = label as usize;
        if label >= classes {
            let wanted = "below the number of classes";
            return Err(EvalError::Setting { what: "label", found: label as f64, wanted });
        }
        let top = (0..classes).fold(0, |best, k| if row[k] > row[best] { k } else { best });
        let right = top == label;
        hits += usize::from(right);
        log_loss -= row[label].ln();
        let target = |k: usize| f64::from(u8::from(k == label));
        brier += row.iter().enumerate().map(|(k, p)| (p - target(k)).powi(2)).sum::<f64>();
        // (low, high]: a confidence on an edge belongs to the bin below.
        let bin = ((row[top] * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        binned[bin].0 += 1.0;
        binned[bin].1 += f64::from(u8::from(right)) - row[top];
    }
    let (low, high) = wilson(hits, labels.len(), 0.95)?;
    let value = hits as f64 / n;
    let gaps = binned.iter().filter(|b| b.0 > 0.0).map(|(count, gap)| (gap / count).abs());
    Ok(Classification {
        count: labels.len(),
        accuracy: Interval { value, low, high, se: (value * (1.0 - value) / n).sqrt() },
        ece: binned.iter().map(|(_, gap)| gap.abs()).sum::<f64>() / n,
        mce: gaps.fold(0.0, f64::max),
        brier: brier / n,
        log_loss: log_loss / n,
    })
}

/// Wilson's interval of a share of `hits` of `n` at `level` (Wilson 1927): never empty, never outside [0, 1], close to
/// its level from some ten cases on (Brown, Cai and DasGupta 2001). Errs if `n` is 0, `hits` above it, or `level` is
/// outside (0, 1).
pub fn wilson(hits: usize, n: usize, level: f64) -> Result<(f64, f64)> {
    at_least("cases", n, hits.max(1))?;
    let z = two_sided(level)?;
    let (p, n) = (hits as f64 / n as f64, n as f64);
    let (centre, wide) = (p + z * z / (2.0 * n), z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt());
    let scale = 1.0 + z * z / n;
    // Rounding must not move the ends at 0 and 1.
    let low = if hits == 0 { 0.0 } else { (centre - wide) / scale };
    let high = if p == 1.0 { 1.0 } else { (centre + wide) / scale };
    Ok((low, high))
}

/// The standard normal quantile of a two-sided interval of `level`; errs outside (0, 1).
pub(crate) fn two_sided(level: f64) -> Result<f64> {
    if level > 0.0 && level < 1.0 {
        return Ok(normal_quantile(0.5 + 0.5 * level));
    }
    Err(EvalError::Setting { what: "level of the interval", found: level, wanted: "a share in (0, 1)" })
}

/// Errs unless every row holds non-negative numbers of sum 1.
pub(crate) fn check_probabilities(probabilities: &Features) -> Result<()> {
    for row in probabilities.data().chunks_exact(probabilities.d()) {
        let sum: f64 = row.iter().sum();
        if row.iter().any(|p| *p < 0.0) || (sum - 1.0).abs() > SUM_TOLERANCE {
            let wanted = "non-negative numbers of sum 1; apply softmax to logits first";
            return Err(EvalError::Setting { what: "sum of a row of probabilities", found: sum, wanted });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SplitMix;
    use crate::testing::goldens::{assert_close, uniforms};

    #[test]
    fn agrees_with_scikit_learn() {
        // python scripts/make-eval-goldens.py classification
        let mut p: Vec<f64> = uniforms(96, 200 * 4).iter().map(|&u| f64::from(u * u)).collect();
        for row in p.chunks_exact_mut(4) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        }
        let labels: Vec<u32> = uniforms(97, 200).iter().map(|u| (u * 4.0) as u32).collect();
        let c = classification(&Features::new(p, 200, 4).unwrap(), &labels, 10).unwrap();
        let found = [c.accuracy.value, c.accuracy.low, c.accuracy.high, c.ece, c.mce, c.brier, c.log_loss];
        found.iter().zip(GOLD).for_each(|(f, w)| assert_close(*f, w, 1e-12));
    }
    const GOLD: [f64; 7] = [
        0.29,
        0.23154025607067882,
        0.3563747810077731,
        0.24849135632536162,
        0.9302369089577036,
        0.8984211566564402,
        2.0351520620499866,
    ];

    #[test]
    fn bins_and_extremes_can_be_done_by_hand() {
        // Confidence 0.75 twice, right once: |0.5 - 0.75|. On the edge of a bin of 4, it belongs to the lower one.
        let p = Features::new(vec![0.75, 0.25, 0.75, 0.25, 0.0, 1.0, 0.0, 1.0], 4, 2).unwrap();
        let c = classification(&p, &[0, 1, 1, 1], 4).unwrap();
        assert_close(c.ece, 0.5 * 0.25, 1e-15);
        assert_close(c.mce, 0.25, 1e-15);
        assert_close(c.brier, (2.0 * 0.0625 + 2.0 * 0.5625) / 4.0, 1e-15);
        assert_eq!(c.accuracy.value, 0.75);
        assert_eq!(classification(&p, &[0, 1, 0, 1], 4).unwrap().log_loss, f64::INFINITY);
        assert!(classification(&p, &[0, 1, 2, 1], 4).is_err() && classification(&p, &[0], 4).is_err());
        assert!(classification(&p, &[0, 1, 1, 1], 0).is_err());
        assert_eq!(wilson(0, 5, 0.95).unwrap().0, 0.0);
        assert_eq!(wilson(5, 5, 0.95).unwrap().1, 1.0);
        assert!(wilson(6, 5, 0.95).is_err() && wilson(0, 0, 0.95).is_err() && wilson(1, 5, 1.0).is_err());
    }

    #[test]
    fn wilson_intervals_reach_their_level() {
        let mut r = SplitMix::new(8);
        for (n, p) in [(20usize, 0.9), (50, 0.95), (100, 0.5)] {
            let covered = (0..4000).filter(|_| {
                let hits = (0..n).filter(|_| r.uniform() < p).count();
                let (low, high) = wilson(hits, n, 0.95).unwrap();
                (low..=high).contains(&p)
            });
            // Discreteness moves single cases by 2 %.
            let covered = covered.count() as f64 / 4000.0;
            assert!((0.92..0.98).contains(&covered), "{n} {p}: {covered}");
        }
    }
}
