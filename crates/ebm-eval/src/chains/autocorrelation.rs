//! Autocorrelation of one series, summed directly.

use crate::error::{Result, all_finite, at_least};

/// Autocorrelations at the lags `0..=max_lag` (cut to `n - 1`), with the divisor `n` at every lag, which keeps the
/// sequence positive definite (as in Geyer 1992); `O(n max_lag)`. NaN for a constant series.
///
/// Errs with fewer than two values or on non-finite ones.
pub fn autocorrelation(series: &[f64], max_lag: usize) -> Result<Vec<f64>> {
    at_least("values of the series", series.len(), 2)?;
    all_finite("series", series)?;
    let centred = centred(series);
    let variance = lagged(&centred, 0);
    Ok((0..=max_lag.min(series.len() - 1)).map(|lag| lagged(&centred, lag) / variance).collect())
}

/// The series less its mean.
pub(crate) fn centred(series: &[f64]) -> Vec<f64> {
    let mean = series.iter().sum::<f64>() / series.len() as f64;
    series.iter().map(|v| v - mean).collect()
}

/// Autocovariance of a centred series, divisor `n`; `lag < n`.
pub(crate) fn lagged(centred: &[f64], lag: usize) -> f64 {
    centred[lag..].iter().zip(centred).map(|(a, b)| a * b).sum::<f64>() / centred.len() as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, autoregression};

    #[test]
    fn alternating_values_are_known() {
        let r = autocorrelation(&[1.0, -1.0, 1.0, -1.0], 9).unwrap();
        assert_eq!(r, [1.0, -0.75, 0.5, -0.25]);
        assert!(autocorrelation(&[2.0; 5], 1).unwrap()[1].is_nan());
        assert!(autocorrelation(&[2.0], 1).is_err());
    }

    #[test]
    fn agrees_with_arviz() {
        // python tests/goldens.py autocorrelation
        let r = autocorrelation(&autoregression(32, 1, 50, 0.8), 7).unwrap();
        // ArviZ sums by FFT, which differs by 1e-16.
        r.iter().zip(GOLD).for_each(|(f, w)| assert_close(*f, w, 1e-12));
    }
    const GOLD: [f64; 8] = [
        1.0,
        0.8790534854741439,
        0.7486009244140598,
        0.6000643684337575,
        0.4661628874073896,
        0.3578410390147135,
        0.26767611374910505,
        0.19034889157758322,
    ];

    #[test]
    fn an_autoregression_decays_geometrically() {
        let r = autocorrelation(&autoregression(31, 1, 8000, 0.7), 5).unwrap();
        for (lag, r) in r.iter().enumerate() {
            // Bartlett: sd at most sqrt((1 + φ²)/(1 - φ²)/n) = 0.019; four of them.
            assert!((r - 0.7f64.powi(lag as i32)).abs() < 0.076, "{lag} {r}");
        }
        assert_close(r[0], 1.0, 1e-15);
    }
}
