//! Mean and deviation of training values, by which numbers are standardised.

use ebm_core::Cells;

/// The cells that standardise these values to mean 0 and deviation 1 (of the population, as scikit-learn's `StandardScaler`).
///
/// # Errors
/// In words, if there is no value, all are one value, or their squares are beyond what a number holds.
pub(crate) fn standard(values: impl Iterator<Item = f64> + Clone) -> Result<Cells, String> {
    let (mut n, mut sum, mut low, mut high) = (0u64, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for v in values.clone() {
        n += 1;
        sum += v;
        (low, high) = (low.min(v), high.max(v));
    }
    if n == 0 {
        return Err("has no training row".into());
    }
    if low == high {
        return Err(format!(
            "is constant: all {n} training rows hold {low}, and have no deviation to divide by; leave it out, or set standardise to false"
        ));
    }
    let centre = sum / n as f64;
    let spread = (values.map(|v| (v - centre).powi(2)).sum::<f64>() / n as f64).sqrt();
    if !(spread > 0.0 && spread.is_finite()) {
        return Err(format!(
            "has values from {low} to {high}, of which no deviation can be taken: scale them"
        ));
    }
    Ok(Cells::Numbers { centre, spread })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_those_of_the_population_and_constants_are_refused() {
        let of = |v: &[f64]| standard(v.to_vec().into_iter());
        assert_eq!(of(&[1.0, 3.0, 5.0, 7.0]).unwrap(), Cells::Numbers { centre: 4.0, spread: 5f64.sqrt() });
        // A mean that is rounded leaves distances of a last bit, which are no deviation.
        let text = of(&[0.1; 10]).unwrap_err();
        assert!(text.contains("constant") && text.contains("0.1"), "{text}");
        assert!(of(&[]).is_err() && of(&[-1e300, 1e300]).is_err());
    }
}
