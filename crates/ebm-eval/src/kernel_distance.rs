//! Kernel distance between two sets of features: MMD with a cubic kernel.

use crate::dense::for_dots;
use crate::error::{EvalError, Result, at_least};
use crate::samples::{Features, same_width};
use crate::splitmix::SplitMix;

/// Unbiased MMD² with the kernel (x·y / d + 1)³ (Bińkowski et al. 2018, "KID" on Inception features). Unlike the
/// Fréchet distance it has no bias from small sets. Errs if the widths differ or a set has fewer than two rows.
pub fn kernel_distance(a: &Features, b: &Features) -> Result<f64> {
    same_width(a, b)?;
    at_least("rows of the first features", a.n(), 2)?;
    at_least("rows of the second features", b.n(), 2)?;
    let mut cross = 0.0;
    for_dots(a, b, |_, dots| cross += dots.iter().map(|v| kernel(*v, a.d())).sum::<f64>());
    Ok(within(a) + within(b) - 2.0 * cross / (a.n() * b.n()) as f64)
}

/// Mean and standard deviation of [`kernel_distance`] over `subsets` pairs of subsets of `size` rows, drawn without
/// replacement from `seed` (the customary report: 100 subsets of 1,000). The standard deviation belongs to the
/// subsets drawn, not to the mean. Errs also if `size` is above either set or `subsets` is 0.
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
        found.push(kernel_distance(&x, &chosen(b, size, &mut stream)?)?);
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

/// Mean kernel over the pairs of different rows of one set.
fn within(a: &Features) -> f64 {
    let mut sum = 0.0;
    for_dots(a, a, |i, dots| sum += dots[..i].iter().map(|v| kernel(*v, a.d())).sum::<f64>());
    2.0 * sum / (a.n() * (a.n() - 1)) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::goldens::{assert_close, clouds};

    #[test]
    fn agrees_with_numpy() {
        // python tests/goldens.py kernel_distance
        let (a, b) = clouds();
        assert_close(kernel_distance(&a, &b).unwrap(), GOLD, 1e-11);
        // All rows in another order are the same set.
        let (mean, sd) = kernel_distance_subsets(&b, &b, b.n(), 3, 1).unwrap();
        assert_close(mean, kernel_distance(&b, &b).unwrap(), 1e-11);
        assert!(sd < 1e-11);
    }
    const GOLD: f64 = 9.591129833256426;

    #[test]
    fn subsets_scatter_around_the_whole() {
        let (a, b) = clouds();
        let (mean, sd) = kernel_distance_subsets(&a, &b, 20, 200, 2).unwrap();
        // Unbiased given the sets; 200 dependent subsets, five standard errors.
        assert!((mean - kernel_distance(&a, &b).unwrap()).abs() < 5.0 * sd / 200f64.sqrt(), "{mean} {sd}");
        assert!(kernel_distance_subsets(&a, &b, 41, 2, 1).is_err());
        assert!(kernel_distance_subsets(&a, &b, 1, 2, 1).is_err());
        assert!(kernel_distance_subsets(&a, &b, 9, 0, 1).is_err());
    }
}
