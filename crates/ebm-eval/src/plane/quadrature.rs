//! Quadrature over the plane that finds its own square and its own cells, or says why it cannot.

use std::fmt::Display;

use crate::error::{EvalError, Result, same};
use crate::numeric::log_mean::log_sum_exp;
use crate::plane::cells::{Cell, Cells, WEIGHTS};
use crate::plane::integral::{PlaneIntegral, PlaneNode, PlaneRefusal};
use crate::plane::peaks::peaks;

/// Half the side of the first square, in spreads.
const FIRST: f64 = 4.0;
/// Cells along half a side, of each square: a quarter of a spread in the first.
pub(crate) const HALF_CELLS: i64 = 16;
/// The level of the cells of the first square.
const LEVEL: i32 = 2;
/// Doublings of the square that are always looked at (64 spreads), and at most (4 million).
const RINGS: (i32, i32) = (4, 20);
/// Doublings from which a mass that has grown three times in a row is taken to grow for ever.
const IMPROPER: i32 = 8;
/// Of the tolerance, the share that the cells may be wrong by.
const CELLS: f64 = 0.5;
/// Points at most.
const MOST: usize = 2_000_000;
/// Points handed over at once.
const BATCH: usize = 32_768;

/// The integral of exp(`log_density`) over the plane, within about `tolerance` (a share of it; 1e-3 is usual), or why not.
///
/// `log_density` maps points `(m, 2)`, row by row, to m log densities without normalisation, −E(x)/T for an energy; -inf is
/// allowed. `centre` and `spread` (a standard deviation along each axis, of data for instance) only say where to begin:
///
/// 1. The square of 4 spreads is doubled four times at least, and on until the mass outside, extrapolated from the last
///    doublings, is below `tolerance` of the whole.
/// 2. Peaks that are narrower than the cells of any of these squares are looked for by the lattice of their centres and
///    climbed to (in logarithms a narrow peak is seen from afar); the cells around them are split to their width.
/// 3. Cells (nine Gauss–Legendre nodes each) are split where they disagree with their parents, until these
///    differences sum to half of `tolerance`; with a cell, coarser neighbours are split.
///
/// A spike on flat ground that is narrower than the cells there can still be missed, as by every quadrature.
///
/// # Errors
/// [`EvalError::Plane`] with the reason if there is no such square or there are not enough points; if spread or tolerance
/// are out of range; if `log_density` errs, is NaN or +inf, or returns another number of values than points.
///
/// ```
/// // A narrow normal density far from where one begins: Z = 2π 0.05².
/// let log_density = |points: &[f64]| -> Result<Vec<f64>, String> {
///     let square = |p: &[f64]| (p[0] - 20.0).powi(2) + (p[1] - 20.0).powi(2);
///     Ok(points.chunks_exact(2).map(|p| -square(p) / (2.0 * 0.05 * 0.05)).collect())
/// };
/// let found = ebm_eval::integrate_plane(log_density, [0.0, 0.0], [1.0, 1.0], 1e-3)?;
/// assert!((found.log_z - (std::f64::consts::TAU * 0.0025).ln()).abs() < 1e-3);
/// # Ok::<(), ebm_eval::EvalError>(())
/// ```
pub fn integrate_plane<E: Display>(
    log_density: impl FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
    centre: [f64; 2],
    spread: [f64; 2],
    tolerance: f64,
) -> Result<PlaneIntegral> {
    if let Some(found) = spread.into_iter().find(|s| !(*s > 0.0 && s.is_finite())) {
        return Err(EvalError::Setting { what: "spread of the plane", found, wanted: "a positive number" });
    }
    if let Some(found) = centre.into_iter().find(|c| !c.is_finite()) {
        return Err(EvalError::Setting { what: "centre of the plane", found, wanted: "a finite number" });
    }
    if !(tolerance > 0.0 && tolerance < 1.0) {
        let wanted = "a share in (0, 1)";
        return Err(EvalError::Setting { what: "tolerance of the quadrature", found: tolerance, wanted });
    }
    let mut asked = Asked { log_density, centre, spread, points: 0 };
    let mut cells = Cells::default();
    let mut rings = -1;
    let mut wanted = RINGS.0;
    loop {
        while rings < wanted {
            rings += 1;
            add_ring(&mut cells, rings);
            asked.evaluate(&mut cells)?;
            split_at_peaks(&mut cells, &mut asked, rings)?;
        }
        let half = asked.half(rings);
        let widest = half[0].max(half[1]);
        let Some((log_z, error)) = refine(&mut cells, &mut asked, CELLS * tolerance)? else {
            if rings < RINGS.1 {
                wanted = (rings + 2).min(RINGS.1);
                continue;
            }
            return Err(PlaneRefusal::Nothing { points: asked.points, half: widest }.into());
        };
        let masses = ring_masses(&cells, rings, log_z);
        let outside = extrapolated(&masses);
        if outside <= tolerance {
            return Ok(asked.integral(&cells, rings, log_z, outside, error));
        }
        let grows = masses.windows(2).rev().take(3).all(|m| m[1] >= m[0] && m[1] > 0.0);
        if grows && rings >= IMPROPER {
            return Err(PlaneRefusal::Improper { half: widest }.into());
        }
        if rings >= RINGS.1 {
            return Err(PlaneRefusal::HeavyTails { half: widest, outside: outside.min(1.0) }.into());
        }
        wanted = (rings + 2).min(RINGS.1);
    }
}

/// The caller's log density, in units of the spreads around the centre.
struct Asked<F> {
    log_density: F,
    centre: [f64; 2],
    spread: [f64; 2],
    points: usize,
}

impl<F, E: Display> Asked<F>
where
    F: FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
{
    fn at(&mut self, points: &[[f64; 2]]) -> Result<Vec<f64>> {
        let mut out = Vec::with_capacity(points.len());
        for batch in points.chunks(BATCH) {
            let own: Vec<f64> =
                batch.iter().flat_map(|p| [0, 1].map(|a| self.centre[a] + self.spread[a] * p[a])).collect();
            let found = (self.log_density)(&own).map_err(|e| EvalError::Energy(e.to_string()))?;
            same("log densities returned", found.len(), batch.len(), "the points asked for")?;
            if let Some(index) = found.iter().position(|l| l.is_nan() || *l == f64::INFINITY) {
                return Err(EvalError::NotFinite { what: "log densities", index, value: found[index] });
            }
            self.points += batch.len();
            out.extend(found);
        }
        Ok(out)
    }

    fn evaluate(&mut self, cells: &mut Cells) -> Result<()> {
        let nodes: Vec<[f64; 2]> = cells.pending().flat_map(Cell::nodes).collect();
        cells.enter(&self.at(&nodes)?);
        Ok(())
    }

    fn half(&self, rings: i32) -> [f64; 2] {
        self.spread.map(|s| s * half_side(rings))
    }

    fn integral(&self, cells: &Cells, rings: i32, log_z: f64, outside: f64, error: f64) -> PlaneIntegral {
        let finest = cells.leaves.keys().map(|c| c.level).max().unwrap_or(LEVEL);
        // In the order of the plane, not of a hash map: draws must not depend on it.
        let mut order: Vec<Cell> = cells.leaves.keys().copied().collect();
        order.sort_unstable();
        let mut nodes = Vec::with_capacity(9 * order.len());
        for cell in &order {
            let starts = [0.0, WEIGHTS[0], WEIGHTS[0] + WEIGHTS[1]];
            let (corner, points) = (cell.corner(), cell.nodes());
            for (k, log_density) in cells.leaves[cell].at.into_iter().enumerate() {
                let part = [k / 3, k % 3];
                let place =
                    |a: usize| self.centre[a] + self.spread[a] * (corner[a] + cell.side() * starts[part[a]]);
                let side = |a: usize| self.spread[a] * cell.side() * WEIGHTS[part[a]];
                nodes.push(PlaneNode {
                    at: [0, 1].map(|a| self.centre[a] + self.spread[a] * points[k][a]),
                    corner: [place(0), place(1)],
                    sides: [side(0), side(1)],
                    log_density,
                });
            }
        }
        PlaneIntegral {
            log_z: log_z + (self.spread[0] * self.spread[1]).ln(),
            centre: self.centre,
            half: self.half(rings),
            cells: order.len(),
            smallest: self.spread.map(|s| s * f64::from(-finest).exp2()),
            points: self.points,
            outside,
            error,
            nodes,
        }
    }
}

fn half_side(rings: i32) -> f64 {
    FIRST * f64::from(rings).exp2()
}

/// The first square, or what a doubling adds to it, in cells that are twice as large each time.
fn add_ring(cells: &mut Cells, ring: i32) {
    let inner = |i: i64| (-HALF_CELLS / 2..HALF_CELLS / 2).contains(&i);
    for i in -HALF_CELLS..HALF_CELLS {
        for j in -HALF_CELLS..HALF_CELLS {
            if ring == 0 || !(inner(i) && inner(j)) {
                cells.add(Cell { level: LEVEL - ring, i, j });
            }
        }
    }
}

/// Splits the leaves at peaks that are narrower than the cells of this square, down to the peaks' widths.
fn split_at_peaks<F, E: Display>(cells: &mut Cells, asked: &mut Asked<F>, ring: i32) -> Result<()>
where
    F: FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
{
    let side = f64::from(ring - LEVEL).exp2();
    let narrow = peaks(&mut |points: &[[f64; 2]]| asked.at(points), side, ring > 0)?;
    let highest = narrow.iter().map(|p| p.log_mass()).fold(f64::NEG_INFINITY, f64::max);
    for peak in narrow.iter().filter(|p| p.log_mass() > highest - 20.0) {
        let finest = -(2.0 * peak.width).log2().floor() as i32;
        while let Some(leaf) = cells.holding(peak.at, finest).filter(|c| c.level < finest) {
            cells.split(leaf);
            asked.evaluate(cells)?;
        }
    }
    Ok(())
}

/// Splits cells until their errors sum to `tolerance` of the whole; the log of the whole and the share of the errors. None
/// if there is no mass.
fn refine<F, E: Display>(
    cells: &mut Cells,
    asked: &mut Asked<F>,
    tolerance: f64,
) -> Result<Option<(f64, f64)>>
where
    F: FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
{
    loop {
        let mut order: Vec<(f64, f64, Cell)> =
            cells.leaves.iter().map(|(c, l)| (l.log_error, l.log_mass, *c)).collect();
        // Sums in one order, so that the same question has the same answer to the last bit.
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
        let total = log_sum_exp(&order.iter().map(|o| o.1).collect::<Vec<f64>>());
        if total == f64::NEG_INFINITY {
            return Ok(None);
        }
        let error: f64 = order.iter().map(|o| (o.0 - total).exp()).sum();
        if error <= tolerance {
            return Ok(Some((total, error)));
        }
        if asked.points >= MOST {
            return Err(PlaneRefusal::Unresolved { points: asked.points, error }.into());
        }
        // The smallest errors stay, up to half of what is allowed.
        let mut kept = 0.0;
        for (log_error, _, cell) in &order {
            kept += (log_error - total).exp();
            if kept > 0.5 * tolerance {
                cells.split(*cell);
            }
        }
        asked.evaluate(cells)?;
    }
}

/// Share of the mass in the first square and in each doubling.
fn ring_masses(cells: &Cells, rings: i32, log_z: f64) -> Vec<f64> {
    let mut order: Vec<&Cell> = cells.leaves.keys().collect();
    order.sort_unstable();
    let mut masses = vec![0.0; rings as usize + 1];
    for cell in order {
        let far = cell.corner().into_iter().map(|x| (x + 0.5 * cell.side()).abs()).fold(0.0, f64::max);
        let ring = (far / FIRST).log2().ceil().clamp(0.0, f64::from(rings)) as usize;
        masses[ring] += (cells.leaves[cell].log_mass - log_z).exp();
    }
    masses
}

/// The mass outside of the last doubling, if it goes on falling as at the slower one of the last two steps.
fn extrapolated(masses: &[f64]) -> f64 {
    let [.., a, b, c] = masses else { return f64::INFINITY };
    if *c == 0.0 {
        return 0.0;
    }
    let ratio = (c / b).max(b / a);
    if ratio < 1.0 { c * ratio / (1.0 - ratio) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::assert_close;

    const TAU: f64 = std::f64::consts::TAU;

    fn integrate(of: impl Fn(f64, f64) -> f64) -> Result<PlaneIntegral> {
        integrate_from([0.0, 0.0], of)
    }

    fn integrate_from(centre: [f64; 2], of: impl Fn(f64, f64) -> f64) -> Result<PlaneIntegral> {
        let log_density =
            |p: &[f64]| Ok::<_, String>(p.chunks_exact(2).map(|p| of(p[0], p[1])).collect::<Vec<f64>>());
        integrate_plane(log_density, centre, [1.0, 1.0], 1e-3)
    }

    fn normal(x: f64, y: f64, [a, b]: [f64; 2], sd: f64) -> f64 {
        -((x - a).powi(2) + (y - b).powi(2)) / (2.0 * sd * sd)
    }

    #[test]
    fn normal_densities_far_narrow_wide_and_hot_have_their_constants() {
        for (centre, mean, sd) in [
            ([0.0, 0.0], [1.0, -1.0], 1.0),
            ([20.0, 20.0], [20.0, 20.0], 0.05),
            ([0.0, 0.0], [20.0, 20.0], 0.05),
            ([0.0, 0.0], [0.0, 0.0], 3.0),
            ([0.0, 0.0], [0.0, 0.0], 2.0), // standard deviation 1 at T = 4
            ([0.0, 0.0], [-40.0, 3.0], 1.0),
            ([0.0, 0.0], [0.013, 0.37], 1e-3),
            ([0.0, 0.0], [500.0, 0.0], 100.0),
        ] {
            let found = integrate_from(centre, |x, y| normal(x, y, mean, sd)).unwrap();
            assert!((found.log_z - (TAU * sd * sd).ln()).abs() < 1e-3, "{mean:?} {sd}: {found:?}");
            assert!(found.outside < 1e-3 && found.error < 1e-3 && found.points < 200_000, "{found:?}");
        }
    }

    #[test]
    fn correlated_ridges_and_rings_are_followed() {
        // Standard deviations 3 and 0.02 along the diagonals.
        let ridge = integrate(|x, y| {
            let (u, v) = ((x + y) / 2f64.sqrt(), (x - y) / 2f64.sqrt());
            -u * u / 18.0 - v * v / (2.0 * 4e-4)
        });
        assert!((ridge.unwrap().log_z - (TAU * 3.0 * 0.02).ln()).abs() < 1e-3);
        // exp(-(r - 2)²/(2 s²)): 2π ∫ r ... = 2π 2 s √(2π) up to e^-2000.
        let ring = integrate(|x, y| -((x * x + y * y).sqrt() - 2.0).powi(2) / (2.0 * 0.03 * 0.03)).unwrap();
        assert!((ring.log_z - (TAU * 2.0 * 0.03 * TAU.sqrt()).ln()).abs() < 1e-3, "{ring:?}");
        // A box has edges, which no rule is good at.
        let box_ = integrate(|x, y| if x.abs() < 0.7 && y.abs() < 1.3 { 0.0 } else { f64::NEG_INFINITY });
        assert!((box_.unwrap().log_z - (4.0 * 0.7 * 1.3f64).ln()).abs() < 1e-3);
    }

    #[test]
    fn far_modes_are_found_with_their_weights() {
        let modes = [([0.0, 0.0], 1.0, 1.0f64), ([25.0, -30.0], 0.2, 2.0), ([-55.0, 10.0], 0.05, 0.5)];
        let mixture = |x: f64, y: f64| {
            let terms: Vec<f64> = modes
                .iter()
                .map(|(c, sd, w)| normal(x, y, *c, *sd) - (TAU * sd * sd).ln() + w.ln())
                .collect();
            log_sum_exp(&terms)
        };
        let found = integrate(mixture).unwrap();
        assert!((found.log_z - 3.5f64.ln()).abs() < 1e-3, "{found:?}");
        // Draws have the weights of the modes.
        let uniforms: Vec<f64> =
            (0..30_000u64).map(|i| (crate::splitmix64(i) >> 11) as f64 / 2f64.powi(53)).collect();
        let draws = found.draws(&uniforms).unwrap();
        let near = draws.data().chunks_exact(2).filter(|p| (p[0] - 25.0).hypot(p[1] + 30.0) < 3.0).count();
        // 4/7 of 10,000, with a standard deviation of 49.
        assert!((near as f64 - 5714.0).abs() < 200.0, "{near}");
        assert!(found.draws(&uniforms[..4]).is_err());
    }

    #[test]
    fn tails_that_can_be_held_are_held_and_others_refused() {
        // Student's density with one degree of freedom: (1 + r²)^(-3/2), 2π; its mass outside of R is 1/R.
        let held = integrate(|x, y| -1.5 * (1.0 + x * x + y * y).ln()).unwrap();
        assert!((held.log_z - TAU.ln()).abs() < 2e-3 && held.half[0] >= 1000.0, "{held:?}");
        assert!(held.outside > 1e-4, "told, not hidden: {held:?}");
        // r^-2.1: the mass outside of R is R^-0.1.
        let heavy = integrate(|x, y| -1.05 * (1.0 + x * x + y * y).ln()).unwrap_err();
        assert!(
            matches!(heavy, EvalError::Plane(PlaneRefusal::HeavyTails { outside, .. }) if outside > 0.1),
            "{heavy}"
        );
    }

    #[test]
    fn improper_and_empty_densities_have_no_value() {
        for (name, of) in [
            ("constant", (|_, _| 0.0) as fn(f64, f64) -> f64),
            ("rising", |x, _| 0.1 * x),
            ("r^-2", |x, y| -(1.0 + x * x + y * y).ln()),
            ("a normal density on a floor", |x, y| log_sum_exp(&[-0.5 * (x * x + y * y), -30.0])),
            ("a ridge without end", |x, _| -0.5 * x * x),
        ] {
            let refused = integrate(of).unwrap_err();
            assert!(
                matches!(
                    refused,
                    EvalError::Plane(PlaneRefusal::Improper { .. } | PlaneRefusal::HeavyTails { .. })
                ),
                "{name}: {refused}"
            );
        }
        let nothing = integrate(|_, _| f64::NEG_INFINITY).unwrap_err();
        assert!(matches!(nothing, EvalError::Plane(PlaneRefusal::Nothing { .. })), "{nothing}");
        // Noise at every scale: no cells resolve it.
        let rough = integrate(|x, y| {
            if x.abs().max(y.abs()) < 1.0 { 9.0 * (1e7 * x).sin() * (1e7 * y).cos() } else { -1e9 }
        });
        assert!(matches!(rough.unwrap_err(), EvalError::Plane(PlaneRefusal::Unresolved { .. })));
    }

    #[test]
    fn other_temperatures_on_the_same_nodes_and_bad_answers() {
        let found = integrate(|x, y| normal(x, y, [0.0, 0.0], 1.0)).unwrap();
        assert_close(found.log_z_at(1.0), found.log_z, 1e-9);
        assert!((found.log_z_at(1.25) - (TAU / 1.25).ln()).abs() < 1e-3);
        let ask = |answer: f64, spread: f64, tolerance: f64| {
            let of = |p: &[f64]| Ok::<_, String>(vec![answer; p.len() / 2]);
            integrate_plane(of, [0.0, 0.0], [spread, 1.0], tolerance).unwrap_err().to_string()
        };
        assert!(ask(f64::NAN, 1.0, 1e-3).starts_with("log densities: value 0 is NaN"));
        assert!(ask(f64::INFINITY, 1.0, 1e-3).contains("inf"));
        assert!(ask(0.0, 0.0, 1e-3).contains("spread") && ask(0.0, 1.0, 1.0).contains("tolerance"));
        let failing = |_: &[f64]| Err::<Vec<f64>, _>("boom");
        assert!(
            integrate_plane(failing, [0.0, 0.0], [1.0, 1.0], 1e-3).unwrap_err().to_string().contains("boom")
        );
        let short = |_: &[f64]| Ok::<_, String>(vec![0.0]);
        assert!(integrate_plane(short, [0.0, 0.0], [1.0, 1.0], 1e-3).is_err());
    }

    #[test]
    fn axes_may_have_scales_of_their_own() {
        let of = |p: &[f64]| {
            let log = |p: &[f64]| -(p[0] - 1e6).powi(2) / 2e8 - p[1] * p[1] / 2e-6;
            Ok::<_, String>(p.chunks_exact(2).map(log).collect::<Vec<f64>>())
        };
        let found = integrate_plane(of, [1e6, 0.0], [1e4, 1e-3], 1e-3).unwrap();
        assert!((found.log_z - (TAU * 10.0).ln()).abs() < 1e-3, "{found:?}");
    }
}
