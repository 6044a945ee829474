//! Interval of the area under the ROC curve that reaches its level for small and for perfectly separated sets.

use crate::classes::classification::two_sided;
use crate::detection::check;
use crate::error::{Result, at_least};
use crate::numeric::bootstrap::Interval;

/// Scores of either set that an interval needs at least: with fewer it would hold nearly everything.
pub const FEWEST_SCORES: usize = 5;

/// Trust in DeLong's variance, in misplaced scores that count as much as the model: it takes more to make an interval
/// narrower than to make it wider.
const NARROWER: f64 = 20.0;
const WIDER: f64 = 3.0;

/// Interval of [`auroc`](crate::auroc), the probability that a positive scores above a negative.
///
/// All θ count as possible for which |θ̂ − θ| ≤ z √V(θ) (a score interval, as method 5 of Newcombe 2006, whose V is that of
/// exponential scores with the mean of both counts). Unlike θ̂ ± z √V(θ̂) it stays in [0, 1] and has a width where θ̂ is 1. V
/// is scaled by what DeLong, DeLong and Clarke-Pearson 1988 find in the scores themselves, to the power
/// w = D/(D + 20 or 3), D the number of scores of the set that has fewer of them among the other's: with few misplaced
/// scores that estimate is worth little, and 0 on perfect separation.
///
/// `se` is DeLong's. Coverage, simulated for 95 %: see the tests.
///
/// # Errors
/// If a set has fewer than [`FEWEST_SCORES`] scores, a score is NaN, or `level` is outside (0, 1).
pub fn auroc_interval(positives: &[f64], negatives: &[f64], level: f64) -> Result<Interval> {
    at_least("scores of positives", positives.len(), FEWEST_SCORES)?;
    at_least("scores of negatives", negatives.len(), FEWEST_SCORES)?;
    AurocParts::new(positives, negatives)?.interval(level)
}

/// What an interval is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AurocParts {
    pub auroc: f64,
    /// DeLong's.
    pub variance: f64,
    /// The variance of the model at `auroc`.
    pub model: f64,
    /// Scores within the other set, of the set that has fewer.
    pub misplaced: usize,
    pub sizes: (usize, usize),
}

impl AurocParts {
    pub fn new(positives: &[f64], negatives: &[f64]) -> Result<Self> {
        at_least("scores of positives", positives.len(), 2)?;
        at_least("scores of negatives", negatives.len(), 2)?;
        check(positives, negatives)?;
        let (above, below) = (shares_below(positives, negatives), shares_below(negatives, positives));
        let auroc = above.iter().sum::<f64>() / above.len() as f64;
        let inner = |v: &[f64]| v.iter().filter(|s| **s > 0.0 && **s < 1.0).count();
        let sizes = (positives.len(), negatives.len());
        Ok(AurocParts {
            auroc,
            variance: variance(&above) / sizes.0 as f64 + variance(&below) / sizes.1 as f64,
            model: model_variance(sizes, auroc),
            misplaced: inner(&above).min(inner(&below)),
            sizes,
        })
    }

    pub fn interval(&self, level: f64) -> Result<Interval> {
        self.solve(|theta| model_variance(self.sizes, theta), level)
    }

    /// The score interval with the variance `model`, scaled.
    pub fn solve(&self, model: impl Fn(f64) -> f64, level: f64) -> Result<Interval> {
        let z = two_sided(level)?;
        let scale = match self.variance > 0.0 && self.model > 0.0 {
            true => {
                let ratio = self.variance / self.model;
                let misplaced = self.misplaced as f64;
                ratio.powf(misplaced / (misplaced + if ratio < 1.0 { NARROWER } else { WIDER }))
            }
            false => 1.0,
        };
        let possible = |theta: f64| (self.auroc - theta).powi(2) <= z * z * scale * model(theta);
        // Halves the way between a possible value and the end of the range.
        let end = |bound: f64| {
            let (mut inner, mut outer) = (self.auroc, bound);
            for _ in 0..60 {
                let middle = 0.5 * (inner + outer);
                if possible(middle) {
                    inner = middle;
                } else {
                    outer = middle;
                }
            }
            inner
        };
        Ok(Interval { value: self.auroc, low: end(0.0), high: end(1.0), se: self.variance.sqrt() })
    }
}

/// Variance of the AUROC θ of exponential scores (Hanley and McNeil 1982) with both counts replaced by their mean in the
/// numerator (Newcombe 2006, method 5).
pub(crate) fn model_variance((n, m): (usize, usize), theta: f64) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let rest = (1.0 - theta) / (2.0 - theta) + theta / (1.0 + theta);
    theta * (1.0 - theta) * (1.0 + (0.5 * (n + m) - 1.0) * rest) / (n * m)
}

/// Share of `others` below each of `scores`, ties counting half.
fn shares_below(scores: &[f64], others: &[f64]) -> Vec<f64> {
    let mut rising = others.to_vec();
    rising.sort_by(f64::total_cmp);
    // total_cmp puts -0 before 0; the comparisons below see both as equal, which a sorted slice allows.
    let share = |s: &f64| {
        let (less, most) = (rising.partition_point(|o| o < s), rising.partition_point(|o| o <= s));
        0.5 * (less + most) as f64 / rising.len() as f64
    };
    scores.iter().map(share).collect()
}

/// With the divisor n − 1.
fn variance(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auroc;
    use crate::testing::goldens::{assert_close, scores};
    use crate::testing::simulated::{LAWS, Law, coverage};

    #[test]
    fn the_error_is_that_of_delong_in_python() {
        // python scripts/make-eval-goldens.py delong
        for (levels, gold) in [(0.0, GOLD[0]), (8.0, GOLD[1])] {
            let (a, b) = scores(levels);
            let i = auroc_interval(&a, &b, 0.95).unwrap();
            assert_close(i.value, auroc(&a, &b).unwrap(), 1e-14);
            // The library sums in f32.
            assert_close(i.se, gold, 1e-7);
            assert!(i.low < i.value && i.value < i.high, "{i:?}");
            assert!(((i.high - i.low) / (2.0 * 1.96 * i.se) - 1.0).abs() < 0.1, "{i:?}");
        }
    }
    const GOLD: [f64; 2] = [0.04118818187868789, 0.041329772693862454];

    #[test]
    fn perfect_separation_and_ties_have_a_width() {
        let high: Vec<f64> = (100..110).map(f64::from).collect();
        let low: Vec<f64> = (0..10).map(f64::from).collect();
        let i = auroc_interval(&high, &low, 0.95).unwrap();
        assert!(i.value == 1.0 && i.high == 1.0 && (0.7..0.9).contains(&i.low), "{i:?}");
        let turned = auroc_interval(&low, &high, 0.95).unwrap();
        assert_close(turned.high, 1.0 - i.low, 1e-12);
        let tied = auroc_interval(&[1.0; 10], &[1.0; 10], 0.95).unwrap();
        assert!(tied.value == 0.5 && tied.low < 0.35 && tied.high > 0.65, "{tied:?}");
        let one = auroc_interval(&[1.0], &low, 0.95).unwrap_err().to_string();
        assert!(one.contains("found 1, wanted at least 5"), "{one}");
        assert!(
            auroc_interval(&high, &[1.0, f64::NAN], 0.95).is_err()
                && auroc_interval(&high, &low, 1.0).is_err()
        );
    }

    fn covered(law: Law, sizes: (usize, usize), rounds: usize) -> f64 {
        coverage(law, sizes, rounds, |a, b| vec![auroc_interval(a, b, 0.95).unwrap()], |t| vec![t.auroc])[0]
    }

    #[test]
    fn intervals_reach_their_level_at_small_counts() {
        for law in [LAWS[0], LAWS[1]] {
            for sizes in [(10, 10), (30, 30), (100, 100)] {
                // 400 rounds: a standard error of 1.1 %; three of them beyond 93 to 98 %.
                let found = covered(law, sizes, 400);
                assert!((0.9..=1.0).contains(&found), "{law:?} {sizes:?}: {found}");
            }
        }
    }
}
