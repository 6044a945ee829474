//! Bootstrap intervals of a figure computed from two sets.

use serde::Serialize;

use crate::error::{EvalError, Result, at_least};
use crate::numeric::quantile::quantile;
use crate::numeric::splitmix::SplitMix;

/// A figure with its percentile interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure on the sets themselves.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Standard deviation over the resamples.
    pub se: f64,
}

/// Percentile bootstrap (Efron 1979) of `measure(a, b)`, such as [`crate::auroc`]: both sets are drawn anew with
/// replacement, each to its own size, `resamples` times from `seed`. `level` 0.95 gives the 2.5 % and 97.5 %
/// quantiles. Says how far the figure moves with other test data, not with another training run.
///
/// Errs if a set is empty, with fewer than two resamples, if `level` is outside `(0, 1)`, or with `measure`.
pub fn bootstrap(
    a: &[f64],
    b: &[f64],
    measure: impl Fn(&[f64], &[f64]) -> Result<f64>,
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval> {
    at_least("values of the first set", a.len(), 1)?;
    at_least("values of the second set", b.len(), 1)?;
    at_least("resamples", resamples, 2)?;
    if !(level > 0.0 && level < 1.0) {
        return Err(EvalError::Setting {
            what: "level of the interval",
            found: level,
            wanted: "a share in (0, 1)",
        });
    }
    let value = measure(a, b)?;
    let mut stream = SplitMix::new(seed);
    let mut found = Vec::with_capacity(resamples);
    let (mut x, mut y) = (a.to_vec(), b.to_vec());
    for _ in 0..resamples {
        x.fill_with(|| a[stream.below(a.len())]);
        y.fill_with(|| b[stream.below(b.len())]);
        found.push(measure(&x, &y)?);
    }
    let n = resamples as f64;
    let mean = found.iter().sum::<f64>() / n;
    let se = (found.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0)).sqrt();
    let out = (1.0 - level) / 2.0;
    Ok(Interval { value, low: quantile(&mut found, out), high: quantile(&mut found, 1.0 - out), se })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::detection::auroc;
    use crate::testing::goldens::{assert_close, scores};

    fn difference(a: &[f64], b: &[f64]) -> Result<f64> {
        Ok(a.iter().sum::<f64>() / a.len() as f64 - b.iter().sum::<f64>() / b.len() as f64)
    }

    #[test]
    fn a_mean_has_its_textbook_error() {
        let (a, b) = scores(0.0);
        let i = bootstrap(&a, &b, difference, 400, 0.9, 5).unwrap();
        let var = |v: &[f64]| {
            let m = v.iter().sum::<f64>() / v.len() as f64;
            v.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (v.len() * v.len()) as f64
        };
        let se = (var(&a) + var(&b)).sqrt();
        // An sd of 400 resamples has a relative sd of 1/sqrt(800) = 3.5 %; four of them. The ends likewise.
        assert!((i.se / se - 1.0).abs() < 0.14, "{} {se}", i.se);
        assert!(((i.high - i.low) / (2.0 * 1.645 * se) - 1.0).abs() < 0.25, "{i:?}");
        assert_eq!(i.value, difference(&a, &b).unwrap());
    }

    #[test]
    fn agrees_with_the_same_resamples_in_numpy() {
        // python tests/goldens.py bootstrap
        let (a, b) = scores(8.0);
        let i = bootstrap(&a, &b, auroc, 50, 0.95, 7).unwrap();
        [i.value, i.low, i.high, i.se].iter().zip(GOLD).for_each(|(f, w)| assert_close(*f, w, 1e-12));
        assert_eq!(i, bootstrap(&a, &b, auroc, 50, 0.95, 7).unwrap());
        assert_ne!(i, bootstrap(&a, &b, auroc, 50, 0.95, 8).unwrap());
    }
    const GOLD: [f64; 4] = [0.7855714285714286, 0.7285035714285715, 0.8550714285714286, 0.0368218400550484];

    #[test]
    fn settings_are_checked() {
        assert!(bootstrap(&[], &[1.0], auroc, 9, 0.9, 0).is_err());
        assert!(bootstrap(&[1.0], &[1.0], auroc, 1, 0.9, 0).is_err());
        assert!(bootstrap(&[1.0], &[1.0], auroc, 9, 1.0, 0).is_err());
    }
}
