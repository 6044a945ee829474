//! How far two densities of the plane are from each other, over a square that is found.

use std::fmt::Display;

use crate::error::{EvalError, Result};
use crate::plane::distance::PlaneDistance;
use crate::plane::integral::PlaneIntegral;
use crate::plane::quadrature::integrate_plane_at;

/// Two densities of the plane, normalised each by itself, and their distances.
#[derive(Debug, Clone)]
pub struct PlanePair {
    /// The first density.
    pub first: PlaneIntegral,
    /// The second.
    pub second: PlaneIntegral,
    /// Their distances.
    pub distance: PlaneDistance,
}

/// [`PlaneDistance`] of the densities exp(`p`) and exp(`q`), each normalised over the square that [`integrate_plane_at`] finds for it from a centre,
/// a spread and places.
///
/// The distances are taken over the nodes of the even mixture of both, whose cells resolve either. They are within about
/// `tolerance`, but for divergences of densities that fall off at different rates, whose integrand reaches beyond the mass: it is left
/// out beyond the mixture's square.
///
/// # Errors
/// Like [`integrate_plane_at`], of either density.
pub fn plane_between<E: Display>(
    mut p: impl FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
    mut q: impl FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
    (centre, spread, places): ([f64; 2], [f64; 2], &[f64]),
    tolerance: f64,
) -> Result<PlanePair> {
    let first = integrate_plane_at(&mut p, centre, spread, places, tolerance)?;
    let second = integrate_plane_at(&mut q, centre, spread, places, tolerance)?;
    let mut both = |points: &[f64]| -> std::result::Result<Vec<(f64, f64)>, E> {
        let (a, b) = (p(points)?, q(points)?);
        Ok(a.into_iter().zip(b).map(|(a, b)| (a - first.log_z, b - second.log_z)).collect())
    };
    let mixture = |points: &[f64]| both(points).map(|all| all.into_iter().map(log_middle).collect());
    let nodes = integrate_plane_at(mixture, centre, spread, places, tolerance)?.nodes;
    let points: Vec<f64> = nodes.iter().flat_map(|n| n.at).collect();
    let densities = both(&points).map_err(|e| EvalError::Energy(e.to_string()))?;
    let (mut tv, mut kl, mut reverse, mut js) = (0.0, 0.0, 0.0, 0.0);
    // Of a log density over another, at a point of this weight.
    let part =
        |w: f64, log: f64, other: f64| if log.exp() == 0.0 { 0.0 } else { w * log.exp() * (log - other) };
    for (node, (a, b)) in nodes.iter().zip(densities) {
        let (w, middle) = (node.log_weight().exp(), log_middle((a, b)));
        tv += 0.5 * w * (a.exp() - b.exp()).abs();
        kl += part(w, a, b);
        reverse += part(w, b, a);
        js += 0.5 * (part(w, a, middle) + part(w, b, middle));
    }
    // Quadrature of a share may exceed it by its error.
    let (total_variation, jensen_shannon) = (tv.min(1.0), js.clamp(0.0, std::f64::consts::LN_2));
    let log_z = (first.log_z, second.log_z);
    let distance = PlaneDistance { log_z, total_variation, kl, reverse_kl: reverse, jensen_shannon };
    Ok(PlanePair { first, second, distance })
}

/// The log of the even mixture.
fn log_middle((a, b): (f64, f64)) -> f64 {
    let high = a.max(b);
    if high == f64::NEG_INFINITY {
        return high;
    }
    high + (0.5 * ((a - high).exp() + (b - high).exp())).ln()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn normal(mean: f64, sd: f64) -> impl FnMut(&[f64]) -> std::result::Result<Vec<f64>, String> {
        move |points| {
            let square = |p: &[f64]| (p[0] - mean).powi(2) + p[1].powi(2);
            Ok(points.chunks_exact(2).map(|p| -square(p) / (2.0 * sd * sd)).collect())
        }
    }

    fn between(a: (f64, f64), b: (f64, f64)) -> PlanePair {
        plane_between(normal(a.0, a.1), normal(b.0, b.1), ([0.0; 2], [1.0; 2], &[]), 1e-3).unwrap()
    }

    /// Also where a square of half 4 around 0, the usual one before, holds neither.
    #[test]
    fn normal_densities_have_their_closed_forms_wherever_they_are() {
        for at in [0.0, 60.0] {
            let d = between((at, 1.0), (at + 0.8, 1.0)).distance;
            // KL of shifted unit normals is δ²/2; total variation is erf(δ/(2√2)).
            assert!((d.kl - 0.32).abs() < 2e-3 && (d.reverse_kl - 0.32).abs() < 2e-3, "{d:?}");
            assert!((d.total_variation - 0.310_843_483_2).abs() < 1e-3, "{d:?}");
        }
        let wide = between((0.0, 1.0), (0.0, 1.5));
        let kl = 2.0 * 1.5f64.ln() - 1.0 + 1.0 / 2.25;
        assert!((wide.distance.kl - kl).abs() < 2e-3, "{:?}", wide.distance);
        assert!((wide.second.log_z - (std::f64::consts::TAU * 2.25).ln()).abs() < 1e-3);
        assert!(wide.first.outside <= 1e-3 && wide.second.outside <= 1e-3);
    }

    #[test]
    fn densities_apart_are_at_the_bounds_and_equal_ones_at_0() {
        let apart = between((-30.0, 0.5), (30.0, 0.5)).distance;
        assert!((apart.total_variation - 1.0).abs() < 1e-3, "{apart:?}");
        assert!((apart.jensen_shannon - std::f64::consts::LN_2).abs() < 1e-3, "{apart:?}");
        let same = between((3.0, 0.1), (3.0, 0.1)).distance;
        assert!(same.total_variation < 1e-12 && same.kl.abs() < 1e-12, "{same:?}");
    }

    #[test]
    fn a_density_without_an_integral_is_refused() {
        let flat =
            |points: &[f64]| -> std::result::Result<Vec<f64>, String> { Ok(vec![0.0; points.len() / 2]) };
        let found = plane_between(normal(0.0, 1.0), flat, ([0.0; 2], [1.0; 2], &[]), 1e-3);
        assert!(matches!(found, Err(EvalError::Plane(_))));
    }
}
