//! Exact sums over discrete samples: by every sample, or row by row of a lattice.

use serde::Serialize;

use crate::error::{EvalError, Result};

/// Most samples that are summed over one by one: some minutes at a million a second.
const MOST_SAMPLES: u64 = 1 << 28;

/// Log Z of a discrete energy by the sum over all samples, with exact moments of the energy; nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Enumerated {
    /// `log Σ exp(−E)`.
    pub log_z: f64,
    /// Mean of the energy under its law.
    pub mean_energy: f64,
    /// Variance of the energy under its law.
    pub variance_energy: f64,
}

/// Sums over all `states^sites` samples. `energies` gives the energies of those with numbers `first .. first + count`; site `i`
/// of sample `n` is in the state [`digit`]`(n, i, states)`. At most `block` are asked for at a time.
///
/// # Errors
/// If there are more than 2²⁸ samples or none, `energies` fails, or gives NaN or −∞.
pub fn enumerate<E: From<EvalError>>(
    sites: usize,
    states: usize,
    block: usize,
    mut energies: impl FnMut(u64, usize) -> std::result::Result<Vec<f64>, E>,
) -> std::result::Result<Enumerated, E> {
    let all = (states as u64).checked_pow(sites.min(u32::MAX as usize) as u32);
    let Some(all) = all.filter(|n| *n > 0 && *n <= MOST_SAMPLES) else {
        return Err(EvalError::Setting {
            what: "samples to sum over",
            found: (states as f64).powf(sites as f64),
            wanted: "1 to 2^28 in all: anneal, or sum over the rows of a lattice",
        }
        .into());
    };
    // Sums of w, w·d and w·d² with d = E − least and w = exp(−d), least the smallest energy so far.
    let (mut least, mut sums) = (f64::INFINITY, [0.0; 3]);
    let mut first = 0;
    while first < all {
        let count = (all - first).min(block.max(1) as u64) as usize;
        for e in energies(first, count)? {
            if e.is_nan() || e == f64::NEG_INFINITY {
                let wanted = "a number above -inf for every sample";
                return Err(EvalError::Setting { what: "energy", found: e, wanted }.into());
            }
            if e < least {
                let fall = if least.is_finite() { least - e } else { 0.0 };
                let [one, first, second] = sums;
                sums = [one, first + fall * one, second + fall * (2.0 * first + fall * one)];
                sums.iter_mut().for_each(|s| *s *= (-fall).exp());
                least = e;
            }
            let (d, w) = (e - least, (least - e).exp());
            if w > 0.0 {
                [0, 1, 2].into_iter().for_each(|k| sums[k] += w * d.powi(k as i32));
            }
        }
        first += count as u64;
    }
    let mean = sums[1] / sums[0];
    Ok(Enumerated {
        log_z: sums[0].ln() - least,
        mean_energy: least + mean,
        variance_energy: (sums[2] / sums[0] - mean * mean).max(0.0),
    })
}

/// The state of site `site` in sample number `sample`: the first site changes fastest.
pub fn digit(sample: u64, site: usize, states: usize) -> usize {
    let states = states.max(1) as u64;
    (sample / states.checked_pow(site as u32).unwrap_or(u64::MAX) % states) as usize
}

/// `log Σ exp(−E)` of a lattice of `rows` rows, each in one of `states` states, by the product of transfer matrices (Kramers and
/// Wannier 1941): `E = Σ_r inside(r, s_r) + Σ_r between(r, s_r, s_{r+1})`, the last row next to the first if it is
/// `periodic`. Time `rows · states²`, times `states` if periodic.
///
/// # Errors
/// If there are no rows or states, or more than 2¹² of the latter.
pub fn transfer_log_z(
    rows: usize,
    states: usize,
    periodic: bool,
    inside: impl Fn(usize, usize) -> f64,
    between: impl Fn(usize, usize, usize) -> f64,
) -> Result<f64> {
    if rows == 0 || states == 0 || states > 1 << 12 {
        let wanted = "1 to 4096, of at least one row";
        return Err(EvalError::Setting { what: "states of a row", found: states as f64, wanted });
    }
    let weight = |row: usize| -> Vec<f64> {
        (0..states * states).map(|i| (-between(row, i / states, i % states)).exp()).collect()
    };
    let own = |row: usize| -> Vec<f64> { (0..states).map(|s| (-inside(row, s)).exp()).collect() };
    let step = |v: &[f64], matrix: &[f64], own: &[f64]| -> Vec<f64> {
        let mut next = vec![0.0; states];
        for (v, row) in v.iter().zip(matrix.chunks(states)) {
            next.iter_mut().zip(row).for_each(|(n, w)| *n += v * w);
        }
        next.iter_mut().zip(own).for_each(|(n, w)| *n *= w);
        next
    };
    let matrices: Vec<Vec<f64>> = (0..rows - usize::from(!periodic)).map(weight).collect();
    let owns: Vec<Vec<f64>> = (0..rows).map(own).collect();
    // Log of the sum of a walk from `start` through all rows; the entries are kept near 1.
    let walk = |start: Vec<f64>| -> (Vec<f64>, f64) {
        let (mut v, mut log) = (start, 0.0);
        for row in 1..rows {
            v = step(&v, &matrices[row - 1], &owns[row]);
            let most = v.iter().fold(0.0, |m: f64, x| m.max(*x));
            if most > 0.0 {
                v.iter_mut().for_each(|x| *x /= most);
                log += most.ln();
            }
        }
        (v, log)
    };
    let logs: Vec<f64> = if periodic {
        let closed = |s: usize| {
            let mut start = vec![0.0; states];
            start[s] = owns[0][s];
            let (v, log) = walk(start);
            let back = matrices[rows - 1].iter().skip(s).step_by(states);
            v.iter().zip(back).map(|(v, w)| v * w).sum::<f64>().ln() + log
        };
        (0..states).map(closed).collect()
    } else {
        let (v, log) = walk(owns[0].clone());
        vec![v.iter().sum::<f64>().ln() + log]
    };
    let most = logs.iter().fold(f64::NEG_INFINITY, |m, l| m.max(*l));
    Ok(most + logs.iter().map(|l| (l - most).exp()).sum::<f64>().ln())
}

/// Energy for each spin of the infinite square lattice without a field at inverse temperature `beta`, coupling 1 (Onsager
/// 1944): `−coth(2β) (1 + 2/π (2 tanh²(2β) − 1) K(k))`, `k = 2 sinh(2β)/cosh²(2β)`, K by the arithmetic-geometric mean.
pub fn onsager_energy(beta: f64) -> f64 {
    let k = 2.0 * (2.0 * beta).sinh() / (2.0 * beta).cosh().powi(2);
    let (mut a, mut g) = (1.0, (1.0 - k * k).max(0.0).sqrt());
    // Quadratic convergence: twelve rounds are far more than doubles have digits.
    for _ in 0..12 {
        (a, g) = (0.5 * (a + g), (a * g).sqrt());
    }
    let first = std::f64::consts::FRAC_PI_2 / a;
    let t = (2.0 * beta).tanh();
    -(1.0 + std::f64::consts::FRAC_2_PI * (2.0 * t * t - 1.0) * first) / t
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::assert_close;

    fn spin(n: usize, i: usize) -> f64 {
        if n >> i & 1 == 1 { 1.0 } else { -1.0 }
    }

    /// Couplings within a row of `width` and to the next, each twice over where a side is 2.
    fn lattice(width: usize, j: f64) -> (impl Fn(usize, usize) -> f64, impl Fn(usize, usize, usize) -> f64) {
        let inside = move |_: usize, s: usize| {
            (0..width).map(|i| -j * spin(s, i) * spin(s, (i + 1) % width)).sum::<f64>()
        };
        let between =
            move |_: usize, s: usize, t: usize| (0..width).map(|i| -j * spin(s, i) * spin(t, i)).sum::<f64>();
        (inside, between)
    }

    /// Numbers of another program (sums in double precision).
    #[test]
    fn the_transfer_matrix_of_a_lattice_gives_the_golden_numbers_and_the_sum_over_all() {
        for (j, want) in [(0.3, 12.78552332571368), ((1.0 + 2f64.sqrt()).ln() / 2.0, 15.521915458755283)] {
            let (inside, between) = lattice(4, j);
            assert_close(transfer_log_z(4, 16, true, &inside, &between).unwrap(), want, 1e-12);
            let rows = |n: u64| -> Vec<usize> { (0..4).map(|r| (n >> (4 * r) & 15) as usize).collect() };
            let energy = |n: u64| {
                let s = rows(n);
                (0..4).map(|r| inside(r, s[r]) + between(r, s[r], s[(r + 1) % 4])).sum::<f64>()
            };
            let all = enumerate(16, 2, 1000, |first, count| {
                Ok::<_, EvalError>((first..first + count as u64).map(energy).collect())
            });
            let all = all.unwrap();
            assert_close(all.log_z, want, 1e-12);
            if j == 0.3 {
                assert_close(all.mean_energy, -4.051459553394473, 1e-11);
                assert_close(all.variance_energy, 7.055882457225071, 1e-10);
            }
        }
    }

    #[test]
    fn open_rows_are_a_chain_and_long_lattices_reach_onsagers_energy() {
        // An open chain of n spins: 2 (2 cosh J)^(n − 1).
        let want = 2f64.ln() + 9.0 * (2.0 * 0.7f64.cosh()).ln();
        let between = |_: usize, s: usize, t: usize| -0.7 * spin(s, 0) * spin(t, 0);
        assert_close(transfer_log_z(10, 2, false, |_, _| 0.0, between).unwrap(), want, 1e-13);
        // The derivative of log Z in β is −E. A ring of 8 columns differs from the plane by loops around it, of weight
        // tanh(0.15)^8 = 2e-7 each, of which there are some dozens a site.
        let at = |beta: f64| {
            let (inside, between) = lattice(8, beta);
            transfer_log_z(40, 256, false, inside, between).unwrap()
        };
        let (h, more) = (1e-4, |beta: f64| {
            let (inside, between) = lattice(8, beta);
            transfer_log_z(20, 256, false, inside, between).unwrap()
        });
        let slope = |f: &dyn Fn(f64) -> f64| (f(0.15 + h) - f(0.15 - h)) / (2.0 * h);
        // The difference of two lengths has no ends.
        let energy = -(slope(&at) - slope(&more)) / (20.0 * 8.0);
        assert_close(energy, onsager_energy(0.15), 1e-4);
    }

    #[test]
    fn onsagers_energy_at_temperatures_of_another_program() {
        for (beta, want) in [(0.2, -0.428229), (0.35, -0.879806), (0.5, -1.745565), (0.6, -1.909086)] {
            assert_close(onsager_energy(beta), want, 1e-6);
        }
    }

    #[test]
    fn too_many_samples_and_energies_that_are_none_are_refused() {
        let e = |_: u64, count: usize| Ok::<_, EvalError>(vec![0.0; count]);
        assert!(enumerate(40, 2, 10, e).unwrap_err().to_string().contains("2^28"));
        let nan = |_: u64, count: usize| Ok::<_, EvalError>(vec![f64::NAN; count]);
        assert!(enumerate(2, 2, 10, nan).is_err());
        // Potts: three sites of three states without energy.
        assert_close(enumerate(3, 3, 7, e).unwrap().log_z, 3.0 * 3f64.ln(), 1e-14);
        assert_eq!((0..3).map(|i| digit(5, i, 3)).collect::<Vec<_>>(), [2, 1, 0]);
    }
}
