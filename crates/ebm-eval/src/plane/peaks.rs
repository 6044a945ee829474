//! Peaks of a log density that are narrower than the cells of a lattice, found by climbing.

use crate::error::Result;
use crate::plane::quadrature::HALF_CELLS;

/// Halvings of the lattice a climb makes at most.
const CLIMB: usize = 40;
/// A fall of the log density from a point to its neighbours below which it is resolved: h ≤ s for a normal density.
const RESOLVED: f64 = 0.5;

/// A peak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peak {
    pub at: [f64; 2],
    /// The spacing at which it is resolved: about its standard deviation.
    pub width: f64,
    pub log_density: f64,
}

impl Peak {
    /// Log of its mass, up to a constant.
    pub fn log_mass(&self) -> f64 {
        self.log_density + 2.0 * self.width.ln()
    }
}

/// Peaks on the lattice of the centres of `(2 HALF_CELLS)²` cells of `side` around 0 that this lattice does not resolve,
/// climbed by halving the spacing around the highest of 25 points. `outer`: those of the inner half are left to a finer
/// lattice.
pub(crate) fn peaks(
    log_density: &mut impl FnMut(&[[f64; 2]]) -> Result<Vec<f64>>,
    side: f64,
    outer: bool,
) -> Result<Vec<Peak>> {
    let n = 2 * HALF_CELLS;
    let place = |i: i64| (i as f64 + 0.5 - HALF_CELLS as f64) * side;
    let lattice: Vec<[f64; 2]> = (0..n * n).map(|k| [place(k / n), place(k % n)]).collect();
    let values = log_density(&lattice)?;
    let value = |i: i64, j: i64| match (0..n).contains(&i) && (0..n).contains(&j) {
        true => values[(i * n + j) as usize],
        false => f64::NEG_INFINITY,
    };
    let mut climbing = Vec::new();
    for k in 0..n * n {
        let (i, j) = (k / n, k % n);
        let own = value(i, j);
        let inner = |i: i64| (HALF_CELLS / 2 + 1..3 * HALF_CELLS / 2 - 1).contains(&i);
        let around = (-1..=1).flat_map(|a| (-1..=1).map(move |b| (a, b))).filter(|at| *at != (0, 0));
        let highest = around.map(|(a, b)| value(i + a, j + b)).fold(f64::NEG_INFINITY, f64::max);
        if own == f64::NEG_INFINITY || own < highest || (outer && inner(i) && inner(j)) {
            continue;
        }
        let fall = |a: f64, b: f64| own - 0.5 * (a + b);
        let falls = (fall(value(i - 1, j), value(i + 1, j)), fall(value(i, j - 1), value(i, j + 1)));
        if falls.0.max(falls.1) > RESOLVED {
            climbing.push(Peak { at: lattice[k as usize], width: side, log_density: own });
        }
    }
    climb(log_density, climbing)
}

/// Climbs from these places, each with the spacing of the first step, until a spacing resolves what is there.
pub(crate) fn climb(
    log_density: &mut impl FnMut(&[[f64; 2]]) -> Result<Vec<f64>>,
    mut climbing: Vec<Peak>,
) -> Result<Vec<Peak>> {
    let mut found = Vec::new();
    for _ in 0..CLIMB {
        if climbing.is_empty() {
            break;
        }
        let offsets = |k: usize| [k / 5, k % 5].map(|i| i as f64 - 2.0);
        let points: Vec<[f64; 2]> = climbing
            .iter()
            .flat_map(|p| (0..25).map(move |k| [0, 1].map(|a| p.at[a] + 0.5 * p.width * offsets(k)[a])))
            .collect();
        let values = log_density(&points)?;
        let mut on = Vec::new();
        for (peak, around) in climbing.iter().zip(values.chunks_exact(25)) {
            let best = (0..25).fold(12, |best, k| if around[k] > around[best] { k } else { best });
            let width = 0.5 * peak.width;
            let at = [0, 1].map(|a| peak.at[a] + width * offsets(best)[a]);
            let moved = Peak { at, width, log_density: around[best] };
            let [i, j] = [best / 5, best % 5];
            // On the rim the fall is taken one step inwards; it counts if nothing more is gained, as along a ridge.
            let inside = (1..4).contains(&i) && (1..4).contains(&j);
            let near = 5 * i.clamp(1, 3) + j.clamp(1, 3);
            let fall = |by: usize| around[near] - 0.5 * (around[near - by] + around[near + by]);
            let settled = inside || around[best] - around[12] <= RESOLVED;
            match settled && fall(5) <= RESOLVED && fall(1) <= RESOLVED {
                true => found.push(moved),
                false => on.push(moved),
            }
        }
        climbing = on;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn narrow_peaks_are_found_where_they_are_and_wide_ones_left_out() {
        let centres = [[3.1, -2.2], [-5.7, 6.3]];
        let mut mixture = |points: &[[f64; 2]]| -> Result<Vec<f64>> {
            let one = |p: &[f64; 2], c: &[f64; 2], s: f64| {
                -((p[0] - c[0]).powi(2) + (p[1] - c[1]).powi(2)) / (2.0 * s * s)
            };
            Ok(points
                .iter()
                .map(|p| crate::log_sum_exp(&[one(p, &centres[0], 0.01), one(p, &centres[1], 0.03)]))
                .collect())
        };
        let mut found = peaks(&mut mixture, 1.0, false).unwrap();
        found.sort_by(|a, b| a.width.total_cmp(&b.width));
        assert_eq!(found.len(), 2, "{found:?}");
        for (peak, (centre, sd)) in found.iter().zip(centres.iter().zip([0.01, 0.03])) {
            assert!((0..2).all(|a| (peak.at[a] - centre[a]).abs() <= peak.width), "{peak:?}");
            assert!(peak.width <= sd * 1.1 && peak.width > 0.4 * sd, "{peak:?}");
        }
        let mut wide = |points: &[[f64; 2]]| -> Result<Vec<f64>> {
            Ok(points.iter().map(|p| -(p[0] * p[0] + p[1] * p[1]) / 8.0).collect())
        };
        assert!(peaks(&mut wide, 1.0, false).unwrap().is_empty());
    }

    #[test]
    fn the_width_of_a_ridge_is_found_far_from_its_summit() {
        let mut ridge = |points: &[[f64; 2]]| -> Result<Vec<f64>> {
            Ok(points.iter().map(|p| -p[0] * p[0] / 2e4 - p[1] * p[1] / 2e-4).collect())
        };
        let begun = vec![Peak { at: [90.0, 0.3], width: 1.0, log_density: -450.0 }];
        let found = climb(&mut ridge, begun).unwrap();
        assert!(found[0].width <= 0.011 && found[0].width > 0.004, "{found:?}");
    }
}
