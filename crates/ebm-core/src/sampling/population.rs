//! Populations of weighted chains, as sequential Monte Carlo has them: how many of them count, and which go on.

use crate::Key;

/// Weights by their logarithms, the largest 1; one that is no number counts as 0.
fn weights(logs: &[f64]) -> impl Iterator<Item = f64> + '_ {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logs.iter().map(move |l| (l - top).exp()).map(|w| if w.is_finite() { w } else { 0.0 })
}

/// Effective share of weights by their logarithms (Kong 1992), in [0, 1]: 1 if all are equal, 0 if none is above 0.
///
/// ```
/// assert_eq!(ebm_core::effective_share(&[0.0, 0.0, f64::NEG_INFINITY, f64::NAN]), 0.5);
/// ```
pub fn effective_share(logs: &[f64]) -> f64 {
    let (sum, squares) = weights(logs).fold((0.0, 0.0), |(s, q), w| (s + w, q + w * w));
    if squares > 0.0 { sum * sum / squares / logs.len() as f64 } else { 0.0 }
}

/// Which member of a population stands at each place after systematic resampling by weights in logarithms (Carpenter, Clifford, Fearnhead
/// 1999): each as often as its share of the places says, to one, and in order. All stay where no weight is above 0.
pub fn systematic(logs: &[f64], key: Key) -> Vec<usize> {
    let (n, total) = (logs.len(), weights(logs).sum::<f64>());
    if total <= 0.0 {
        return (0..n).collect();
    }
    let (u, mut running, mut taken) = (key.uniform_at(0), 0.0, Vec::with_capacity(n));
    // The last that counts takes what a rounding of the sum would leave.
    let last = weights(logs).enumerate().filter(|(_, w)| *w > 0.0).map(|(member, _)| member).last();
    for (member, w) in weights(logs).enumerate() {
        running += w / total * n as f64;
        while taken.len() < n && (taken.len() as f64 + u < running || Some(member) == last) {
            taken.push(member);
        }
    }
    taken
}

/// How far a population may go in one step of a path on which the logarithm of a weight grows by a rate times the way: the largest `way` up to
/// `most` after which the effective share is still `effective`, which falls with the way; `share(way)` says it. Never 0: a step that
/// leaves less is made where even the shortest would.
///
/// ```
/// // Two chains, one of which gains a nat a unit of the way.
/// let share = |way: f64| ebm_core::effective_share(&[0.0, way]);
/// let way = ebm_core::furthest(10.0, 0.8, share);
/// assert!((share(way) - 0.8).abs() < 1e-9 && ebm_core::furthest(0.1, 0.8, share) == 0.1);
/// ```
pub fn furthest(most: f64, effective: f64, share: impl Fn(f64) -> f64) -> f64 {
    if share(most) >= effective {
        return most;
    }
    let (mut low, mut high) = (0.0, most);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if share(middle) < effective { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resampling_keeps_shares_and_what_is_no_number_dies_out() {
        let logs = [f64::NEG_INFINITY, 0.0, 0.0, f64::NAN];
        assert!((effective_share(&logs) - 0.5).abs() < 1e-15);
        for key in 0..20 {
            assert_eq!(systematic(&logs, Key::root(key)), [1, 1, 2, 2]);
        }
        assert_eq!(systematic(&[f64::NAN; 3], Key::root(0)), [0, 1, 2]);
    }

    /// Each member's copies are its share in expectation, and never off by one or more.
    #[test]
    fn copies_are_unbiased() {
        let shares = [0.05, 0.45, 0.3, 0.2];
        let logs = shares.map(f64::ln);
        let mut counts = [0.0; 4];
        for key in 0..4000 {
            let taken = systematic(&logs, Key::root(key));
            for (i, share) in shares.iter().enumerate() {
                let copies = taken.iter().filter(|t| **t == i).count() as f64;
                assert!((copies - 4.0 * share).abs() < 1.0, "{taken:?}");
                counts[i] += copies / 4000.0;
            }
        }
        for (count, share) in counts.iter().zip(shares) {
            // A count is one of two neighbours, of variance ¼ at most: four errors of 4,000.
            assert!((count - 4.0 * share).abs() < 4.0 * 0.5 / 4000f64.sqrt(), "{counts:?}");
        }
    }
}
