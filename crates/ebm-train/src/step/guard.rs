//! Refuses numbers that are not finite before they reach the state, and limits the gradient's norm.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Error, Result, finite, squares_of_each};

/// What helps in training: weights or chains ran away.
pub(crate) const CURE: &str = "lower the learning rate or the sampler's step size";

/// Checks all gradients and returns their common norm.
///
/// # Errors
/// [`Error::Numeric`] naming the parameter and the first bad entry.
pub(crate) fn gradient_norm(grads: &BTreeMap<String, Tensor>, step: u64) -> Result<f64> {
    let mut sum = 0.0;
    for ((name, g), s) in grads.iter().zip(squares_of_each(grads.values())?) {
        if !s.is_finite() {
            finite(&format!("gradient of {name}"), g, step, CURE)?;
        }
        sum += s;
    }
    let norm = f64::sqrt(sum);
    if norm.is_finite() {
        return Ok(norm);
    }
    Err(Error::numeric("gradient", step, format!("its norm is {norm}; {CURE}")))
}

/// Checks the value of every term and what the sampler says of itself: what overflows there need not show in a gradient.
///
/// # Errors
/// [`Error::Numeric`] naming the first that is not finite.
pub(crate) fn told(values: &BTreeMap<String, f64>, step: u64) -> Result<()> {
    let of_parts = |name: &str| name.starts_with("loss") || name.starts_with("sampler");
    match values.iter().find(|(name, v)| of_parts(name) && !v.is_finite()) {
        None => Ok(()),
        Some((name, v)) => Err(Error::numeric(
            name.as_str(),
            step,
            format!(
                "is {v}; lower the learning rate, the step size, or the sizes that the configuration states"
            ),
        )),
    }
}

/// Factor that brings a gradient of global norm `norm` down to `limit`: `min(1, limit/(norm + 1e-6))`
/// (PyTorch's `clip_grad_norm_`; Du et al. 2021, published program).
pub(crate) fn clip_factor(norm: f64, limit: Option<f64>) -> f64 {
    limit.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;

    use super::*;

    #[test]
    fn a_term_that_overflows_is_named() {
        let values = |v: f64| BTreeMap::from([("loss.cd".to_string(), 1.0), ("loss.reg".to_string(), v)]);
        told(&values(1e30), 3).unwrap();
        for v in [f64::INFINITY, f64::NAN] {
            let text = told(&values(v), 3).unwrap_err().to_string();
            assert!(text.contains("loss.reg") && text.contains(&v.to_string()), "{text}");
        }
    }

    #[test]
    fn the_bad_entry_is_named() {
        let t = Tensor::new(&[[1f32, 2.0], [f32::NAN, 4.0]], &Device::Cpu).unwrap();
        let grads = BTreeMap::from([("layer.weight".to_string(), t)]);
        let text = gradient_norm(&grads, 7).unwrap_err().to_string();
        assert!(
            text.contains("layer.weight") && text.contains("step 7") && text.contains("[1, 0]"),
            "{text}"
        );
    }

    #[test]
    fn clipping_leaves_small_gradients_and_limits_large_ones() {
        assert_eq!((clip_factor(5.0, None), clip_factor(5.0, Some(10.0))), (1.0, 1.0));
        assert_eq!(clip_factor(5.0, Some(0.5)), 0.5 / 5.000001);
    }

    #[test]
    fn the_norm_is_that_of_all_gradients() {
        let one = |v: f64| Tensor::new(&[v], &Device::Cpu).unwrap();
        let grads = BTreeMap::from([("a".to_string(), one(3.0)), ("b".to_string(), one(4.0))]);
        assert_eq!(gradient_norm(&grads, 0).unwrap(), 5.0);
    }
}
