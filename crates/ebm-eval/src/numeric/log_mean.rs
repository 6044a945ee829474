//! Sums and means in log space, and bits per dimension.

use serde::Serialize;

use crate::error::{EvalError, Result, at_least};

/// log Σ exp(v_i), shifted by the largest value; -inf if empty or all are -inf, NaN if one is NaN.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    // f64::max drops NaN, so it has to be looked for.
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top.is_infinite() {
        return top;
    }
    top + values.iter().map(|v| (v - top).exp()).sum::<f64>().ln()
}

/// An estimated logarithm of a mean, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LogMean {
    /// log of the mean of the weights.
    pub value: f64,
    /// Its standard error by the delta method, sd(w) / (mean(w) √n): to be trusted only while well below 1.
    pub se: f64,
    /// Effective number of equally weighted draws, (Σw)² / Σw² (Kong 1992).
    pub ess: f64,
}

/// log (1/n Σ exp(v_i)) of log weights, which may be -inf (weight 0), with its standard error.
///
/// Errs with fewer than two weights or on NaN or +inf. If all weights are 0, `value` is -inf, `se` NaN and `ess` 0.
pub fn log_mean_exp(values: &[f64]) -> Result<LogMean> {
    at_least("log weights", values.len(), 2)?;
    if let Some(index) = values.iter().position(|v| v.is_nan() || *v == f64::INFINITY) {
        return Err(EvalError::NotFinite { what: "log weights", index, value: values[index] });
    }
    let n = values.len() as f64;
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return Ok(LogMean { value: top, se: f64::NAN, ess: 0.0 });
    }
    let weights: Vec<f64> = values.iter().map(|v| (v - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|w| w * w).sum();
    let mean = sum / n;
    let variance = weights.iter().map(|w| (w - mean) * (w - mean)).sum::<f64>() / (n - 1.0);
    Ok(LogMean { value: top + mean.ln(), se: (variance / n).sqrt() / mean, ess: sum * sum / squares })
}

/// Bits per dimension, -ll / (d ln 2) + log2(levels), of a mean log-density `ll` in nats over `d` values.
///
/// The density is that of values scaled to `[0, 1]` from integers of `levels` levels with uniform dequantisation
/// noise, in which case this bounds the code length of the integers from above (Theis, van den Oord and Bethge
/// 2016, "A note on the evaluation of generative models"). Use `levels` 1 for a density in natural units.
pub fn bits_per_dim(log_likelihood: f64, d: usize, levels: u32) -> f64 {
    -log_likelihood / (d as f64 * std::f64::consts::LN_2) + f64::from(levels).log2()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::numeric::splitmix::SplitMix;
    use crate::testing::goldens::assert_close;

    #[test]
    fn sums_do_not_overflow() {
        assert_close(log_sum_exp(&[1000.0, 1000.0]), 1000.0 + 2f64.ln(), 1e-15);
        assert_close(log_sum_exp(&[-1000.0, f64::NEG_INFINITY]), -1000.0, 1e-15);
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[f64::INFINITY, 0.0]), f64::INFINITY);
        assert!(log_sum_exp(&[1.0, f64::NAN]).is_nan());
    }

    #[test]
    fn equal_weights_have_no_error() {
        let m = log_mean_exp(&[-700.0; 8]).unwrap();
        assert_close(m.value, -700.0, 1e-15);
        assert_eq!((m.se, m.ess), (0.0, 8.0));
        // One of four weights is 1: sd 1/2, mean 1/4, so se = (1/2)/(1/4)/2 = 1.
        let m = log_mean_exp(&[0.0, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY]).unwrap();
        assert_close(m.value, -(4f64.ln()), 1e-15);
        assert_close(m.se, 1.0, 1e-15);
        assert_close(m.ess, 1.0, 1e-15);
        assert!(log_mean_exp(&[0.0]).is_err());
        assert!(log_mean_exp(&[0.0, f64::NAN]).is_err());
        assert_eq!(log_mean_exp(&[f64::NEG_INFINITY; 3]).unwrap().ess, 0.0);
    }

    #[test]
    fn log_normal_weights_recover_log_z_within_their_error() {
        // log w ~ N(-s²/2, s²) has mean weight 1; the sd of w is sqrt(exp(s²) - 1).
        let (s, n) = (0.5f64, 4000);
        let mut r = SplitMix::new(1);
        let w: Vec<f64> = (0..n).map(|_| -s * s / 2.0 + s * r.normal()).collect();
        let z = crate::ais_log_z(&w, 7.0).unwrap();
        let se = ((s * s).exp_m1() / f64::from(n)).sqrt();
        assert!((z.se / se - 1.0).abs() < 0.1, "sd of 4000 draws, {} {se}", z.se);
        assert!((z.log_z - 7.0).abs() < 4.0 * se, "four standard errors");
        assert!(z.interval.0 < z.log_z && z.log_z < z.interval.1);
    }

    #[test]
    fn a_uniform_density_costs_all_bits() {
        assert_close(bits_per_dim(0.0, 784, 256), 8.0, 1e-15);
        // A density of 2 everywhere saves one bit a dimension.
        assert_close(bits_per_dim(10.0 * 2f64.ln(), 10, 256), 7.0, 1e-15);
    }

    proptest! {
        #[test]
        fn a_shift_passes_through(v in prop::collection::vec(-50.0f64..50.0, 2..20), by in -500.0f64..500.0) {
            let moved: Vec<f64> = v.iter().map(|x| x + by).collect();
            prop_assert!((log_sum_exp(&moved) - log_sum_exp(&v) - by).abs() < 1e-11);
            let (a, b) = (log_mean_exp(&v).unwrap(), log_mean_exp(&moved).unwrap());
            prop_assert!((a.se - b.se).abs() < 1e-9 && (a.value + by - b.value).abs() < 1e-11);
        }
    }
}
