//! Bootstrap intervals of all figures of a detector at once, in one pass over sorted scores a resample.

use serde::Serialize;

use crate::bootstrap::Interval;
use crate::dense::quantile;
use crate::detection::{Detection, detection};
use crate::error::{EvalError, Result, at_least};
use crate::splitmix::SplitMix;

/// The figures of [`Detection`], each with its interval.
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

/// Percentile bootstrap (Efron 1979) of every figure of [`detection`] over the same resamples: both sets are drawn anew
/// with replacement, each to its own size. The draws are those of [`bootstrap`](crate::bootstrap) under the same seed,
/// but scores are sorted once instead of once a resample, so that sets of 10,000 take seconds.
///
/// Scores are high for `inside`, as in [`detection`].
///
/// # Errors
/// If a set is empty, a score is NaN, there are fewer than two resamples, or `level` is outside `(0, 1)`.
pub fn detection_intervals(
    inside: &[f64],
    outside: &[f64],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<DetectionIntervals> {
    let value = detection(inside, outside)?;
    at_least("resamples", resamples, 2)?;
    if !(level > 0.0 && level < 1.0) {
        return Err(EvalError::Setting {
            what: "level of the interval",
            found: level,
            wanted: "a share in (0, 1)",
        });
    }
    let (groups_in, groups_out, groups) = groups(inside, outside);
    let mut stream = SplitMix::new(seed);
    let mut found: [Vec<f64>; 4] = Default::default();
    let mut counts = vec![[0u32; 2]; groups];
    for _ in 0..resamples {
        counts.fill([0; 2]);
        for _ in 0..inside.len() {
            counts[groups_in[stream.below(inside.len())] as usize][0] += 1;
        }
        for _ in 0..outside.len() {
            counts[groups_out[stream.below(outside.len())] as usize][1] += 1;
        }
        let d = of_counts(&counts, inside.len() as f64, outside.len() as f64);
        found.iter_mut().zip([d.auroc, d.aupr_in, d.aupr_out, d.fpr95]).for_each(|(f, v)| f.push(v));
    }
    let interval = |value: f64, mut found: Vec<f64>| {
        let n = found.len() as f64;
        let mean = found.iter().sum::<f64>() / n;
        let se = (found.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0)).sqrt();
        let out = (1.0 - level) / 2.0;
        Interval { value, low: quantile(&mut found, out), high: quantile(&mut found, 1.0 - out), se }
    };
    let [auroc, aupr_in, aupr_out, fpr95] = found;
    Ok(DetectionIntervals {
        auroc: interval(value.auroc, auroc),
        aupr_in: interval(value.aupr_in, aupr_in),
        aupr_out: interval(value.aupr_out, aupr_out),
        fpr95: interval(value.fpr95, fpr95),
    })
}

/// The group of equal scores that each score of both sets is in, counted from the highest, and their number.
fn groups(inside: &[f64], outside: &[f64]) -> (Vec<u32>, Vec<u32>, usize) {
    let all: Vec<f64> = [inside, outside].concat();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| all[*b].total_cmp(&all[*a]));
    let mut of = vec![0u32; all.len()];
    let mut group = 0;
    for (i, at) in order.iter().enumerate() {
        if i > 0 && all[order[i - 1]] != all[*at] {
            group += 1;
        }
        of[*at] = group;
    }
    let rest = of.split_off(inside.len());
    (of, rest, group as usize + 1)
}

/// The figures from the members `[inside, outside]` of each group, highest scores first.
fn of_counts(counts: &[[u32; 2]], p: f64, n: f64) -> Detection {
    let (mut hits, mut false_hits, mut pairs, mut aupr_in) = (0.0, 0.0, 0.0, 0.0);
    let mut fpr95 = None;
    for [a, b] in counts {
        let (a, b) = (f64::from(*a), f64::from(*b));
        // Inside members of this group beat the outside ones below it and half of those in it.
        pairs += a * (n - false_hits - b + 0.5 * b);
        hits += a;
        false_hits += b;
        if hits + false_hits > 0.0 {
            aupr_in += a / p * hits / (hits + false_hits);
        }
        if fpr95.is_none() && hits / p >= 0.95 {
            fpr95 = Some(false_hits / n);
        }
    }
    let (mut hits, mut taken, mut aupr_out) = (0.0, 0.0, 0.0);
    for [a, b] in counts.iter().rev() {
        hits += f64::from(*b);
        taken += f64::from(a + b);
        if taken > 0.0 {
            aupr_out += f64::from(*b) / n * hits / taken;
        }
    }
    Detection { auroc: pairs / (p * n), aupr_in, aupr_out, fpr95: fpr95.unwrap_or(1.0) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::goldens::{assert_close, scores};
    use crate::{aupr, auroc, bootstrap, fpr_at_tpr};

    fn same(a: Interval, b: Interval) {
        // Sums of a few hundred terms in another order.
        [a.value, a.low, a.high, a.se]
            .iter()
            .zip([b.value, b.low, b.high, b.se])
            .for_each(|(f, w)| assert_close(*f, w, 1e-12));
    }

    #[test]
    fn equals_the_plain_bootstrap_of_each_figure_with_and_without_ties() {
        for levels in [0.0, 8.0] {
            let (a, b) = scores(levels);
            let all = detection_intervals(&a, &b, 60, 0.9, 11).unwrap();
            let negated = |v: &[f64]| v.iter().map(|s| -s).collect::<Vec<f64>>();
            let plain = |m: fn(&[f64], &[f64]) -> Result<f64>| bootstrap(&a, &b, m, 60, 0.9, 11).unwrap();
            same(all.auroc, plain(auroc));
            same(all.aupr_in, plain(aupr));
            same(all.fpr95, plain(|a, b| fpr_at_tpr(a, b, 0.95)));
            let out = bootstrap(&a, &b, |a, b| aupr(&negated(b), &negated(a)), 60, 0.9, 11).unwrap();
            same(all.aupr_out, out);
        }
    }

    #[test]
    fn equal_scores_tell_nothing_apart_in_any_resample() {
        let d = detection_intervals(&[1.0; 5], &[1.0; 5], 20, 0.95, 0).unwrap();
        for (i, v) in [(d.auroc, 0.5), (d.aupr_in, 0.5), (d.aupr_out, 0.5), (d.fpr95, 1.0)] {
            assert_eq!((i.value, i.low, i.high), (v, v, v));
        }
    }

    #[test]
    fn settings_and_scores_are_checked() {
        assert!(detection_intervals(&[], &[1.0], 9, 0.9, 0).is_err());
        assert!(detection_intervals(&[1.0], &[f64::NAN], 9, 0.9, 0).is_err());
        assert!(detection_intervals(&[1.0], &[1.0], 1, 0.9, 0).is_err());
        assert!(detection_intervals(&[1.0], &[1.0], 9, 0.0, 0).is_err());
    }
}
