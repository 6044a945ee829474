//! The score of an energy on the plane, all figures from one call.

use std::fmt::Display;

use serde::Serialize;

use crate::distances::mmd::{median_distance, mmd2};
use crate::error::{EvalError, Result, at_least, same};
use crate::numeric::splitmix::SplitMix;
use crate::plane::grid::{PlaneGrid, energies_at};
use crate::plane::temperature::best_temperature;
use crate::samples::Samples;

/// Bandwidth of [`PlaneScore::fine_grid`], in units of the data.
pub const FINE: f64 = 0.25;

/// Where and how finely an energy on the plane is integrated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaneSettings {
    /// Half the side of the square that holds the data.
    pub half: f64,
    /// Half the side of the wider square, for the leak.
    pub wide: f64,
    /// Cells a side of both squares.
    pub cells: usize,
    /// Held-out points and grid draws that enter the MMD.
    pub mmd_points: usize,
}

impl Default for PlaneSettings {
    /// The benchmark's own: `[-5, 5]²` and `[-10, 10]²` in 512² cells, 2,000 points.
    fn default() -> Self {
        Self { half: 5.0, wide: 10.0, cells: 512, mmd_points: 2000 }
    }
}

/// How well an energy on the plane describes held-out points; log-likelihoods in nats a point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PlaneScore {
    /// log Z over the square.
    pub log_z: f64,
    /// Mean of -E(x) - log Z over the held-out points: the score.
    pub ll: f64,
    /// Temperature that maximises the held-out likelihood; 1 if the energy is calibrated.
    pub t_best: f64,
    /// The likelihood at that temperature: how good the shape is. A diagnostic, since it reads held-out data.
    pub ll_best_t: f64,
    /// Share of the mass of the wider square outside the inner one.
    pub leak: f64,
    /// Median distance of the held-out points, the bandwidth of `mmd2_grid`.
    pub median_distance: f64,
    /// Unbiased MMD² between held-out points and exact draws from the grid.
    pub mmd2_grid: f64,
    /// The same with bandwidth 0.25: sees blur and missing modes.
    pub fine_grid: f64,
}

/// Scores `energy`, which maps points `(m, 2)` to `m` energies in nats, on the held-out points `(n, 2)`.
///
/// The first `mmd_points` held-out points and as many exact draws (uniforms from `seed`) enter the MMD. Held-out
/// points outside the square count in `ll` as they are: choose the square so that there are none.
///
/// Errs if `held` is not `(n >= 2, 2)`, if the energy fails, is NaN or -inf anywhere, or +inf at a held-out point.
pub fn plane_score<E: Display>(
    mut energy: impl FnMut(&[f32]) -> std::result::Result<Vec<f32>, E>,
    held: Samples<'_>,
    settings: &PlaneSettings,
    seed: u64,
) -> Result<PlaneScore> {
    same("width of the held-out points", held.d(), 2, "the plane")?;
    at_least("held-out points", held.n(), 2)?;
    at_least("points of the MMD", settings.mmd_points, 2)?;
    let grid = PlaneGrid::new(settings.half, settings.cells)?;
    let wide = PlaneGrid::new(settings.wide, settings.cells)?;
    let at = energies_at(held.data(), &mut energy)?;
    if let Some(index) = at.iter().position(|e| e.is_infinite()) {
        return Err(EvalError::NotFinite { what: "energies of held-out points", index, value: at[index] });
    }
    let energies = grid.energies(&mut energy)?;
    let (t_best, ll_best_t) = best_temperature(&grid, &energies, &at);
    let mut stream = SplitMix::new(seed);
    let uniforms: Vec<f64> = (0..3 * settings.mmd_points).map(|_| stream.uniform()).collect();
    let draws = grid.draws(&energies, &uniforms)?;
    let reference = held.slice(0, settings.mmd_points).features();
    let median = median_distance(&reference)?;
    Ok(PlaneScore {
        log_z: grid.log_z(&energies, 1.0),
        ll: grid.log_likelihood(&energies, &at, 1.0),
        t_best,
        ll_best_t,
        leak: wide.leak(&wide.energies(&mut energy)?, settings.half),
        median_distance: median,
        mmd2_grid: mmd2(&reference, &draws, median)?,
        fine_grid: mmd2(&reference, &draws, FINE)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, uniforms};

    /// Four wells on a ring, computed in f64 and rounded once, as in `tests/goldens.py`.
    fn wells(p: &[f32]) -> std::result::Result<Vec<f32>, String> {
        Ok(p.chunks_exact(2)
            .map(|p| {
                let (x, y) = (f64::from(p[0]), f64::from(p[1]));
                let r = x * x + y * y - 4.0;
                (0.25 * r * r + 0.5 * x * x * y * y + 0.125 * x) as f32
            })
            .collect())
    }

    #[test]
    fn agrees_with_numpy() {
        // python tests/goldens.py plane
        let held: Vec<f32> = uniforms(21, 120).iter().map(|u| 4.0 * u - 2.0).collect();
        let held = Samples::new(&held, 60, 2).unwrap();
        let settings = PlaneSettings { half: 3.0, wide: 6.0, cells: 64, mmd_points: 50 };
        let s = plane_score(wells, held, &settings, 1).unwrap();
        let found = [s.log_z, s.ll, s.ll_best_t, s.leak, s.median_distance];
        found.iter().zip(GOLD).for_each(|(f, w)| assert_close(*f, w, 1e-12));
        // The likelihood is flat at its maximum: T is determined to the root of the rounding.
        assert_close(s.t_best, GOLD_T, 1e-6);

        let grid = PlaneGrid::new(3.0, 64).unwrap();
        let u: Vec<f64> = uniforms(22, 150).iter().map(|&v| f64::from(v)).collect();
        let draws = grid.draws(&grid.energies(wells).unwrap(), &u).unwrap();
        let reference = held.slice(0, 50).features();
        // 1e-7: numpy's points are rounded to f32 before the draw within the cell.
        assert_close(mmd2(&reference, &draws, s.median_distance).unwrap(), GOLD_MMD[0], 1e-7);
        assert_close(mmd2(&reference, &draws, FINE).unwrap(), GOLD_MMD[1], 1e-7);
    }
    const GOLD: [f64; 5] = [
        1.7248369096611178,
        -3.723503657817268,
        -3.2135635268901677,
        3.88935630887266e-05,
        1.965645234843963,
    ];
    const GOLD_T: f64 = 3.969015332632906;
    const GOLD_MMD: [f64; 2] = [0.00836445914349948, 0.003897010068096722];

    #[test]
    fn walls_are_allowed_on_the_grid_but_not_on_data() {
        let half_plane = |p: &[f32]| {
            Ok::<_, String>(p.chunks(2).map(|p| if p[0] < 0.0 { f32::INFINITY } else { 0.0 }).collect())
        };
        let settings = PlaneSettings { half: 2.0, wide: 4.0, cells: 32, mmd_points: 3 };
        let data = [1.0, 0.0, 0.5, 1.0, 1.5, -1.0, -1.0, 0.0];
        let s = plane_score(half_plane, Samples::new(&data[..6], 3, 2).unwrap(), &settings, 1).unwrap();
        assert_close(s.ll, -(8f64.ln()), 1e-12);
        assert_close(s.leak, 0.75, 1e-12);
        let e = plane_score(half_plane, Samples::new(&data, 4, 2).unwrap(), &settings, 1).unwrap_err();
        assert!(e.to_string().starts_with("energies of held-out points: value 3 is inf"), "{e}");
    }
}
