//! R-hat: whether several chains tell the same story.

use crate::chains::{Split, Traces};
use crate::numeric::quantile::quantile;

/// Split R-hat, √((B/W + n - 1)/n) over the halves of all chains (Gelman et al. 2013, section 11.4); 1 for chains
/// that agree, above about 1.01 for chains that do not. Sees only means.
///
/// Infinite if no half varies and they stand at different places; NaN if all draws are equal, which tells nothing. Of
/// one chain it compares the two halves only, and cannot see what a second chain would have found (ArviZ 1.3 gives NaN
/// there).
pub fn rhat(chains: Traces<'_>) -> f64 {
    ratio(&chains.split(|v| v))
}

/// Rank-normalised split R-hat, the larger of that of the draws and of their distances from the median
/// (Vehtari et al. 2021): sees also unequal spreads and works without moments. Below 1.01 is their advice. Constant
/// and single chains as in [`rhat`].
pub fn rhat_rank(chains: Traces<'_>) -> f64 {
    let split = chains.split(|v| v);
    // The median is that of the split draws, as the ranks are.
    let median = quantile(&mut split.data.clone(), 0.5);
    let folded = chains.split(|v| (v - median).abs());
    let (bulk, tail) = (ratio(&split.rank_normalised()), ratio(&folded.rank_normalised()));
    // Distances from the median may all be equal where draws are not (two values): then the ranks alone decide.
    if bulk.is_nan() || tail.is_nan() { bulk } else { bulk.max(tail) }
}

fn ratio(split: &Split) -> f64 {
    let constant = |c: &[f64]| c.iter().all(|v| *v == c[0]);
    // By comparison: the variance of equal draws is a residue of rounding, not 0.
    if split.chains().all(constant) {
        return if constant(&split.data) { f64::NAN } else { f64::INFINITY };
    }
    let n = split.n as f64;
    let means: Vec<f64> = split.chains().map(|c| c.iter().sum::<f64>() / n).collect();
    let variances = split.chains().zip(&means).map(|(c, m)| spread(c, *m));
    let within = variances.sum::<f64>() / means.len() as f64;
    let between = n * spread(&means, means.iter().sum::<f64>() / means.len() as f64);
    ((between / within + n - 1.0) / n).sqrt()
}

/// Variance with the divisor `n - 1`.
fn spread(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (values.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, autoregression};

    fn both(x: &[f64], m: usize) -> [f64; 2] {
        let c = Traces::new(x, m, x.len() / m).unwrap();
        [rhat(c), rhat_rank(c)]
    }

    /// Three sets of four chains: alike, one shifted, one of three times the spread.
    fn sets() -> [Vec<f64>; 3] {
        let x = autoregression(61, 4, 120, 0.4);
        let change =
            |f: fn(f64) -> f64| x.iter().enumerate().map(|(i, v)| if i < 120 { f(*v) } else { *v }).collect();
        [x.clone(), change(|v| v + 2.0), change(|v| 3.0 * v)]
    }

    #[test]
    fn agrees_with_arviz() {
        // python tests/goldens.py rhat
        for (x, gold) in sets().iter().zip(GOLD) {
            both(x, 4).iter().zip(gold).for_each(|(f, w)| assert_close(*f, w, 1e-12));
        }
    }
    const GOLD: [[f64; 2]; 3] = [
        [1.0148262851239471, 1.0138243992042868],
        [1.4148278444478852, 1.353775568245486],
        [1.0203640133597511, 1.1434069053330875],
    ];

    #[test]
    fn each_version_sees_what_it_should() {
        let [alike, shifted, wide] = sets().map(|x| both(&x, 4));
        assert!(alike[0] < 1.05 && alike[1] < 1.05, "{alike:?}");
        assert!(shifted[0] > 1.2 && shifted[1] > 1.2, "{shifted:?}");
        assert!(wide[0] < 1.05 && wide[1] > 1.1, "only folded ranks see spread: {wide:?}");
        // One chain that drifts disagrees with its own other half.
        let drift: Vec<f64> = (0..40).map(f64::from).collect();
        assert!(both(&drift, 1)[0] > 2.0);
    }

    #[test]
    fn constant_chains_are_infinitely_far_apart_or_tell_nothing() {
        assert!(both(&[1.0; 16], 2).iter().all(|r| r.is_nan()));
        // 0.1 and 0.3 have means that are off by a rounding.
        for places in [[0.0, 1.0, 2.0, 3.0], [0.1, 0.1, 0.3, 0.3], [1e8, 1e8, 1e8, 1e8 + 1.0]] {
            let frozen: Vec<f64> = places.iter().flat_map(|v| [*v; 100]).collect();
            assert_eq!(both(&frozen, 4), [f64::INFINITY; 2], "{places:?}");
        }
        // One chain that jumps once, at its middle, and never again.
        let jump: Vec<f64> = (0..40).map(|i| f64::from(u8::from(i >= 20))).collect();
        assert_eq!(both(&jump, 1), [f64::INFINITY; 2]);
        // One of two frozen chains is enough for a finite figure.
        let half: Vec<f64> = (0..40).map(|i| if i < 20 { 0.0 } else { f64::from(i % 3) }).collect();
        assert!(both(&half, 2).iter().all(|r| r.is_finite()));
        // Two values at equal distances from the median: folded draws are constant, the others are not.
        let signs: Vec<f64> = (0..40).map(|i| if i * 7 % 5 < 2 || i == 0 { -1.0 } else { 1.0 }).collect();
        assert!(both(&signs, 2)[1].is_finite(), "{:?}", both(&signs, 2));
    }
}
