//! Fisher's exact test of two shares.

/// Sum of ln i for i up to n.
fn ln_factorial(n: u64) -> f64 {
    (2..=n).map(|i| (i as f64).ln()).sum()
}

/// Relative slack within which two tables count as equally likely: rounding of the sums of logarithms,
/// which stays below it for some thousand cases (the same slack as in R's and SciPy's).
const TIE: f64 = 1e-7;

/// Two-sided p-value of `hits` of `n` against `other_hits` of `other_n` (Fisher 1922): the probability, all
/// margins fixed, of every table that is at most as likely as the one seen. 1 if one group is empty.
///
/// Counts of hits above their group's size count as its size.
///
/// ```
/// let p = ebm_eval::fisher_exact((4, 6), (0, 6));
/// assert!((p - 2.0 / 33.0).abs() < 1e-12);
/// ```
pub fn fisher_exact((hits, n): (u64, u64), (other_hits, other_n): (u64, u64)) -> f64 {
    let (a, b) = (hits.min(n), other_hits.min(other_n));
    let hits = a + b;
    let choose = |n: u64, k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    // Hypergeometric: k of the hits fall into the first group.
    let all = choose(n + other_n, hits);
    let ln_p = |k: u64| choose(n, k) + choose(other_n, hits - k) - all;
    let seen = ln_p(a);
    let (least, most) = (hits.saturating_sub(other_n), hits.min(n));
    let p: f64 = (least..=most).map(ln_p).filter(|p| *p <= seen + TIE).map(f64::exp).sum();
    p.min(1.0)
}

/// One-sided p-value of at least `hits` of `n` against `other_hits` of `other_n`, all margins fixed.
#[cfg(any(test, feature = "linear-algebra"))]
pub(crate) fn fisher_upper((hits, n): (u64, u64), (other_hits, other_n): (u64, u64)) -> f64 {
    let all = hits + other_hits;
    let choose = |n: u64, k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let total = choose(n + other_n, all);
    (hits..=all.min(n)).map(|k| (choose(n, k) + choose(other_n, all - k) - total).exp()).sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.fisher_exact([[a, b], [c, d]]).pvalue`, SciPy 1.17.1.
    const SCIPY: [([u64; 4], f64); 10] = [
        ([4, 2, 0, 6], 0.060606060606060615),
        ([3, 7, 0, 10], 0.21052631578947367),
        ([10, 0, 0, 10], 1.082508822446903e-05),
        ([5, 5, 5, 5], 1.0),
        ([1, 9, 4, 6], 0.30340557275541796),
        ([8, 2, 1, 5], 0.034965034965034975),
        ([0, 3, 0, 3], 1.0),
        ([17, 3, 9, 11], 0.018701126042616593),
        ([2, 18, 11, 9], 0.005735673700078593),
        ([1, 24, 5, 2], 0.0005870720553701644),
    ];

    #[test]
    fn agrees_with_scipy() {
        for ([a, b, c, d], want) in SCIPY {
            let got = fisher_exact((a, a + b), (c, c + d));
            // Sums of fewer than a hundred logarithms in f64.
            assert!((got - want).abs() < 1e-11 * want, "{a} {b} {c} {d}: {got}, {want}");
            let turned = fisher_exact((c, c + d), (a, a + b));
            assert!((got - turned).abs() < 1e-11, "the groups may change places");
        }
    }

    #[test]
    fn one_side_adds_up_the_tables_from_the_one_seen() {
        assert!((fisher_upper((3, 4), (1, 4)) - 17.0 / 70.0).abs() < 1e-14, "Fisher's tea: 16 + 1 of 70");
        assert!((fisher_upper((0, 4), (2, 4)) - 1.0).abs() < 1e-14);
    }

    #[test]
    fn empty_groups_tell_nothing() {
        assert_eq!(fisher_exact((0, 0), (3, 5)), 1.0);
        assert_eq!(fisher_exact((0, 0), (0, 0)), 1.0);
    }
}
