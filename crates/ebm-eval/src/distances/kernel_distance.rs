//! Kernel distance between two sets of features: MMD with a cubic kernel.

use crate::distances::two_sample::{Estimate, mmd_estimate, of_dots};
use crate::error::{EvalError, Result, at_least};
use crate::numeric::splitmix::SplitMix;
use crate::samples::{Features, same_width};

/// Unbiased MMD² with the kernel (x·y / d + 1)³ (Bińkowski et al. 2018, "KID" on Inception features), of all rows, with
/// its standard error (by the jackknife; up to √2 too large for equal distributions, NaN for two rows). Unlike the Fréchet
/// distance it has no bias from small sets, and so is often below 0 for sets of one distribution.
///
/// pytorch programs (torchmetrics, torch-fidelity, clean-fid) print the mean over 100 random subsets instead, which has
/// the same expectation, more noise, and ± the spread of the subsets: [`kernel_distance_subsets`]. `O((n + m)² d)`. Errs if
/// the widths differ or a set has fewer than two rows.
pub fn kernel_distance(a: &Features, b: &Features) -> Result<Estimate> {
    same_width(a, b)?;
    at_least("rows of the first features", a.n(), 2)?;
    at_least("rows of the second features", b.n(), 2)?;
    let d = a.d();
    Ok(mmd_estimate(a, b, of_dots(|dot| kernel(dot, d))))
}

/// Mean and standard deviation of [`kernel_distance`] over `subsets` pairs of subsets of `size` rows, drawn without
/// replacement from `seed` (the customary report: 100 subsets of 1,000). The standard deviation (divisor `subsets`) belongs
/// to the subsets drawn, not to the mean. Errs also if `size` is above either set or `subsets` is 0.
pub fn kernel_distance_subsets(
    a: &Features,
    b: &Features,
    size: usize,
    subsets: usize,
    seed: u64,
) -> Result<(f64, f64)> {
    same_width(a, b)?;
    at_least("subsets", subsets, 1)?;
    if size < 2 || size > a.n().min(b.n()) {
        let wanted = "at least 2 and at most the rows of either set";
        return Err(EvalError::Setting { what: "size of the subsets", found: size as f64, wanted });
    }
    let mut stream = SplitMix::new(seed);
    let mut found = Vec::with_capacity(subsets);
    for _ in 0..subsets {
        let x = chosen(a, size, &mut stream)?;
        found.push(kernel_distance(&x, &chosen(b, size, &mut stream)?)?.value);
    }
    let mean = found.iter().sum::<f64>() / subsets as f64;
    let variance = found.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / subsets as f64;
    Ok((mean, variance.sqrt()))
}

fn chosen(f: &Features, size: usize, stream: &mut SplitMix) -> Result<Features> {
    let order = stream.permutation(f.n());
    Features::new(order[..size].iter().flat_map(|&i| f.row(i).iter().copied()).collect(), size, f.d())
}

fn kernel(dot: f64, d: usize) -> f64 {
    let v = dot / d as f64 + 1.0;
    v * v * v
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, clouds};

    #[test]
    fn agrees_with_numpy() {
        // python tests/goldens.py kernel_distance
        let (a, b) = clouds();
        assert_close(kernel_distance(&a, &b).unwrap().value, GOLD, 1e-11);
        // All rows in another order are the same set.
        let (mean, sd) = kernel_distance_subsets(&b, &b, b.n(), 3, 1).unwrap();
        assert_close(mean, kernel_distance(&b, &b).unwrap().value, 1e-11);
        assert!(sd < 1e-11);
    }
    const GOLD: f64 = 9.591129833256426;

    #[test]
    fn subsets_scatter_around_the_whole() {
        let (a, b) = clouds();
        let (mean, sd) = kernel_distance_subsets(&a, &b, 20, 200, 2).unwrap();
        // Unbiased given the sets; 200 dependent subsets, five standard errors.
        assert!(
            (mean - kernel_distance(&a, &b).unwrap().value).abs() < 5.0 * sd / 200f64.sqrt(),
            "{mean} {sd}"
        );
        assert!(kernel_distance_subsets(&a, &b, 41, 2, 1).is_err());
        assert!(kernel_distance_subsets(&a, &b, 1, 2, 1).is_err());
        assert!(kernel_distance_subsets(&a, &b, 9, 0, 1).is_err());
    }

    #[test]
    fn errors_are_those_of_many_sets() {
        // Of shifted sets the error is right, of equal ones it is too large by at most √2; 300 rounds, a relative error of
        // 4 % for the spread.
        let mut r = SplitMix::new(4);
        for (shift, range) in [(1.0, 0.85..1.2), (0.0, 0.95..1.6)] {
            let (mut values, mut errors) = (Vec::new(), 0.0);
            for _ in 0..300 {
                let mut set = |n: usize, shift: f64| {
                    Features::new((0..3 * n).map(|_| shift + r.normal()).collect(), n, 3).unwrap()
                };
                let e = kernel_distance(&set(40, 0.0), &set(60, shift)).unwrap();
                values.push(e.value);
                errors += e.se * e.se / 300.0;
            }
            let mean = values.iter().sum::<f64>() / 300.0;
            let spread = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 299.0;
            let ratio = (errors / spread).sqrt();
            assert!(range.contains(&ratio), "{shift}: {ratio}");
            if shift == 0.0 {
                assert!(mean.abs() < 4.0 * (spread / 300.0).sqrt(), "unbiased: {mean}");
            }
        }
    }
}
