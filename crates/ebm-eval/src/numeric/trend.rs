//! Whether a series over a run rises, by a slope that outliers and noise do not move.

use serde::Serialize;

use crate::classes::classification::two_sided;
use crate::error::{Result, all_finite, at_least, same};
use crate::numeric::quantile::quantile;

/// Points that slopes are taken between at most; longer series are cut into this many blocks, each by its medians.
const BLOCKS: usize = 50;

/// A robust slope, with what it is to be read against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trend {
    /// Median slope between pairs of points, in units of the values a unit of `at` (Theil 1950; Sen 1968).
    pub slope: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The slope times the whole length: how far the series has moved.
    pub change: f64,
    /// Scatter around the line: 1.4826 times the median distance from it, a standard deviation for normal noise.
    pub noise: f64,
}

impl Trend {
    /// Whether the series rises or falls at the interval's level: it does not hold 0.
    pub fn is_certain(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Theil–Sen slope of `values` over `at` (rising, such as steps), with Sen's interval at `level`.
///
/// More than 50 points are taken by their medians first, so that noise that lasts for a few steps counts
/// little; noise that lasts for blocks makes the interval too short, as for every such test.
///
/// # Errors
/// If the lengths differ, there are fewer than 4 values or non-finite ones, or `level` is outside (0, 1).
pub fn trend(at: &[f64], values: &[f64], level: f64) -> Result<Trend> {
    same("places of the series", at.len(), values.len(), "its values")?;
    at_least("values of the series", values.len(), 4)?;
    all_finite("places of the series", at)?;
    all_finite("series", values)?;
    let z = two_sided(level)?;
    let blocks = values.len().min(BLOCKS);
    let median = |v: &[f64], b: usize| {
        let (from, to) = (b * v.len() / blocks, (b + 1) * v.len() / blocks);
        quantile(&mut v[from..to].to_vec(), 0.5)
    };
    let x: Vec<f64> = (0..blocks).map(|b| median(at, b)).collect();
    let y: Vec<f64> = (0..blocks).map(|b| median(values, b)).collect();
    let mut slopes: Vec<f64> = (0..blocks)
        .flat_map(|i| (0..i).map(move |j| (i, j)))
        .filter(|&(i, j)| x[i] != x[j])
        .map(|(i, j)| (y[i] - y[j]) / (x[i] - x[j]))
        .collect();
    at_least("different places of the series", slopes.len(), 1)?;
    let slope = quantile(&mut slopes, 0.5);
    // Kendall's variance of the number of rising pairs less falling ones, for a series without ties.
    let n = blocks as f64;
    let spread = z * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    let place = |rank: f64| slopes[(rank.round().max(0.0) as usize).min(slopes.len() - 1)];
    let (low, high) = (place((pairs - spread) / 2.0 - 1.0), place((pairs + spread) / 2.0));
    let mut rest: Vec<f64> = x.iter().zip(&y).map(|(x, y)| y - slope * x).collect();
    let middle = quantile(&mut rest, 0.5);
    let mut distances: Vec<f64> =
        at.iter().zip(values).map(|(x, y)| (y - slope * x - middle).abs()).collect();
    let noise = 1.4826 * quantile(&mut distances, 0.5);
    let length = at.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        - at.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Trend { slope, low, high, change: slope * length, noise })
}

/// How many times larger the median |value| of the last tenth is than that of the part between a tenth and three tenths:
/// growth over a run without its start. NaN if the early part is 0 throughout; errs with fewer than 10 values.
pub fn growth(values: &[f64]) -> Result<f64> {
    at_least("values of the series", values.len(), 10)?;
    all_finite("series", values)?;
    let n = values.len();
    let size = |from: usize, to: usize| {
        quantile(&mut values[from..to].iter().map(|v| v.abs()).collect::<Vec<f64>>(), 0.5)
    };
    let early = size(n / 10, (3 * n / 10).max(n / 10 + 1));
    Ok(if early > 0.0 { size(n - n / 10, n) / early } else { f64::NAN })
}

/// Whether all values are equal; such a series measures nothing. False if there is none.
pub fn is_constant(values: &[f64]) -> bool {
    values.first().is_some_and(|first| values.iter().all(|v| v == first))
}

/// Shares of `values` at or beyond the ends of a clamp, and beyond any value that data have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RangeShares {
    /// At `low` or `high`, or outside of them.
    pub at_ends: f64,
    /// Outside of `low..=high`.
    pub beyond: f64,
}

/// [`RangeShares`] of `values` in the range `low..=high`, to be compared with those of data: pictures on black ground lie
/// at the lower end themselves. Errs if there is no value or a NaN among them.
pub fn range_shares(values: &[f32], low: f32, high: f32) -> Result<RangeShares> {
    at_least("values", values.len(), 1)?;
    if let Some(index) = values.iter().position(|v| v.is_nan()) {
        return Err(crate::EvalError::NotFinite { what: "values", index, value: f64::NAN });
    }
    let share = |of: fn(f32, f32, f32) -> bool| {
        values.iter().filter(|v| of(**v, low, high)).count() as f64 / values.len() as f64
    };
    Ok(RangeShares {
        at_ends: share(|v, low, high| v <= low || v >= high),
        beyond: share(|v, low, high| v < low || v > high),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SplitMix;
    use crate::testing::goldens::{assert_close, normals};

    fn steps(n: usize) -> Vec<f64> {
        (0..n).map(|i| i as f64).collect()
    }

    #[test]
    fn agrees_with_scipy() {
        // python scripts/make-eval-goldens.py trend
        let y: Vec<f64> = normals(64, 40).iter().enumerate().map(|(i, v)| 0.03 * i as f64 + v).collect();
        let t = trend(&steps(40), &y, 0.95).unwrap();
        [t.slope, t.low, t.high].iter().zip(GOLD).for_each(|(f, w)| assert_close(*f, w, 1e-12));
    }
    const GOLD: [f64; 3] = [0.039231337699396865, 0.018849470489903496, 0.06619312577777439];

    #[test]
    fn a_line_is_found_through_outliers_and_its_noise_told() {
        let mut r = SplitMix::new(1);
        let y: Vec<f64> = (0..1000)
            .map(|i| if i % 17 == 3 { 1e6 } else { 2.0 - 0.01 * f64::from(i) + 0.5 * r.normal() })
            .collect();
        let t = trend(&steps(1000), &y, 0.95).unwrap();
        assert!((t.slope + 0.01).abs() < 5e-4 && (t.change + 9.99).abs() < 0.5, "{t:?}");
        assert!((t.noise / 0.5 - 1.0).abs() < 0.2 && t.is_certain(), "{t:?}");
    }

    #[test]
    fn noise_alone_is_seldom_taken_for_a_trend() {
        let mut r = SplitMix::new(2);
        for n in [12, 50, 400] {
            let certain = (0..600).filter(|_| {
                let y: Vec<f64> = (0..n).map(|_| r.normal()).collect();
                trend(&steps(n), &y, 0.95).unwrap().is_certain()
            });
            // 5 % of 600: 30 with a deviation of 5.3; four, and the interval of few points is one of whole ranks.
            let certain = certain.count();
            assert!((5..=51).contains(&certain), "{n} {certain}");
        }
    }

    #[test]
    fn growth_constants_and_ends_are_counted() {
        let y: Vec<f64> = (0..100)
            .map(|i| {
                if i < 10 {
                    1e9
                } else if i < 90 {
                    -2.0
                } else {
                    6.0
                }
            })
            .collect();
        assert_eq!(growth(&y).unwrap(), 3.0);
        assert!(growth(&[0.0; 20]).unwrap().is_nan() && growth(&[1.0; 9]).is_err());
        assert!(is_constant(&[0.1; 3]) && !is_constant(&[]) && !is_constant(&[1.0, 1.0 + 1e-16, 2.0]));
        let shares = range_shares(&[0.0, 0.5, 1.0, 1.5], 0.0, 1.0).unwrap();
        assert_eq!((shares.at_ends, shares.beyond), (0.75, 0.25));
        assert!(range_shares(&[], 0.0, 1.0).is_err() && range_shares(&[f32::NAN], 0.0, 1.0).is_err());
    }

    #[test]
    fn settings_are_checked() {
        assert!(trend(&steps(3), &[0.0; 3], 0.95).is_err() && trend(&steps(5), &[0.0; 4], 0.95).is_err());
        assert!(trend(&steps(4), &[0.0, f64::NAN, 0.0, 0.0], 0.95).is_err());
        assert!(trend(&[1.0; 5], &[0.0; 5], 0.95).is_err() && trend(&steps(5), &[0.0; 5], 1.5).is_err());
    }
}
