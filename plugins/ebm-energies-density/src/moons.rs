//! `moons`: two interleaved blurred half circles.

use std::f64::consts::PI;
use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::closed::plane;
use crate::mixture::{RoundGaussian, mixture};

/// Half circles of radius 1, `(cos t, sin t)` and `(1 − cos t, ½ − sin t)` less `(½, ¼)`, each convolved
/// with a round Gaussian; `E = −log p − log 2π`.
///
/// The integral over the angle is a Gauss–Legendre sum, so the energy is a Gaussian mixture and exactly
/// normalised as such; 77 nodes an arc by default bring the sum within 1e-9 of the integral where
/// there is mass. The default is the `moons` of `ebm-data`.
#[derive(Clone, Debug, Settings)]
pub struct Moons {
    /// Standard deviation of the blur.
    #[setting(default = 0.1, at_least = 0.001)]
    pub sd: f64,
}

#[plugin(
    "moons",
    summary = "two interleaved blurred half circles on the plane",
    source = "common 2-D test set",
    example = "sd = 0.1"
)]
impl EnergyConfig for Moons {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        plane(cx)?;
        let sd = self.sd;
        // On [−1, 1] the integrand is about exp(−zu²/1) with z = π²/8·r/s², whose Chebyshev coefficients
        // fall like exp(−k²/4z); a rule of n nodes is exact up to k = 2n.
        let z = PI * PI / 8.0 * (1.0 + 6.0 * sd) / (sd * sd);
        let n = (30.0 * z).sqrt().ceil() as usize + 8;
        let nodes = gauss_legendre(n).into_iter().flat_map(|(u, weight)| {
            let (sin, cos) = (0.5 * PI * (u + 1.0)).sin_cos();
            let arcs = [[cos - 0.5, sin - 0.25], [0.5 - cos, 0.25 - sin]];
            arcs.map(|mean| RoundGaussian { mean: mean.to_vec(), sd, weight })
        });
        mixture(cx, nodes.collect(), "moons")
    }
}

/// Nodes and weights of the `n`-point Gauss–Legendre rule on [−1, 1] (Newton on the Legendre polynomial).
fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let node = |i: usize| {
        let mut x = (PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        // From these starting points Newton's steps reach rounding in four or five.
        for _ in 0..10 {
            let (mut p, mut before) = (1.0, 0.0);
            for k in 0..n {
                let k = k as f64;
                (p, before) = (((2.0 * k + 1.0) * x * p - k * before) / (k + 1.0), p);
            }
            slope = n as f64 * (x * p - before) / (x * x - 1.0);
            x -= p / slope;
        }
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(node).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_data::toy2d::Toy2d;

    use super::*;
    use crate::check_tests::{build, lattice, log_densities, refusal};

    #[test]
    fn the_rule_integrates_polynomials_and_a_known_function() {
        // The three-point rule in closed form.
        let three = gauss_legendre(3);
        assert!((three[0].0 - 0.6f64.sqrt()).abs() < 1e-15 && (three[1].1 - 8.0 / 9.0).abs() < 1e-15);
        let sum: f64 = gauss_legendre(85).iter().map(|(x, w)| w * x.exp()).sum();
        // Weights of 85 nodes are known to a few roundings each.
        assert!((sum - 2.0 * 1f64.sinh()).abs() < 1e-13);
    }

    #[test]
    fn the_sum_over_nodes_is_the_integral() {
        let points = lattice(2.0, 25);
        let got = log_densities(&build(&Moons::default(), &[2]), &points);
        for (x, l) in points.iter().zip(got) {
            // As documented, 1e-9 where there is mass; e⁻³⁰ of the peak is counted as such.
            let want = Toy2d::Moons.log_density(*x);
            assert!((l - want).abs() < if want > -30.0 { 1e-9 } else { 1e-6 }, "{x:?}: {l} against {want}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(refusal(&Moons { sd: 1e-4 }, &[2]).contains("0.001"));
        assert!(refusal(&Moons { sd: -1.0 }, &[2]).contains("energy.sd"));
        assert!(refusal(&Moons::default(), &[1]).contains("(2,)"));
    }
}
