//! Intervals of all figures of a detector that reach their level for small and for well separated sets.

use serde::Serialize;

use crate::chains::average_ranks;
use crate::classes::classification::two_sided;
use crate::detection::auroc_interval::{FEWEST_SCORES, auroc_interval};
use crate::detection::detection;
use crate::detection::fiducial::Fiducial;
use crate::error::{Result, at_least};
use crate::numeric::bootstrap::Interval;
use crate::numeric::quantile::quantile;
use crate::numeric::splitmix::SplitMix;

/// Thresholds over which a drawn pair of distributions is integrated.
const THRESHOLDS: usize = 400;

/// Scores of the smaller set below which coverage has been simulated to be off by more than two or three per cent.
pub const FEW_SCORES: usize = 30;

/// The figures of [`Detection`](crate::Detection), each with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DetectionIntervals {
    /// Area under the ROC curve.
    pub auroc: Interval,
    /// Area under precision and recall with the inside set as positives.
    pub aupr_in: Interval,
    /// Area under precision and recall with the outside set as positives.
    pub aupr_out: Interval,
    /// Share of the outside set taken for inside where 95 % of the inside set are kept.
    pub fpr95: Interval,
}

/// Intervals at `level` of every figure of [`detection`]; scores are high for `inside`.
///
/// That of the AUROC is [`auroc_interval`]'s. The others are quantiles over `draws` draws of the distributions that both
/// sets may have come from (Banks 1988, with exponential tails, in the ranks of all scores), so they have a
/// width on perfect separation, where resamples of the scores themselves would all agree. Where the quantiles of the drawn
/// AUROC end short of its own interval, those of the AUPR are widened by the same factor in their distance from 1. An
/// interval holds its figure in any case.
///
/// They say how far a figure moves with other test samples, not with another training run.
///
/// # Errors
/// If a set has fewer than [`FEWEST_SCORES`] scores, a score is NaN, there are fewer than two draws, or `level` is outside
/// (0, 1).
pub fn detection_intervals(
    inside: &[f64],
    outside: &[f64],
    draws: usize,
    level: f64,
    seed: u64,
) -> Result<DetectionIntervals> {
    at_least("scores of the inside set", inside.len(), FEWEST_SCORES)?;
    at_least("scores of the outside set", outside.len(), FEWEST_SCORES)?;
    at_least("draws of the intervals", draws, 2)?;
    two_sided(level)?;
    let value = detection(inside, outside)?;
    let prior = inside.len() as f64 / (inside.len() + outside.len()) as f64;
    // In ranks of both sets together, so that a monotone change of the scores changes nothing, and a gap between the sets
    // is as wide as one score, however wide it is.
    let ranks = average_ranks(&[inside, outside].concat());
    let (mut a, mut b) = (Fiducial::new(&ranks[..inside.len()]), Fiducial::new(&ranks[inside.len()..]));
    let mut stream = SplitMix::new(seed);
    let mut found: [Vec<f64>; 4] = Default::default();
    for _ in 0..draws {
        a.draw(&mut stream);
        b.draw(&mut stream);
        let d = of_distributions(&a, &b, prior);
        found.iter_mut().zip(d).for_each(|(f, v)| f.push(v));
    }
    let out = (1.0 - level) / 2.0;
    let interval = |value: f64, found: &mut [f64]| {
        let n = found.len() as f64;
        let mean = found.iter().sum::<f64>() / n;
        let se = (found.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0)).sqrt();
        Interval { value, low: quantile(found, out), high: quantile(found, 1.0 - out), se }
    };
    let [mut areas, mut aupr_in, mut aupr_out, mut fpr95] = found;
    let auroc = auroc_interval(inside, outside, level)?;
    let drawn = interval(value.auroc, &mut areas);
    let rest = |of: f64, drawn: f64| if drawn < 1.0 { (1.0 - of) / (1.0 - drawn) } else { 1.0 };
    let (narrow, wide) = (rest(auroc.high, drawn.high).min(1.0), rest(auroc.low, drawn.low).max(1.0));
    let widened = |i: Interval| Interval {
        low: (1.0 - (1.0 - i.low) * wide).max(0.0),
        high: 1.0 - (1.0 - i.high) * narrow,
        ..i
    };
    let holding = |i: Interval| Interval { low: i.low.min(i.value), high: i.high.max(i.value), ..i };
    Ok(DetectionIntervals {
        auroc,
        aupr_in: holding(widened(interval(value.aupr_in, &mut aupr_in))),
        aupr_out: holding(widened(interval(value.aupr_out, &mut aupr_out))),
        fpr95: holding(interval(value.fpr95, &mut fpr95)),
    })
}

/// `[auroc, aupr_in, aupr_out, fpr95]` of two distributions, the share `prior` of all being inside.
fn of_distributions(inside: &Fiducial, outside: &Fiducial, prior: f64) -> [f64; 4] {
    let (mut passed, mut aupr_in, mut aupr_out) = (0.0, 0.0, 0.0);
    for i in 0..THRESHOLDS {
        let u = (i as f64 + 0.5) / THRESHOLDS as f64;
        // Kept are the insiders, and the outsiders, at or above the threshold that keeps the share 1 - u of insiders.
        let t = inside.quantile(u);
        let (kept, wrong) = (1.0 - inside.below(t), 1.0 - outside.below(t));
        passed += 0.5 * (wrong + 1.0 - outside.up_to(t));
        aupr_in += precision(prior * kept, (1.0 - prior) * wrong);
        // Below a step of equal scores nobody is taken for outside, so the step counts as a whole: the share up to its end.
        let t = outside.quantile(u);
        let (kept, wrong) = (outside.up_to(t), inside.up_to(t));
        aupr_out += precision((1.0 - prior) * kept, prior * wrong);
    }
    let n = THRESHOLDS as f64;
    [1.0 - passed / n, aupr_in / n, aupr_out / n, 1.0 - outside.below(inside.quantile(0.05))]
}

fn precision(right: f64, wrong: f64) -> f64 {
    if right + wrong > 0.0 { right / (right + wrong) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Detection;
    use crate::testing::goldens::{assert_close, scores};
    use crate::testing::simulated::{LAWS, coverage};

    fn all(d: &DetectionIntervals) -> Vec<Interval> {
        vec![d.auroc, d.aupr_in, d.aupr_out, d.fpr95]
    }

    fn figures(d: &Detection) -> Vec<f64> {
        vec![d.auroc, d.aupr_in, d.aupr_out, d.fpr95]
    }

    #[test]
    fn figures_are_those_of_the_scores_and_the_sets_may_change_places() {
        for levels in [0.0, 8.0] {
            let (a, b) = scores(levels);
            let i = detection_intervals(&a, &b, 60, 0.9, 11).unwrap();
            let d = detection(&a, &b).unwrap();
            for (i, v) in all(&i).iter().zip(figures(&d)) {
                assert_close(i.value, v, 1e-14);
                assert!(i.low <= v && v <= i.high && i.low < i.high && i.se > 0.0, "{i:?}");
                assert!(0.0 <= i.low && i.high <= 1.0, "{i:?}");
            }
            let negated = |v: &[f64]| v.iter().map(|s| -s).collect::<Vec<f64>>();
            let turned = detection_intervals(&negated(&b), &negated(&a), 2000, 0.9, 11).unwrap();
            let many = detection_intervals(&a, &b, 2000, 0.9, 11).unwrap();
            // 5 % quantiles of 2,000 draws have errors of about 2 se/sqrt(2000).
            assert_close(turned.aupr_in.low, many.aupr_out.low, 0.02);
            assert_close(turned.aupr_out.high, many.aupr_in.high, 0.02);
        }
    }

    #[test]
    fn equal_scores_tell_nothing_apart_and_perfect_ones_are_not_certain() {
        let d = detection_intervals(&[1.0; 5], &[1.0; 15], 20, 0.95, 0).unwrap();
        for (i, v) in [(d.aupr_in, 0.25), (d.aupr_out, 0.75), (d.fpr95, 1.0)] {
            assert!((i.value - v).abs() < 1e-12 && i.low <= v && v <= i.high, "{i:?}");
        }
        assert_close(d.fpr95.low, 1.0, 1e-12);
        assert!(d.auroc.low < 0.35 && d.auroc.high > 0.65);
        let (high, low): (Vec<f64>, Vec<f64>) = (0..10).map(|i| (f64::from(i) + 100.0, f64::from(i))).unzip();
        let d = detection_intervals(&high, &low, 200, 0.95, 0).unwrap();
        assert!(d.auroc.low < 0.95 && d.auroc.value == 1.0, "{d:?}");
        // A wide gap: what lies between is as uncertain as one more score.
        assert!(d.aupr_in.low < 0.99 && d.aupr_out.low < 0.99 && d.fpr95.high > 0.01, "{d:?}");
    }

    #[test]
    fn intervals_reach_their_level_at_small_counts() {
        for (law, sizes) in [(LAWS[0], (10, 10)), (LAWS[1], (30, 30)), (LAWS[2], (30, 30))] {
            let of = |a: &[f64], b: &[f64]| all(&detection_intervals(a, b, 100, 0.95, 1).unwrap());
            let found = coverage(law, sizes, 200, of, figures);
            // A standard error of 1.5 %, and quantiles of 100 draws.
            assert!(found.iter().all(|c| *c >= 0.88), "{law:?} {sizes:?}: {found:?}");
        }
    }

    /// `cargo test -p ebm-eval --lib detection_intervals -- --ignored --nocapture`
    #[test]
    #[ignore = "prints the table of the book; minutes"]
    fn coverage_in_numbers() {
        for law in LAWS {
            for (sizes, rounds) in [((10, 10), 600), ((30, 30), 600), ((100, 100), 600), ((360, 1000), 300)] {
                let of = |a: &[f64], b: &[f64]| all(&detection_intervals(a, b, 200, 0.95, 1).unwrap());
                let found: Vec<String> = coverage(law, sizes, rounds, of, figures)
                    .iter()
                    .map(|c| format!("{:.1}", 100.0 * c))
                    .collect();
                println!("{law:?} {sizes:?}: AUROC, AUPR-in, AUPR-out, FPR95 {}", found.join(" "));
            }
        }
    }

    #[test]
    fn settings_scores_and_counts_are_checked() {
        let five = [1.0, 2.0, 3.0, 4.0, 5.0];
        let one = detection_intervals(&five, &[1.0], 9, 0.9, 0).unwrap_err().to_string();
        assert!(one.contains("outside set: found 1, wanted at least 5"), "{one}");
        assert!(detection_intervals(&[], &five, 9, 0.9, 0).is_err());
        assert!(detection_intervals(&five, &[f64::NAN; 5], 9, 0.9, 0).is_err());
        assert!(detection_intervals(&five, &five, 1, 0.9, 0).is_err());
        assert!(detection_intervals(&five, &five, 9, 0.0, 0).is_err());
    }
}
