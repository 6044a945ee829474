//! Inputs of the stored figures, by formula, so that `tests/goldens.py` and the tests here build the same numbers.

use crate::numeric::splitmix::splitmix64;

/// Value `i` is the top 23 bits of `splitmix64(seed 10^6 + i)`, over 2^23: exact in f32, also when halved and added.
pub(crate) fn uniforms(seed: u64, n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| (splitmix64(seed * 1_000_000 + i) >> 41) as f32 / 8_388_608.0).collect()
}

/// `n` images of `d` values around ten fixed patterns, image `i` around pattern `i % 10`: (1 - spread) p + spread u.
#[cfg(feature = "linear-algebra")]
pub(crate) fn images(seed: u64, n: usize, d: usize, spread: f32) -> Vec<f32> {
    let (u, p) = (uniforms(seed, n * d), uniforms(99, 10 * d));
    u.iter()
        .enumerate()
        .map(|(i, v)| {
            let exact = f64::from(1.0 - spread) * f64::from(p[i / d % 10 * d + i % d])
                + f64::from(spread) * f64::from(*v);
            exact as f32
        })
        .collect()
}

/// Labels of [`images`].
#[cfg(feature = "linear-algebra")]
pub(crate) fn labels(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| i % 10).collect()
}

/// Asserts |found - wanted| <= tolerance (1 + |wanted|).
#[track_caller]
pub(crate) fn assert_close(found: f64, wanted: f64, tolerance: f64) {
    assert!((found - wanted).abs() <= tolerance * (1.0 + wanted.abs()), "found {found:?}, wanted {wanted:?}");
}
/// Sums of twelve uniforms minus 6: close to normal, and exact in f64 in any language.
pub(crate) fn normals(seed: u64, n: usize) -> Vec<f64> {
    uniforms(seed, 12 * n)
        .chunks_exact(12)
        .map(|c| c.iter().map(|&v| f64::from(v)).sum::<f64>() - 6.0)
        .collect()
}

/// Chains `(m, n)` of the recursion x_t = φ x_{t-1} + e_t, x_0 = e_0, with e from [`normals`].
pub(crate) fn autoregression(seed: u64, m: usize, n: usize, phi: f64) -> Vec<f64> {
    let mut x = normals(seed, m * n);
    for t in 0..m * n {
        if t % n != 0 {
            x[t] += phi * x[t - 1];
        }
    }
    x
}

/// Scores of 70 positives around 1 and 50 negatives around 0; with `levels` > 0 rounded down to that many steps a
/// unit, which makes ties.
pub(crate) fn scores(levels: f64) -> (Vec<f64>, Vec<f64>) {
    let coarse = |v: f64| if levels > 0.0 { (v * levels).floor() / levels } else { v };
    let p = normals(71, 70).into_iter().map(|v| coarse(v + 1.0)).collect();
    (p, normals(72, 50).into_iter().map(coarse).collect())
}

/// Two clouds in four dimensions: 60 "real" rows, 40 "drawn" rows that are shifted by 1 and three quarters as wide.
pub(crate) fn clouds() -> (crate::Features, crate::Features) {
    let b = normals(82, 160).into_iter().map(|v| 0.75 * v + 1.0).collect();
    #[expect(clippy::unwrap_used, reason = "fixed shapes of test inputs")]
    let both =
        (crate::Features::new(normals(81, 240), 60, 4).unwrap(), crate::Features::new(b, 40, 4).unwrap());
    both
}
