//! R-hat: whether several chains tell the same story.

use crate::chains::{Chains, Split};
use crate::dense::quantile;

/// Split R-hat, √((B/W + n - 1)/n) over the halves of all chains (Gelman et al. 2013, section 11.4); 1 for chains
/// that agree, above about 1.01 for chains that do not. Sees only means. NaN if no half varies.
pub fn rhat(chains: Chains<'_>) -> f64 {
    ratio(&chains.split(|v| v))
}

/// Rank-normalised split R-hat, the larger of that of the draws and of their distances from the median
/// (Vehtari et al. 2021): sees also unequal spreads and works without moments. Below 1.01 is their advice.
pub fn rhat_rank(chains: Chains<'_>) -> f64 {
    let split = chains.split(|v| v);
    // The median is that of the split draws, as the ranks are.
    let median = quantile(&mut split.data.clone(), 0.5);
    let folded = chains.split(|v| (v - median).abs());
    let (bulk, tail) = (ratio(&split.rank_normalised()), ratio(&folded.rank_normalised()));
    // Not f64::max, which would hide a NaN.
    if bulk.is_nan() || tail < bulk { bulk } else { tail }
}

fn ratio(split: &Split) -> f64 {
    let n = split.n as f64;
    let means: Vec<f64> = split.chains().map(|c| c.iter().sum::<f64>() / n).collect();
    let variances = split.chains().zip(&means).map(|(c, m)| spread(c, *m));
    let within = variances.sum::<f64>() / means.len() as f64;
    let between = n * spread(&means, means.iter().sum::<f64>() / means.len() as f64);
    if within == 0.0 {
        return f64::NAN;
    }
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
    use crate::goldens::{assert_close, autoregression};

    fn both(x: &[f64], m: usize) -> [f64; 2] {
        let c = Chains::new(x, m, x.len() / m).unwrap();
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
        assert!(both(&[1.0; 16], 2)[0].is_nan() && both(&[1.0; 16], 2)[1].is_nan());
    }
}
