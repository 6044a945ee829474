//! The score of an energy on the plane over a square that it finds itself.

use std::fmt::Display;

use crate::distances::mmd::{median_distance, mmd2};
use crate::error::{EvalError, Result, at_least, same};
use crate::numeric::splitmix::SplitMix;
use crate::plane::integral::PlaneIntegral;
use crate::plane::quadrature::integrate_plane_at;
use crate::plane::score::{FINE, PlaneScore};
use crate::samples::Samples;

/// Rounds in which the best temperature and the square for it are found in turn.
const ROUNDS: usize = 8;
/// Change of log T at which they stop.
const SETTLED: f64 = 1e-3;
/// Factor by which a round may change the temperature: nodes for one temperature are of use near it only.
const STEP: f64 = 4.0;

/// The figures of [`plane_score`](crate::plane_score) for the held-out points `(n, 2)`, with log Z by
/// [`integrate_plane_at`] within `tolerance`, begun at the mean and the spread of the points, which are the places it looks at. At most `mmd_points` points and
/// draws enter the MMD, `seed` is that of the draws.
///
/// `leak` is the share of the mass outside of `inner` times the square that holds the points (around the middle of these). The best temperature
/// has its own square; if none can be found on the way to it, `t_best` and `ll_best_t` are NaN.
///
/// # Errors
/// If `held` is not `(n >= 2, 2)`, an energy of a point is not finite, or like [`integrate_plane_at`].
pub fn plane_fit<E: Display>(
    mut energy: impl FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
    held: Samples<'_>,
    (tolerance, inner): (f64, f64),
    mmd_points: usize,
    seed: u64,
) -> Result<(PlaneScore, PlaneIntegral)> {
    same("width of the held-out points", held.d(), 2, "the plane")?;
    at_least("held-out points", held.n(), 2)?;
    at_least("points of the MMD", mmd_points, 2)?;
    let points = held.features();
    let at = energy(points.data()).map_err(|e| EvalError::Energy(e.to_string()))?;
    same("energies returned", at.len(), held.n(), "the points asked for")?;
    if let Some(index) = at.iter().position(|e| !e.is_finite()) {
        return Err(EvalError::NotFinite { what: "energies of held-out points", index, value: at[index] });
    }
    let mean = at.iter().sum::<f64>() / at.len() as f64;
    let column = |a: usize| points.data().iter().skip(a).step_by(2).copied();
    let centre = [0, 1].map(|a| column(a).sum::<f64>() / held.n() as f64);
    let spread = [0, 1].map(|a| {
        let sd = (column(a).map(|v| (v - centre[a]).powi(2)).sum::<f64>() / held.n() as f64).sqrt();
        if sd > 0.0 { sd } else { 1.0 }
    });
    let mut integral = |beta: f64| {
        let log_density =
            |p: &[f64]| Ok::<_, E>(energy(p)?.into_iter().map(|e| -beta * e).collect::<Vec<f64>>());
        integrate_plane_at(log_density, centre, spread, points.data(), tolerance)
    };
    let whole = integral(1.0)?;
    let (t_best, ll_best_t) = match best(&whole, mean, &mut integral) {
        Ok(found) => found,
        Err(EvalError::Plane(_)) => (f64::NAN, f64::NAN),
        Err(other) => return Err(other),
    };
    let mut stream = SplitMix::new(seed);
    let uniforms: Vec<f64> = (0..3 * mmd_points).map(|_| stream.uniform()).collect();
    let draws = whole.draws(&uniforms)?;
    let reference = held.slice(0, mmd_points).features();
    let median = median_distance(&reference)?;
    let ends =
        |a: usize| column(a).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let ends = [ends(0), ends(1)];
    let half = 0.5 * inner * ends.iter().map(|(low, high)| high - low).fold(0.0, f64::max);
    let outside = whole.nodes.iter().filter(|n| {
        (0..2).any(|a| (n.corner[a] + 0.5 * n.sides[a] - 0.5 * (ends[a].0 + ends[a].1)).abs() > half)
    });
    let leak = outside.map(|n| (n.log_density + n.log_weight() - whole.log_z).exp()).sum::<f64>();
    let score = PlaneScore {
        log_z: whole.log_z,
        ll: -mean - whole.log_z,
        t_best,
        ll_best_t,
        leak: leak.min(1.0),
        median_distance: median,
        mmd2_grid: if median > 0.0 { mmd2(&reference, &draws, median)? } else { f64::NAN },
        fine_grid: mmd2(&reference, &draws, FINE)?,
    };
    Ok((score, whole))
}

/// The temperature of the largest log-likelihood of points with this mean energy, and that likelihood.
fn best(
    whole: &PlaneIntegral,
    mean: f64,
    integral: &mut impl FnMut(f64) -> Result<PlaneIntegral>,
) -> Result<(f64, f64)> {
    let mut log_beta = 0.0;
    let mut own;
    let mut nodes = whole;
    for _ in 0..ROUNDS {
        // log Z of the nodes at another β, in units of the β that they were found for.
        let ll = |log: f64| -log.exp() * mean - nodes.log_z_at((log - log_beta).exp());
        let found = highest(&ll, log_beta - STEP.ln(), log_beta + STEP.ln());
        let moved = (found - log_beta).abs();
        log_beta = found;
        own = integral(log_beta.exp())?;
        nodes = &own;
        if moved < SETTLED {
            break;
        }
    }
    Ok(((-log_beta).exp(), -log_beta.exp() * mean - nodes.log_z))
}

/// Where a concave function is highest, by golden sections.
fn highest(of: &impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
    let (mut fa, mut fb) = (of(a), of(b));
    for _ in 0..30 {
        if fa < fb {
            (low, a, fa) = (a, b, fb);
            b = low + golden * (high - low);
            fb = of(b);
        } else {
            (high, b, fb) = (b, a, fa);
            a = high - golden * (high - low);
            fa = of(a);
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TAU: f64 = std::f64::consts::TAU;

    #[test]
    fn a_normal_energy_is_scored_wherever_it_lies_and_however_hot_the_points_are() {
        for (mean, sd, heat) in
            [([0.0, 0.0], 1.0, 1.0f64), ([20.0, -30.0], 0.05, 0.3), ([5.0, 1.0], 2.0, 6.0)]
        {
            // Points of a normal law of variance sd² T: the best temperature is theirs.
            let mut r = SplitMix::new(1);
            let data: Vec<f32> =
                (0..4000).map(|i| (mean[i % 2] + sd * heat.sqrt() * r.normal()) as f32).collect();
            let energy = |p: &[f64]| {
                let square = |p: &[f64]| (p[0] - mean[0]).powi(2) + (p[1] - mean[1]).powi(2);
                Ok::<_, String>(p.chunks_exact(2).map(|p| square(p) / (2.0 * sd * sd)).collect::<Vec<f64>>())
            };
            let held = Samples::new(&data, 2000, 2).unwrap();
            let (score, integral) = plane_fit(energy, held, (1e-3, 1.5), 500, 3).unwrap();
            assert!((score.log_z - (TAU * sd * sd).ln()).abs() < 1e-3, "{score:?}");
            let e = energy(held.features().data()).unwrap().iter().sum::<f64>() / 2000.0;
            assert!((score.ll + e + score.log_z).abs() < 1e-9);
            // The mean energy of 2,000 points is T with a relative error of 2 %.
            assert!((score.t_best / heat - 1.0).abs() < 0.1, "{score:?}");
            assert!(
                (score.ll_best_t - (-e / score.t_best - (TAU * sd * sd * score.t_best).ln())).abs() < 2e-3
            );
            assert!(integral.outside < 1e-3 && (score.leak < 0.2 || heat < 1.0), "{score:?}");
        }
    }

    #[test]
    fn a_density_that_cannot_be_held_has_no_score() {
        let flat = |p: &[f64]| Ok::<_, String>(vec![0.0; p.len() / 2]);
        let data = [0.0, 0.0, 1.0, 1.0, 0.5, 0.2];
        let held = Samples::new(&data, 3, 2).unwrap();
        assert!(matches!(plane_fit(flat, held, (1e-3, 1.5), 3, 0), Err(EvalError::Plane(_))));
        let wall = |p: &[f64]| Ok::<_, String>(vec![f64::INFINITY; p.len() / 2]);
        assert!(
            plane_fit(wall, held, (1e-3, 1.5), 3, 0).unwrap_err().to_string().contains("held-out points")
        );
    }
}
