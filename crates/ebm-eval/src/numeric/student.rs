//! Quantile of Student's t distribution.

use crate::numeric::normal_quantile::normal_quantile;

/// Quantile `p` of Student's t with `nu >= 2` degrees of freedom by Hill 1970 (algorithm 396), good to 1e-4 or better.
pub(crate) fn student_quantile(p: f64, nu: f64) -> f64 {
    let out = 2.0 * p.min(1.0 - p);
    let sign = if p < 0.5 { -1.0 } else { 1.0 };
    if nu <= 2.0 {
        return sign * (2.0 / (out * (2.0 - out)) - 2.0).max(0.0).sqrt();
    }
    let a = 1.0 / (nu - 0.5);
    let b = 48.0 / (a * a);
    let c = ((20_700.0 * a / b - 98.0) * a - 16.0) * a + 96.36;
    let d = ((94.5 / (b + c) - 3.0) / b + 1.0) * (a * std::f64::consts::FRAC_PI_2).sqrt() * nu;
    let mut y = (d * out).powf(2.0 / nu);
    if y > 0.05 + a {
        let x = normal_quantile(0.5 * out);
        y = x * x;
        let mut c = c;
        if nu < 5.0 {
            c += 0.3 * (nu - 4.5) * (x + 0.6);
        }
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b;
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x;
        y = (a * y * y).exp_m1();
    } else {
        y = ((1.0 / (((nu + 6.0) / (nu * y) - 0.089 * d - 0.822) * (nu + 2.0) * 3.0) + 0.5 / (nu + 4.0)) * y
            - 1.0)
            * (nu + 1.0)
            / (nu + 2.0)
            + 1.0 / y;
    }
    sign * (nu * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.t.ppf(0.975, nu), SciPy 1.17.1: python scripts/make-eval-goldens.py student
        for (nu, wanted) in GOLD {
            let found = student_quantile(0.975, nu);
            assert!((found / wanted - 1.0).abs() < 1e-4, "{nu}: {found} {wanted}");
            assert!((student_quantile(0.025, nu) + found).abs() < 1e-12 * found);
        }
    }
    const GOLD: [(f64, f64); 6] = [
        (2.0, 4.302652729749462),
        (3.0, 3.1824463052837078),
        (5.0, 2.5705818356363146),
        (15.0, 2.131449545559776),
        (63.0, 1.998340542520741),
        (1000.0, 1.9623390808264083),
    ];
}
