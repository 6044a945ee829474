//! Quantiles of a set of numbers.

/// Quantile `q` in `[0, 1]` with linear interpolation (type 7 of Hyndman and Fan 1996, numpy's default); NaN
/// if `values` is empty. Sorts its input.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let at = q * (values.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(values.len() - 1);
    values[low] + (at - low as f64) * (values[high] - values[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let mut v = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&mut v, 0.5), 2.5);
        assert!((quantile(&mut v, 0.95) - 3.85).abs() < 1e-12);
        assert_eq!(quantile(&mut [7.0], 0.3), 7.0);
    }
}
