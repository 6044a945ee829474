//! Thresholds with a promised false-positive rate, from scores of held-out samples alone.

use serde::Serialize;

use crate::error::{EvalError, Result, all_finite, at_least};

/// A threshold and what it was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Calibrated {
    /// Samples that score above it are taken for outside.
    pub threshold: f64,
    /// Its place among the rising scores, from 1.
    pub rank: usize,
    /// Number of scores.
    pub count: usize,
    /// Share of these very scores that lie above it.
    pub above: f64,
}

/// The smallest score below which a new sample of the same kind falls with probability at least `1 - fpr`: of `n` scores
/// the one of rank `k = ceil((n + 1)(1 - fpr))`.
///
/// If the new sample and the `n` held-out ones are exchangeable, its rank among the `n + 1` is uniform, so that
/// `P(score > threshold) <= fpr` for every `n` and every law of the scores, the draw of the held-out set included (Vovk,
/// Gammerman, Shafer 2005, "Algorithmic learning in a random world", proposition 4.1; as split conformal prediction in
/// Lei et al. 2018, theorem 2.2). The plain empirical quantile promises this only for large `n`.
///
/// # Errors
/// If `fpr` is outside `(0, 1)`, a score is not finite, or there are too few: `n >= 1/fpr - 1` are needed.
///
/// ```
/// use ebm_eval::calibrated;
/// let scores: Vec<f64> = (1..=99).map(f64::from).collect();
/// assert_eq!(calibrated(&scores, 0.05)?.threshold, 95.0); // of 100 ranks, five are above
/// # Ok::<(), ebm_eval::EvalError>(())
/// ```
pub fn calibrated(scores: &[f64], fpr: f64) -> Result<Calibrated> {
    all_finite("held-out scores", scores)?;
    let n = scores.len();
    let rank = conformal_rank(n, fpr)?;
    let mut rising = scores.to_vec();
    rising.sort_by(f64::total_cmp);
    let threshold = rising[rank - 1];
    let above = rising.iter().filter(|s| **s > threshold).count() as f64 / n as f64;
    Ok(Calibrated { threshold, rank, count: n, above })
}

/// ceil((n + 1)(1 - fpr)), the rank up to which a new score counts as inside. Errs if `fpr` is outside (0, 1) or `n` is
/// below 1/fpr - 1, so that the rank would be beyond all scores.
pub(crate) fn conformal_rank(n: usize, fpr: f64) -> Result<usize> {
    if !(fpr > 0.0 && fpr < 1.0) {
        return Err(EvalError::Setting {
            what: "false-positive rate",
            found: fpr,
            wanted: "a share in (0, 1)",
        });
    }
    // (n + 1)·(1 − fpr) of a whole number can come out a hair above it; the next rank would then be one too many.
    let exact = (n as f64 + 1.0) * (1.0 - fpr);
    let rank = (exact - 1e-9 * exact).ceil().max(1.0) as usize;
    let needed = (1.0 / fpr - 1.0 - 1e-9 / fpr).ceil().max(1.0) as usize;
    at_least("held-out scores for this false-positive rate", n, needed.max(usize::from(rank > n) * (n + 1)))?;
    Ok(rank)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SplitMix;

    #[test]
    fn ranks_are_those_of_the_definition() {
        let scores = |n: usize| (1..=n).map(|i| i as f64).collect::<Vec<_>>();
        for (n, fpr, rank) in
            [(19, 0.05, 19), (39, 0.05, 38), (99, 0.01, 99), (100, 0.05, 96), (9, 0.1, 9), (1, 0.5, 1)]
        {
            let c = calibrated(&scores(n), fpr).unwrap();
            assert_eq!((c.rank, c.threshold, c.count), (rank, rank as f64, n), "{n} {fpr}");
            assert!((c.above - (n - rank) as f64 / n as f64).abs() < 1e-15);
        }
        // Of equal scores none is above.
        assert_eq!(calibrated(&[2.0; 50], 0.05).unwrap().above, 0.0);
    }

    #[test]
    fn too_few_scores_promise_nothing() {
        let text = calibrated(&[0.0; 18], 0.05).unwrap_err().to_string();
        assert!(text.contains("found 18, wanted at least 19"), "{text}");
        assert!(calibrated(&[], 0.5).is_err() && calibrated(&[0.0, f64::NAN, 1.0], 0.5).is_err());
        assert!(calibrated(&[0.0; 9], 0.0).is_err() && calibrated(&[0.0; 9], 1.0).is_err());
    }

    #[test]
    fn the_promise_is_kept_on_average_over_held_out_sets() {
        // 20 scores at fpr 0.1: rank ceil(18.9) = 19, so exactly 2/21 = 0.0952 of new samples lie above.
        let mut stream = SplitMix::new(3);
        let (sets, each) = (4000, 10);
        let mut above = 0;
        for _ in 0..sets {
            let held: Vec<f64> = (0..20).map(|_| stream.uniform()).collect();
            let t = calibrated(&held, 0.1).unwrap().threshold;
            above += (0..each).filter(|_| stream.uniform() > t).count();
        }
        let rate = above as f64 / (sets * each) as f64;
        // Deviation: sqrt(0.0039 / 4000 + 0.082 / 40000) = 0.0017 (of the threshold's place, of the share above); four.
        assert!((rate - 2.0 / 21.0).abs() < 0.007, "{rate}");
        assert!(rate < 0.1);
    }
}
