//! Effective sample size of several chains: how many independent draws they are worth.

use serde::Serialize;

use crate::chains::autocorrelation::{centred, lagged};
use crate::chains::{Split, Traces};
use crate::numeric::quantile::quantile;

/// Effective sample size for the mean: split chains, combined autocorrelations cut by Geyer's initial positive and
/// monotone sequences (Geyer 1992; Gelman et al. 2013, section 11.5; the algorithm of Stan and ArviZ).
///
/// More than the number of draws for antithetic chains, at most draws times log10(draws). NaN if all draws are equal
/// (a stuck sampler has no effective draws, nor evidence of any; ArviZ says as many as there are draws).
pub fn ess_mean(chains: Traces<'_>) -> f64 {
    ess(&chains.split(|v| v))
}

/// Effective sample size of the rank-normalised draws, "bulk-ESS" (Vehtari et al. 2021): the one to report, finite
/// moments or not. At least 400 over four chains is their advice.
pub fn ess_bulk(chains: Traces<'_>) -> f64 {
    ess(&chains.split(|v| v).rank_normalised())
}

/// Quantiles whose effective sample sizes make [`ess_tail`]: those of Vehtari et al. 2021, Stan and ArviZ before 1.0;
/// ArviZ 1.3 takes 11 % and 89 % instead, and so prints other numbers for the same draws.
pub const TAILS: (f64, f64) = (0.05, 0.95);

/// Effective sample size for the quantiles of [`TAILS`], the smaller one, "tail-ESS" (Vehtari et al. 2021).
pub fn ess_tail(chains: Traces<'_>) -> f64 {
    // f64::min ignores the NaN of an indicator that never changes (few distinct values).
    ess_quantile(chains, TAILS.0).min(ess_quantile(chains, TAILS.1))
}

/// Effective sample size for the quantile `q` in [0, 1]: that of the indicator of draws at or below it (Vehtari et al.
/// 2021, section 4.3). NaN if the indicator never changes.
pub fn ess_quantile(chains: Traces<'_>, q: f64) -> f64 {
    let level = quantile(&mut chains.data().to_vec(), q);
    ess(&chains.split(|v| f64::from(u8::from(v <= level))))
}

/// Monte Carlo standard error of the mean of all draws, sd / √ESS.
pub fn mcse_mean(chains: Traces<'_>) -> f64 {
    let c = centred(chains.data());
    let n = c.len() as f64;
    (lagged(&c, 0) * n / (n - 1.0) / ess_mean(chains)).sqrt()
}

/// The diagnostics of one scalar in one value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChainSummary {
    /// Mean of all draws.
    pub mean: f64,
    /// Its Monte Carlo standard error, [`mcse_mean`].
    pub mcse: f64,
    /// [`ess_bulk`].
    pub ess_bulk: f64,
    /// [`ess_tail`].
    pub ess_tail: f64,
    /// [`crate::rhat_rank`].
    pub rhat: f64,
}

/// Mean, error, ESS and R-hat of one scalar.
pub fn summarise(chains: Traces<'_>) -> ChainSummary {
    ChainSummary {
        mean: chains.data().iter().sum::<f64>() / chains.data().len() as f64,
        mcse: mcse_mean(chains),
        ess_bulk: ess_bulk(chains),
        ess_tail: ess_tail(chains),
        rhat: crate::chains::rhat::rhat_rank(chains),
    }
}

/// ESS of chains as they are. Lags are summed only as far as Geyer's sequence reaches.
fn ess(split: &Split) -> f64 {
    let (n, m) = (split.n, split.data.len() / split.n);
    let (low, high) =
        split.data.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    if high <= low {
        return f64::NAN;
    }
    let chains: Vec<Vec<f64>> = split.chains().map(centred).collect();
    let covariance = |lag: usize| chains.iter().map(|c| lagged(c, lag)).sum::<f64>() / m as f64;
    let within = covariance(0) * n as f64 / (n as f64 - 1.0);
    let mut total = covariance(0);
    if m > 1 {
        let means: Vec<f64> = split.chains().map(|c| c.iter().sum::<f64>() / n as f64).collect();
        let c = centred(&means);
        total += lagged(&c, 0) * m as f64 / (m as f64 - 1.0);
    }
    let correlation = |lag: usize| 1.0 - (within - covariance(lag)) / total;

    // Initial positive sequence: pairs (even, odd) of lags while their sum stays positive.
    let mut rho = vec![0.0; n];
    let (mut even, mut odd) = (1.0, correlation(1));
    rho[0] = even;
    rho[1] = odd;
    let mut t = 1;
    while t + 3 < n && even + odd > 0.0 {
        even = correlation(t + 1);
        odd = correlation(t + 2);
        if even + odd >= 0.0 {
            rho[t + 1] = even;
            rho[t + 2] = odd;
        }
        t += 2;
    }
    // The first even lag past the sequence improves antithetic chains.
    let end = t - 1;
    if even > 0.0 {
        rho[end] = even;
    }
    // Initial monotone sequence: no pair above its predecessor.
    for t in (1..).step_by(2).take_while(|t| t + 3 <= end) {
        let before = rho[t - 1] + rho[t];
        if rho[t + 1] + rho[t + 2] > before {
            rho[t + 1] = before / 2.0;
            rho[t + 2] = before / 2.0;
        }
    }
    let size = (m * n) as f64;
    let time = -1.0 + 2.0 * rho[..end].iter().sum::<f64>() + rho[end];
    size / time.max(1.0 / size.log10())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, autoregression};

    #[test]
    fn agrees_with_arviz() {
        // python tests/goldens.py chains
        for ((seed, m, n, phi), gold) in CASES.into_iter().zip(GOLD) {
            let x = autoregression(seed, m, n, phi);
            let c = Traces::new(&x, m, n).unwrap();
            let found = [ess_mean(c), ess_bulk(c), ess_tail(c), mcse_mean(c)];
            // ArviZ sums by FFT: correlations differ by 1e-16, ESS by that times the number of draws.
            found.iter().zip(gold).for_each(|(f, w)| assert_close(*f, w, 1e-9));
        }
    }
    const CASES: [(u64, usize, usize, f64); 5] =
        [(41, 4, 100, 0.5), (42, 1, 101, 0.9), (43, 3, 300, -0.3), (44, 2, 8, 0.0), (45, 4, 250, 0.97)];
    const GOLD: [[f64; 4]; 5] = [
        [101.91144955108292, 100.66736208074529, 128.4461289997855, 0.11456939009948328],
        [2.0839452045612563, 1.8865308326139032, 11.999835430828382, 1.2457619828869884],
        [1656.989389690178, 1669.5275301923427, 921.3417492310757, 0.024854840453050444],
        [19.265919722494797, 19.265919722494797, 19.265919722494797, 0.2124059922879967],
        [11.964231208320324, 12.48444968016942, 68.21713034531393, 1.1402752361172321],
    ];

    #[test]
    fn tails_at_other_quantiles_agree_with_arviz() {
        // python scripts/make-eval-goldens.py tails
        for ((seed, m, n, phi), gold) in CASES.into_iter().zip(TAIL_GOLD) {
            let x = autoregression(seed, m, n, phi);
            let c = Traces::new(&x, m, n).unwrap();
            assert_close(ess_quantile(c, 0.11).min(ess_quantile(c, 0.89)), gold, 1e-9);
        }
    }
    const TAIL_GOLD: [f64; 5] =
        [126.01926582972627, 7.224996009049828, 1100.7941097923047, 19.265919722494797, 21.10797391206266];

    #[test]
    fn an_autoregression_has_its_theoretical_size() {
        for phi in [-0.5, 0.0, 0.5, 0.8] {
            let x = autoregression(51, 4, 2000, phi);
            let c = Traces::new(&x, 4, 2000).unwrap();
            let wanted = 8000.0 * (1.0 - phi) / (1.0 + phi);
            // The estimate's own sd is below 7 % here (some 2 sqrt(W / N) with a window W of tens of lags).
            for (name, found) in [("mean", ess_mean(c)), ("bulk", ess_bulk(c))] {
                assert!((found / wanted - 1.0).abs() < 0.2, "{name} {phi}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn ranks_do_not_see_monotone_maps_and_stuck_chains_have_no_size() {
        let x = autoregression(52, 2, 200, 0.3);
        let y: Vec<f64> = x.iter().map(|v| v.exp()).collect();
        assert_eq!(ess_bulk(Traces::new(&x, 2, 200).unwrap()), ess_bulk(Traces::new(&y, 2, 200).unwrap()));
        let stuck = Traces::new(&[3.0; 16], 2, 8).unwrap();
        assert!(ess_mean(stuck).is_nan() && ess_bulk(stuck).is_nan() && ess_tail(stuck).is_nan());
    }
}
