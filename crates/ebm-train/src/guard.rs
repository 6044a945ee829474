//! Refuses numbers that are not finite before they reach the state, and limits the gradient's norm.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Error, Result};

use crate::numbers::{first_bad, squares};

/// Checks that every entry of `t` is finite.
///
/// # Errors
/// [`Error::Numeric`] naming `what`, the step, and the first bad entry.
pub(crate) fn finite(what: &str, t: &Tensor, step: u64) -> Result<()> {
    match first_bad(t)? {
        None => Ok(()),
        Some((index, value)) => {
            let place = place(index, t.dims());
            let message = format!("entry {place} is {value}; lower the learning rate or the step size");
            Err(Error::numeric(what, step, message))
        }
    }
}

/// A flat index as `[i, j, ...]`.
fn place(mut flat: usize, dims: &[usize]) -> String {
    let mut at = vec![0; dims.len()];
    for (i, d) in dims.iter().enumerate().rev() {
        at[i] = flat % d.max(&1);
        flat /= d.max(&1);
    }
    format!("{at:?}")
}

/// Checks all gradients and returns their common norm.
///
/// # Errors
/// [`Error::Numeric`] naming the parameter and the first bad entry.
pub(crate) fn gradient_norm(grads: &BTreeMap<String, Tensor>, step: u64) -> Result<f64> {
    let mut sum = 0.0;
    for (name, g) in grads {
        let s = squares(g)?;
        if !s.is_finite() {
            finite(&format!("gradient of {name}"), g, step)?;
        }
        sum += s;
    }
    let norm = f64::sqrt(sum);
    if norm.is_finite() {
        return Ok(norm);
    }
    Err(Error::numeric(
        "gradient",
        step,
        format!("its norm is {norm}; lower the learning rate or the step size"),
    ))
}

/// Scales gradients of global norm `norm` down to `limit`: factor `min(1, limit/(norm + 1e-6))`
/// (PyTorch's `clip_grad_norm_`; Du et al. 2021, published program).
///
/// # Errors
/// If an operation fails.
pub(crate) fn clip(grads: &mut BTreeMap<String, Tensor>, norm: f64, limit: f64) -> Result<()> {
    let factor = limit / (norm + 1e-6);
    if factor < 1.0 {
        for g in grads.values_mut() {
            *g = g.affine(factor, 0.0)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Device;

    use super::*;

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
        let mut grads = BTreeMap::from([
            ("a".to_string(), Tensor::new(&[3f64], &Device::Cpu).unwrap()),
            ("b".to_string(), Tensor::new(&[4f64], &Device::Cpu).unwrap()),
        ]);
        let norm = gradient_norm(&grads, 0).unwrap();
        assert_eq!(norm, 5.0);
        clip(&mut grads, norm, 10.0).unwrap();
        assert_eq!(grads["a"].to_vec1::<f64>().unwrap(), [3.0]);
        clip(&mut grads, norm, 0.5).unwrap();
        // factor = 0.5/(5 + 1e-6)
        assert!((grads["b"].to_vec1::<f64>().unwrap()[0] - 4.0 * 0.5 / 5.000001).abs() < 1e-15);
    }
}
