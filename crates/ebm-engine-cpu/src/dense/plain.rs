//! Safe loops that the kernels' tables compile again for each instruction set.
//!
//! Multiplications and additions are written apart and never fused, so all sets give the same bits.

/// Row-major rows of `width` into blocks; columns past `width` keep what they hold (zeros).
#[inline(always)]
pub(super) fn rows_in_k(x: &[f32], width: usize, stride: usize, to: &mut [f32]) {
    for (r, row) in x.chunks_exact(width).enumerate() {
        for (b, part) in row.chunks(16).enumerate() {
            let at = b * stride + r * 16;
            if let (Ok(part), Some(to)) = (<&[f32; 16]>::try_from(part), to.get_mut(at..at + 16)) {
                to.copy_from_slice(part);
            } else {
                to[at..at + part.len()].copy_from_slice(part);
            }
        }
    }
}

/// The inverse of [`rows_in`].
#[inline(always)]
pub(super) fn rows_out_k(from: &[f32], width: usize, stride: usize, x: &mut [f32]) {
    for (r, row) in x.chunks_exact_mut(width).enumerate() {
        for (b, part) in row.chunks_mut(16).enumerate() {
            let at = b * stride + r * 16;
            if part.len() == 16 {
                part.copy_from_slice(&from[at..at + 16]);
            } else {
                for (o, v) in part.iter_mut().zip(&from[at..]) {
                    *o = *v;
                }
            }
        }
    }
}

/// The update of one Langevin-like step; every operation is rounded on its own, in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    /// Factor of the gradient.
    pub step_size: f32,
    /// Largest move of one coordinate; infinite if there is no limit.
    pub limit: f32,
    /// Noise scale if the noise comes after the gradient.
    pub noise_after: Option<f32>,
    /// Range of the result; infinite if there is none.
    pub clamp: (f32, f32),
}

/// `x` held in `[lo, hi]`; NaN stays NaN.
#[inline(always)]
fn held(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

/// `x ← x + σ·ε`.
#[inline(always)]
pub(super) fn add_noise_k(x: &mut [f32], sigma: f32, noise: &[f32]) {
    for (x, n) in x.iter_mut().zip(noise) {
        *x += sigma * n;
    }
}

/// `d = λ·g`, held in `±limit`; `x ← x − d`, `+ σ·ε`, held in the range.
#[inline(always)]
pub(super) fn move_k(m: &Move, x: &mut [f32], g: &[f32], noise: &[f32]) {
    let (lo, hi) = m.clamp;
    if let Some(s) = m.noise_after {
        for ((x, g), n) in x.iter_mut().zip(g).zip(noise) {
            let d = held(m.step_size * g, -m.limit, m.limit);
            *x = held((*x - d) + s * n, lo, hi);
        }
    } else {
        for (x, g) in x.iter_mut().zip(g) {
            let d = held(m.step_size * g, -m.limit, m.limit);
            *x = held(*x - d, lo, hi);
        }
    }
}

/// Sum of squares in sixteen partial sums, combined in a fixed order.
#[inline(always)]
pub(super) fn square_sum_k(x: &[f32]) -> f64 {
    // Blocks of 256 in f32 lanes, their sums in f64: exact to about 1e-7 for any length.
    let mut total = 0f64;
    for block in x.chunks(256) {
        let mut lanes = [0f32; 16];
        for part in block.chunks(16) {
            for (s, v) in lanes.iter_mut().zip(part) {
                *s += v * v;
            }
        }
        total += lanes.iter().map(|v| f64::from(*v)).sum::<f64>();
    }
    total
}
