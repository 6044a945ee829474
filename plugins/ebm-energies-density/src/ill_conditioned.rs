//! `ill-conditioned-gaussian`: a normal density whose narrow directions lie across the axes.

use std::f64::consts::PI;
use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Role, Settings, plugin};

use crate::gaussian::{Spread, normal};

/// `E(x) = ½ xᵀ Qᵀ diag(1/v) Q x` with `v_k = κ^(−k/(D−1))`, `k = 0, …, D−1`, and `Q` the orthonormal
/// cosine transform `Q_kn = √(2/D) cos(π(n + ½)k/D)` (row 0 divided by √2); `E = −log p − ½ Σ log 2πv_k`.
///
/// No rescaling of coordinates makes it round, so a sampler needs about √κ steps of its largest stable
/// size to cross it. With 100 values and κ = 100 it is the usual hard Gaussian of sampler comparisons.
#[derive(Clone, Debug, Settings)]
pub struct IllConditionedGaussian {
    /// Ratio of the largest to the smallest variance.
    #[setting(default = 100.0, at_least = 1.0)]
    pub condition: f64,
}

#[plugin(
    "ill-conditioned-gaussian",
    summary = "a normal density with variances from 1 down to 1/condition, none along an axis",
    source = "textbook",
    example = "condition = 100.0"
)]
impl EnergyConfig for IllConditionedGaussian {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let d = cx.sample_len();
        let entry = |i: usize| {
            let (k, n) = ((i / d) as f64, (i % d) as f64);
            let norm = if i < d { 1.0 } else { 2.0 } / d as f64;
            let sd = self.condition.powf(-0.5 * k / (d.max(2) - 1) as f64);
            norm.sqrt() * (PI * (n + 0.5) * k / d as f64).cos() / sd
        };
        let whitening = (0..d * d).map(entry).collect();
        normal(cx, vec![0.0; d], Spread::Full(whitening), Role::Buffer, "ill-conditioned-gaussian")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::check_tests::{build, energy, log_density};

    #[test]
    fn one_value_is_a_standard_normal() {
        let e = build(&IllConditionedGaussian::default(), &[1]);
        assert_eq!(energy(&e, &[2.0]), 2.0);
    }

    #[test]
    fn the_normalisation_is_that_of_the_variances() {
        let e = build(&IllConditionedGaussian::default(), &[100]);
        // Σ log v_k = −log(100)·Σ k/99 = −50·log 100.
        let want = -50.0 * std::f64::consts::TAU.ln() + 25.0 * 100f64.ln();
        // A hundred pivots are rounded.
        assert!((log_density(&e, &[0.0; 100]) - want).abs() < 1e-12);
    }
}
