//! Unbiased MMD² of all rows from sums of kernels by row, with a standard error by leaving rows out.

use serde::Serialize;

use crate::numeric::dense::for_dots;
use crate::samples::Features;

/// An estimate with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub se: f64,
}

/// Takes the number of a row and its kernels with all rows of the other set.
type Visit<'a> = dyn FnMut(usize, &[f64]) + 'a;

/// Unbiased MMD² (Gretton et al. 2012, lemma 6) of two sets of at least two rows, with the standard error of the jackknife
/// over the rows of both (Arvesen 1969). For equal distributions, where the statistic is degenerate, the error comes out
/// too large by up to a factor of √2: conservative. NaN if a set has two rows only.
///
/// `kernel(a, b, visit)` calls `visit(i, row)` with the kernels of row i of `a` with all rows of `b`.
pub(crate) fn mmd_estimate(
    a: &Features,
    b: &Features,
    kernels: impl Fn(&Features, &Features, &mut Visit<'_>),
) -> Estimate {
    let (n, m) = (a.n() as f64, b.n() as f64);
    let within = |f: &Features| {
        let mut sums = Vec::with_capacity(f.n());
        kernels(f, f, &mut |i, row| sums.push(row.iter().sum::<f64>() - row[i]));
        sums
    };
    let (own_a, own_b) = (within(a), within(b));
    let (mut cross_a, mut cross_b) = (Vec::with_capacity(a.n()), vec![0.0; b.n()]);
    kernels(a, b, &mut |_, row| {
        cross_a.push(row.iter().sum::<f64>());
        cross_b.iter_mut().zip(row).for_each(|(s, k)| *s += k);
    });
    let (total_a, total_b) = (own_a.iter().sum::<f64>(), own_b.iter().sum::<f64>());
    let cross: f64 = cross_a.iter().sum();
    let (mean_a, mean_b) = (total_a / (n * (n - 1.0)), total_b / (m * (m - 1.0)));
    let value = mean_a + mean_b - 2.0 * cross / (n * m);
    // The statistic without one row, for each row of a set of n against another of m.
    let spread = |own: &[f64], crossed: &[f64], total: f64, other: f64, n: f64, m: f64| {
        let without: Vec<f64> = own
            .iter()
            .zip(crossed)
            .map(|(o, c)| {
                (total - 2.0 * o) / ((n - 1.0) * (n - 2.0)) + other - 2.0 * (cross - c) / ((n - 1.0) * m)
            })
            .collect();
        let mean = without.iter().sum::<f64>() / n;
        (n - 1.0) / n * without.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>()
    };
    let variance =
        spread(&own_a, &cross_a, total_a, mean_b, n, m) + spread(&own_b, &cross_b, total_b, mean_a, m, n);
    Estimate { value, se: variance.sqrt() }
}

/// Kernels of inner products.
pub(crate) fn of_dots(kernel: impl Fn(f64) -> f64) -> impl Fn(&Features, &Features, &mut Visit<'_>) {
    move |a, b, visit| {
        let mut row = vec![0.0; b.n()];
        for_dots(a, b, |i, dots| {
            row.iter_mut().zip(dots).for_each(|(r, d)| *r = kernel(*d));
            visit(i, &row);
        });
    }
}
