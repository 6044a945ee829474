//! `rings`: blurred concentric circles.

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::closed::plane;
use crate::mixture::{RoundGaussian, mixture};

/// Circles of equal weight around the origin, each convolved with a round Gaussian; `E = −log p − log 2π`.
///
/// The integral over the angle is a sum over equally spaced nodes, so the energy is a Gaussian mixture
/// and exactly normalised as such. A ring of radius `m` has as many nodes as bring the sum within 1e-9
/// of the integral (relative, out to six deviations beyond the ring); 478 nodes by default.
/// The defaults are the `rings` of `ebm-data`.
#[derive(Clone, Debug, Settings)]
pub struct Rings {
    /// Radii of the circles.
    #[setting(default = [0.5, 1.0, 1.5, 2.0], above = 0.0)]
    pub radii: Vec<f64>,
    /// Standard deviation of the blur.
    #[setting(default = 0.08, above = 0.0)]
    pub sd: f64,
}

/// Thinner rings would need more nodes than fit into memory with a batch.
const MOST_NODES: usize = 20_000;

#[plugin(
    "rings",
    summary = "blurred concentric circles on the plane",
    source = "common 2-D test set",
    example = "radii = [0.5, 1.0, 1.5, 2.0]\nsd = 0.08"
)]
impl EnergyConfig for Rings {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        plane(cx)?;
        if self.radii.is_empty() {
            return Err(cx.refuse("radii", "is empty, must have one or more"));
        }
        let sd = self.sd;
        let counts: Vec<f64> = self.radii.iter().map(|radius| nodes(*radius, sd)).collect();
        let total: f64 = counts.iter().sum();
        if total > MOST_NODES as f64 {
            return Err(cx.refuse(
                "radii",
                format!(
                    "need {total} nodes at sd {sd}, more than {MOST_NODES}; take a larger sd or smaller radii"
                ),
            ));
        }
        let ring = |(&radius, count): (&f64, f64)| {
            (0..count as usize).map(move |i| {
                let (sin, cos) = (TAU * i as f64 / count).sin_cos();
                RoundGaussian { mean: vec![radius * cos, radius * sin], sd, weight: 1.0 / count }
            })
        };
        mixture(cx, self.radii.iter().zip(counts).flat_map(ring).collect(), "rings")
    }
}

/// How many nodes a ring needs. The integrand in the angle is exp(z cos) with z = rm/s²; a sum over n nodes
/// adds 2·I_n(z)/I_0(z) ≈ 2·exp(−n²/2z) to it, relative (Trefethen and Weideman 2014, section 3).
fn nodes(radius: f64, sd: f64) -> f64 {
    let z = (radius + 6.0 * sd) * radius / (sd * sd);
    // exp(−n²/2z) falls short of I_n/I_0 where n is not small beside z: 8 more cover wide blurs.
    (2.0 * z * 2e9f64.ln()).sqrt().ceil() + 8.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_data::toy2d::Toy2d;

    use super::*;
    use crate::check_tests::{build, lattice, log_densities, refusal};

    #[test]
    fn the_sum_over_nodes_is_the_integral() {
        let mut points = lattice(2.48, 32);
        points.retain(|[x, y]| x.hypot(*y) < 2.48);
        let got = log_densities(&build(&Rings::default(), &[2]), &points);
        for (x, l) in points.iter().zip(got) {
            // As documented, 1e-9 within six deviations of the last ring; squares of size 500 are rounded
            // far below that.
            assert!((l - Toy2d::Rings.log_density(*x)).abs() < 2e-9, "{x:?}");
        }
    }

    #[test]
    fn a_wide_blur_has_enough_nodes_too() {
        let few = build(&Rings { radii: vec![0.3], sd: 1.0 }, &[2]);
        let many = build(&Rings { radii: vec![0.3; 2], sd: 1.0 }, &[2]);
        let points = lattice(4.0, 9);
        let (a, b) = (log_densities(&few, &points), log_densities(&many, &points));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12), "two equal rings are one");
        // Turned by an arbitrary angle: only the integral is round.
        let (sin, cos) = 0.1234f64.sin_cos();
        let turned: Vec<_> = points.iter().map(|[x, y]| [x * cos - y * sin, x * sin + y * cos]).collect();
        let c = log_densities(&few, &turned);
        assert!(a.iter().zip(c).all(|(a, c)| (a - c).abs() < 2e-9));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(refusal(&Rings::default(), &[3]).contains("(2,)"));
        assert!(refusal(&Rings { sd: 1e-6, ..Rings::default() }, &[2]).contains("nodes"));
        assert!(refusal(&Rings { radii: vec![], ..Rings::default() }, &[2]).contains("radii"));
        assert!(refusal(&Rings { radii: vec![-1.0], ..Rings::default() }, &[2]).contains("radii[0]: is -1"));
    }
}
