//! Quadrature over the plane that finds its own square and its own cells, or says why it cannot.

use std::fmt::Display;

use crate::error::{EvalError, Result, same};
use crate::numeric::log_mean::log_sum_exp;
use crate::plane::cells::{Cell, Cells, WEIGHTS};
use crate::plane::integral::{PlaneIntegral, PlaneNode};
use crate::plane::peaks::{Peak, climb, peaks};
use crate::plane::refusal::PlaneRefusal;
use crate::plane::ridges::along_an_axis;

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
/// Of the tolerance, the share that may lie unseen behind one edge of a cell.
const BEHIND: f64 = 0.02;
/// Places that are looked at besides, at most: of more, those that are farthest from each other.
const PLACES: usize = 64;
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
///    differences sum to half of `tolerance`; with a cell, coarser neighbours are split. Where a line integral is not found
///    again behind the edge of a cell and much may lie there, the cell behind is split: ridges are followed to their ends.
/// 4. A ridge along an axis is taken in units of its own length and width first.
///
/// A peak that is narrower than the cells where it stands, and that no climb from their centres finds, is missed, as by every
/// quadrature: [`integrate_plane_at`] looks at places where one may be.
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
    integrate_plane_at(log_density, centre, spread, &[], tolerance)
}

/// As [`integrate_plane`], which also climbs from `places` (x and y in turn: data, samples, means that are known), from at
/// most 64 of them that are far from each other: a narrow peak near one of them is found wherever it is.
///
/// # Errors
/// As [`integrate_plane`], or if `places` are no pairs of finite numbers.
pub fn integrate_plane_at<E: Display>(
    log_density: impl FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
    centre: [f64; 2],
    spread: [f64; 2],
    places: &[f64],
    tolerance: f64,
) -> Result<PlaneIntegral> {
    same("numbers of places", places.len(), places.len() / 2 * 2, "two a place")?;
    if let Some(index) = places.iter().position(|v| !v.is_finite()) {
        return Err(EvalError::NotFinite { what: "places", index, value: places[index] });
    }
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
    let places = apart(places, centre, spread);
    let mut asked = Asked { log_density, centre, spread, points: 0, places: places.len() };
    let first = f64::from(-LEVEL).exp2();
    let ridge = along_an_axis(&mut |points: &[[f64; 2]]| asked.at(points), first)?;
    if let Some((peak, sides)) = ridge
        && let Some(rings) = rings_over(sides)
    {
        let own = |p: [f64; 2]| [0, 1].map(|a| p[a] / sides[a]);
        let places: Vec<[f64; 2]> = places.iter().copied().chain([peak.at]).map(own).collect();
        asked.spread = [0, 1].map(|a| spread[a] * sides[a]);
        match integrate(&mut asked, &places, rings, tolerance) {
            Err(EvalError::Plane(_)) => asked.spread = spread,
            found => return found,
        }
        asked.points = 0;
    }
    integrate(&mut asked, &places, RINGS.0, tolerance)
}

/// Doublings after which squares of these sides hold the squares of side 1 that are always looked at, if there are so many.
fn rings_over(sides: [f64; 2]) -> Option<i32> {
    let more = -sides[0].min(sides[1]).log2().floor() as i32;
    let rings = RINGS.0 + more.max(0);
    (rings < RINGS.1).then_some(rings)
}

/// Places in units of the spreads around the centre; of many those that are farthest from all before them.
fn apart(places: &[f64], centre: [f64; 2], spread: [f64; 2]) -> Vec<[f64; 2]> {
    let all: Vec<[f64; 2]> =
        places.chunks_exact(2).map(|p| [0, 1].map(|a| (p[a] - centre[a]) / spread[a])).collect();
    let mut found = Vec::new();
    let mut distances = vec![f64::INFINITY; all.len()];
    while found.len() < PLACES.min(all.len()) {
        let farthest =
            (0..all.len()).fold(0, |best, i| if distances[i] > distances[best] { i } else { best });
        if distances[farthest] == 0.0 {
            break;
        }
        let chosen = all[farthest];
        found.push(chosen);
        for (distance, p) in distances.iter_mut().zip(&all) {
            *distance = distance.min((p[0] - chosen[0]).hypot(p[1] - chosen[1]));
        }
    }
    found
}

/// The integral in the units of `asked`, over squares that are doubled `least` times at least.
fn integrate<F, E: Display>(
    asked: &mut Asked<F>,
    places: &[[f64; 2]],
    least: i32,
    tolerance: f64,
) -> Result<PlaneIntegral>
where
    F: FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
{
    let mut cells = Cells::default();
    let mut rings = -1;
    let least = places.iter().map(|p| ring_of(*p, RINGS.1)).fold(least, i32::max);
    let mut wanted = least;
    loop {
        while rings < wanted {
            rings += 1;
            add_ring(&mut cells, rings);
            asked.evaluate(&mut cells)?;
            let side = f64::from(rings - LEVEL).exp2();
            let narrow = peaks(&mut |points: &[[f64; 2]]| asked.at(points), side, rings > 0)?;
            split_at_peaks(&mut cells, asked, narrow)?;
            let inside = |p: &[f64; 2]| p[0].abs().max(p[1].abs()) < half_side(rings);
            let here = places.iter().filter(|p| inside(p) && ring_of(**p, rings) == rings).copied();
            let narrow = look_at(asked, here, side)?;
            split_at_peaks(&mut cells, asked, narrow)?;
        }
        let half = asked.half(rings);
        let widest = half[0].max(half[1]);
        let Some((log_z, error)) = refine(&mut cells, asked, CELLS * tolerance)? else {
            if rings < RINGS.1 {
                wanted = (rings + 2).min(RINGS.1);
                continue;
            }
            return Err(PlaneRefusal::Nothing { points: asked.points, half: widest }.into());
        };
        if follow(&mut cells, asked, log_z + (BEHIND * tolerance).ln(), rings)? {
            continue;
        }
        let masses = ring_masses(&cells, rings, log_z);
        let outside = extrapolated(&masses);
        if outside <= tolerance {
            return Ok(asked.integral(&cells, rings, log_z, (outside, error)));
        }
        let grows = masses.windows(2).rev().take(3).all(|m| m[1] >= m[0] && m[1] > 0.0);
        if grows && rings >= IMPROPER.max(least) {
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
    /// Places that are looked at besides.
    places: usize,
}

impl<F, E: Display> Asked<F>
where
    F: FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
{
    /// Log densities at points in these units.
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

    fn integral(&self, cells: &Cells, rings: i32, log_z: f64, (outside, error): (f64, f64)) -> PlaneIntegral {
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
            places: self.places,
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

/// Peaks near places, climbed to from there, `side` wide at first.
fn look_at<F, E: Display>(
    asked: &mut Asked<F>,
    places: impl Iterator<Item = [f64; 2]>,
    side: f64,
) -> Result<Vec<Peak>>
where
    F: FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
{
    let places: Vec<[f64; 2]> = places.collect();
    let heights = asked.at(&places)?;
    let seen = places.into_iter().zip(heights).filter(|(_, height)| *height > f64::NEG_INFINITY);
    let begun = seen.map(|(at, log_density)| Peak { at, width: side, log_density }).collect();
    climb(&mut |points: &[[f64; 2]]| asked.at(points), begun)
}

/// Splits the leaves at peaks that are narrower than they, down to the peaks' widths.
fn split_at_peaks<F, E: Display>(cells: &mut Cells, asked: &mut Asked<F>, narrow: Vec<Peak>) -> Result<()>
where
    F: FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
{
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

/// Splits cells behind whose edge more than `most` (its log) may lie unseen, and so along a ridge to its end; whether there
/// were any.
fn follow<F, E: Display>(cells: &mut Cells, asked: &mut Asked<F>, most: f64, rings: i32) -> Result<bool>
where
    F: FnMut(&[f64]) -> std::result::Result<Vec<f64>, E>,
{
    let reach = half_side(rings);
    let mut front: Vec<Cell> = cells.leaves.keys().copied().collect();
    let mut any = false;
    loop {
        front.sort_unstable();
        front.dedup();
        let (mut next, mut blind, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
        for cell in front {
            for (other, mass) in cells.beyond(cell, reach).filter(|(_, mass)| *mass > most) {
                next.push(cell);
                blind.push(other);
                unseen.push(mass - most);
            }
        }
        if blind.is_empty() {
            return Ok(any);
        }
        if asked.points >= MOST {
            let error = (log_sum_exp(&unseen).exp() * BEHIND).min(1.0);
            return Err(PlaneRefusal::Unresolved { points: asked.points, error }.into());
        }
        any = true;
        blind.into_iter().for_each(|cell| cells.split(cell));
        next.extend(cells.pending());
        asked.evaluate(cells)?;
        front = next;
    }
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

/// The doubling that a point lies in, 0 for the first square, at most `rings`.
fn ring_of(point: [f64; 2], rings: i32) -> i32 {
    let far = point[0].abs().max(point[1].abs());
    (far / FIRST).log2().ceil().clamp(0.0, f64::from(rings)) as i32
}

/// Share of the mass in the first square and in each doubling.
fn ring_masses(cells: &Cells, rings: i32, log_z: f64) -> Vec<f64> {
    let mut order: Vec<&Cell> = cells.leaves.keys().collect();
    order.sort_unstable();
    let mut masses = vec![0.0; rings as usize + 1];
    for cell in order {
        let ring = ring_of(cell.corner().map(|x| x + 0.5 * cell.side()), rings);
        masses[ring as usize] += (cells.leaves[cell].log_mass - log_z).exp();
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
mod tests;
