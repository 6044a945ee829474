//! Square cells of the plane, each with its integral: the tree that quadrature refines.

use std::collections::HashMap;

use crate::numeric::log_mean::log_sum_exp;

/// Nodes and weights of Gauss and Legendre on [0, 1], exact to degree 5; a node stands for the part of the cell that is as
/// wide as its weight.
const NODES: [f64; 3] = [0.112_701_665_379_258_31, 0.5, 0.887_298_334_620_741_7];
pub(crate) const WEIGHTS: [f64; 3] = [5.0 / 18.0, 8.0 / 18.0, 5.0 / 18.0];

/// How much less of a line integral may be seen behind an edge than before it: a factor of 3, which a normal density falls by
/// between neighbours that are as wide as its standard deviation, where it still has mass.
const SEEN: f64 = 1.098_612_288_668_109_8;

/// The cell `[i, i + 1] x [j, j + 1]` times 2^-level; the level may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub level: i32,
    pub i: i64,
    pub j: i64,
}

impl Cell {
    pub fn side(self) -> f64 {
        f64::from(-self.level).exp2()
    }

    pub fn corner(self) -> [f64; 2] {
        [self.i, self.j].map(|i| i as f64 * self.side())
    }

    /// The cell of a level that holds a point.
    pub fn at(level: i32, point: [f64; 2]) -> Self {
        let [i, j] = point.map(|x| (x * f64::from(level).exp2()).floor() as i64);
        Cell { level, i, j }
    }

    /// The nine nodes; number 4 is the centre.
    pub fn nodes(self) -> [[f64; 2]; 9] {
        let [x, y] = self.corner();
        std::array::from_fn(|k| [x + self.side() * NODES[k / 3], y + self.side() * NODES[k % 3]])
    }

    /// Log of the area that node `k` stands for.
    pub fn log_weight(self, k: usize) -> f64 {
        (WEIGHTS[k / 3] * WEIGHTS[k % 3]).ln() + 2.0 * self.side().ln()
    }

    fn children(self) -> [Cell; 4] {
        let (level, i, j) = (self.level + 1, 2 * self.i, 2 * self.j);
        [(i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1)].map(|(i, j)| Cell { level, i, j })
    }

    fn parent(self) -> Cell {
        Cell { level: self.level - 1, i: self.i >> 1, j: self.j >> 1 }
    }

    fn neighbours(self) -> [Cell; 4] {
        let by = |i, j| Cell { i: self.i + i, j: self.j + j, ..self };
        [by(-1, 0), by(1, 0), by(0, -1), by(0, 1)]
    }
}

/// What is known of a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    /// Log of its integral.
    pub log_mass: f64,
    /// Log of the estimated error of that integral.
    pub log_error: f64,
    /// Log densities at its nodes.
    pub at: [f64; 9],
}

impl Leaf {
    fn new(cell: Cell, at: [f64; 9]) -> Self {
        let terms: [f64; 9] = std::array::from_fn(|k| at[k] + cell.log_weight(k));
        let log_mass = log_sum_exp(&terms);
        // Against the midpoint rule, until its own children or its parent tell better.
        Leaf { log_mass, log_error: log_difference(log_mass, at[4] + 2.0 * cell.side().ln()), at }
    }
}

impl Leaf {
    /// Log of the integral over the line of its nodes with this number along `axis`.
    fn line(&self, cell: Cell, axis: usize, number: usize) -> f64 {
        let node = |k: usize| if axis == 0 { 3 * number + k } else { 3 * k + number };
        log_sum_exp(&[0, 1, 2].map(|k| self.at[node(k)] + WEIGHTS[k].ln())) + cell.side().ln()
    }
}

/// log |exp a − exp b|.
fn log_difference(a: f64, b: f64) -> f64 {
    let (high, low) = (a.max(b), a.min(b));
    if high == f64::NEG_INFINITY { high } else { high + (-(low - high).exp()).ln_1p() }
}

/// Leaves that cover a region without overlap. A leaf that is split takes coarser neighbours with it, so that neighbours
/// differ by about one level and refinement travels along narrow ridges that coarse cells do not see.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    pub leaves: HashMap<Cell, Leaf>,
    /// Cells to be evaluated: single ones, or the four children of a cell of known mass.
    pending: Vec<(Vec<Cell>, Option<f64>)>,
    /// The coarsest level.
    coarsest: i32,
}

impl Cells {
    pub fn add(&mut self, cell: Cell) {
        self.coarsest = self.coarsest.min(cell.level);
        self.pending.push((vec![cell], None));
    }

    /// Cells that are to be evaluated, in the order that [`enter`](Self::enter) wants them.
    pub fn pending(&self) -> impl Iterator<Item = Cell> {
        self.pending.iter().flat_map(|(cells, _)| cells.iter().copied())
    }

    /// Takes the log densities at the nodes of all pending cells, nine a cell.
    pub fn enter(&mut self, log_densities: &[f64]) {
        let mut values = log_densities.chunks_exact(9);
        for (cells, parent) in std::mem::take(&mut self.pending) {
            let mut leaves: Vec<(Cell, Leaf)> = cells
                .into_iter()
                .zip(values.by_ref())
                .map(|(cell, at)| (cell, Leaf::new(cell, std::array::from_fn(|k| at[k]))))
                .collect();
            if let Some(parent) = parent {
                let masses: Vec<f64> = leaves.iter().map(|(_, leaf)| leaf.log_mass).collect();
                let error = log_difference(log_sum_exp(&masses), parent) - 4f64.ln();
                leaves.iter_mut().for_each(|(_, leaf)| leaf.log_error = error);
            }
            self.leaves.extend(leaves);
        }
    }

    /// Splits a leaf, coarser neighbours before it; the children become pending. No leaf, no deed.
    pub fn split(&mut self, cell: Cell) {
        let mut stack = vec![cell];
        while let Some(&at) = stack.last() {
            let coarser = at.neighbours().into_iter().filter_map(|n| self.ancestor(n.parent())).next();
            match coarser.filter(|_| self.leaves.contains_key(&at)) {
                Some(coarser) => stack.push(coarser),
                None => {
                    stack.pop();
                    if let Some(leaf) = self.leaves.remove(&at) {
                        self.pending.push((at.children().to_vec(), Some(leaf.log_mass)));
                    }
                }
            }
        }
    }

    /// Leaves no finer than `cell`, a leaf, into which a density goes on over their common edge that their own nodes do not
    /// see, with the log of the mass that may lie behind the edge; of a square of half side `reach`.
    ///
    /// The line integral along the edge, seen from the inner side, must be found again on the outer side, up to
    /// [`SEEN`]; what lies behind it is its product with the length over which it falls, as far as `cell` tells.
    pub fn beyond(&self, cell: Cell, reach: f64) -> impl Iterator<Item = (Cell, f64)> {
        let leaf = self.leaves.get(&cell);
        let outward = cell.neighbours().into_iter().zip([(0, 0), (0, 2), (1, 0), (1, 2)]);
        outward.filter_map(move |(neighbour, (axis, edge))| {
            let (leaf, other) = (leaf?, self.ancestor(neighbour)?);
            let own = leaf.line(cell, axis, edge);
            let seen = self.leaves.get(&other)?.line(other, axis, 2 - edge);
            if own <= seen + SEEN || own == f64::NEG_INFINITY {
                return None;
            }
            let rate = (leaf.line(cell, axis, 2 - edge) - own) / (cell.side() * (NODES[2] - NODES[0]));
            Some((other, own - rate.max(1.0 / reach).ln()))
        })
    }

    /// The leaf that is `cell` or holds it.
    fn ancestor(&self, mut cell: Cell) -> Option<Cell> {
        while cell.level >= self.coarsest {
            if self.leaves.contains_key(&cell) {
                return Some(cell);
            }
            cell = cell.parent();
        }
        None
    }

    /// The leaf that holds a point, not finer than `finest`.
    pub fn holding(&self, point: [f64; 2], finest: i32) -> Option<Cell> {
        self.ancestor(Cell::at(finest, point))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn evaluate(cells: &mut Cells, log_density: fn([f64; 2]) -> f64) {
        let values: Vec<f64> = cells.pending().flat_map(Cell::nodes).map(log_density).collect();
        cells.enter(&values);
    }

    #[test]
    fn a_polynomial_is_exact_and_neighbours_stay_close() {
        let mut cells = Cells::default();
        for (i, j) in [(-1, -1), (-1, 0), (0, -1), (0, 0)] {
            cells.add(Cell { level: 0, i, j });
        }
        let density = |[x, y]: [f64; 2]| (3.0 + x + x.powi(4) * y * y).ln();
        evaluate(&mut cells, density);
        for _ in 0..6 {
            // Always the leaf at a corner in the middle: its neighbours must follow.
            let at = cells.holding([0.01, 0.01], 9).unwrap();
            cells.split(at);
            evaluate(&mut cells, density);
        }
        let masses: Vec<f64> = cells.leaves.values().map(|l| l.log_mass).collect();
        assert!((log_sum_exp(&masses).exp() - (12.0 + 4.0 / 15.0)).abs() < 1e-12);
        for cell in cells.leaves.keys() {
            for n in cell.neighbours() {
                assert!(cells.ancestor(n).is_none_or(|a| cell.level - a.level <= 1), "{cell:?}");
            }
        }
        assert!(cells.leaves.values().all(|l| l.log_error < -25.0 || l.log_error < l.log_mass));
    }
}
