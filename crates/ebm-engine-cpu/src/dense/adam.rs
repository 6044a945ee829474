//! One optimiser update over flat vectors: clip by the global norm, Adam, moving average.

use super::kernels::Kernels;
use super::plain::AdamNumbers;
use crate::simd::Isa;

/// Settings of one update (Kingma and Ba 2015; bias corrected, ε outside the root).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Number of this update, from 1.
    pub step: u64,
    /// Largest norm of the whole gradient; a larger one is scaled by `clip/(norm + 1e−6)`.
    pub clip: Option<f64>,
    /// Decay of the moving average: `e ← decay·e + (1 − decay)·θ`.
    pub decay: f64,
}

/// Updates `theta`, the moments `m`, `v` and the average `ema` in one pass after one pass for the
/// norm; returns the norm of `grad` before clipping. All slices have one length.
///
/// The moments see the clipped gradient; `ema` sees the new parameters.
pub fn adam_ema(
    s: &AdamStep,
    theta: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    ema: &mut [f32],
    grad: &[f32],
) -> f64 {
    let len = theta.len();
    assert!([m.len(), v.len(), ema.len(), grad.len()].iter().all(|l| *l == len), "adam: lengths differ");
    let k = Kernels::new(Isa::detect());
    let norm = k.square_sum(grad).sqrt();
    let factor = s.clip.map_or(1.0, |c| (c / (norm + 1e-6)).min(1.0));
    let t = s.step.max(1) as f64;
    let numbers = AdamNumbers {
        factor: factor as f32,
        beta1: s.beta1 as f32,
        keep1: (1.0 - s.beta1) as f32,
        beta2: s.beta2 as f32,
        keep2: (1.0 - s.beta2) as f32,
        rate: (s.rate / (1.0 - s.beta1.powf(t))) as f32,
        root2: (1.0 / (1.0 - s.beta2.powf(t)).sqrt()) as f32,
        epsilon: s.epsilon as f32,
        decay: s.decay as f32,
        keep: (1.0 - s.decay) as f32,
    };
    k.adam(&numbers, theta, m, v, ema, grad);
    norm
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Key;

    use super::*;

    #[test]
    fn ten_updates_agree_with_f64() {
        let n = 1003;
        let mut theta = vec![0f32; n];
        Key::root(1).fill_normal(0, &mut theta);
        let (mut m, mut v, mut ema) = (vec![0f32; n], vec![0f32; n], theta.clone());
        let wide = |x: &[f32]| x.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (mut t64, mut m64, mut v64, mut e64) = (wide(&theta), wide(&m), wide(&v), wide(&ema));
        for step in 1..=10u64 {
            let mut g = vec![0f32; n];
            Key::root(2).at(step).fill_normal(0, &mut g);
            let s = AdamStep {
                rate: 1e-2,
                beta1: if step % 2 == 0 { 0.0 } else { 0.9 },
                beta2: 0.9,
                epsilon: 1e-8,
                step,
                clip: (step != 3).then_some(0.5),
                decay: 0.99,
            };
            let norm = adam_ema(&s, &mut theta, &mut m, &mut v, &mut ema, &g);
            let g = wide(&g);
            let norm64 = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!((norm - norm64).abs() < 1e-6 * norm64, "{norm} {norm64}");
            let f = s.clip.map_or(1.0, |c| (c / (norm64 + 1e-6)).min(1.0));
            for i in 0..n {
                m64[i] = s.beta1 * m64[i] + (1.0 - s.beta1) * f * g[i];
                v64[i] = s.beta2 * v64[i] + (1.0 - s.beta2) * (f * g[i]).powi(2);
                let (mh, vh) =
                    (m64[i] / (1.0 - s.beta1.powi(step as i32)), v64[i] / (1.0 - s.beta2.powi(step as i32)));
                t64[i] -= s.rate * mh / (vh.sqrt() + s.epsilon);
                e64[i] = 0.99 * e64[i] + 0.01 * t64[i];
            }
        }
        for i in 0..n {
            // Ten roundings of numbers of order 1, and rate times the relative error of the ratio.
            assert!((f64::from(theta[i]) - t64[i]).abs() < 2e-6 * (1.0 + t64[i].abs()), "theta {i}");
            assert!((f64::from(ema[i]) - e64[i]).abs() < 2e-6 * (1.0 + e64[i].abs()), "ema {i}");
        }
    }

    #[test]
    fn the_first_update_without_momentum_is_the_sign() {
        let (mut t, g) = (vec![0f32; 3], [2.0f32, -0.5, 0.0]);
        let (mut m, mut v, mut e) = (vec![0f32; 3], vec![0f32; 3], vec![0f32; 3]);
        let s =
            AdamStep { rate: 0.1, beta1: 0.0, beta2: 0.9, epsilon: 1e-8, step: 1, clip: None, decay: 0.0 };
        adam_ema(&s, &mut t, &mut m, &mut v, &mut e, &g);
        // ε is eight digits below the root.
        assert!((t[0] + 0.1).abs() < 1e-7 && (t[1] - 0.1).abs() < 1e-7 && t[2] == 0.0);
        assert_eq!(t, e);
    }
}
