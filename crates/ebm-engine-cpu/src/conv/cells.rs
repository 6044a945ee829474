//! How the places of a strided 3×3 convolution are computed: two neighbours together where their inputs are those of one
//! convolution, else each alone; and which rows of which product they are.
//!
//! Along one axis place `o` is `w₀ x₂ₒ₋₁ + w₁ x₂ₒ + w₂ x₂ₒ₊₁`. Two neighbours share `x₂ₒ₊₁`: their outer taps are F(2, 2) (Winograd 1980), so
//! a pair takes five products instead of six. Sums of boxes leave out what pooling does not count, so the first place, and the
//! last of an odd map, have sums of their own and stand alone.

use super::arena::Geom;

/// Different weights along an axis: `w₀`, `w₀ + w₂`, `w₂`, `w₁`.
pub(crate) const WEIGHTS: usize = 4;
/// Products of both axes with different weights.
pub(crate) const GROUPS: usize = WEIGHTS * WEIGHTS;
/// Most products of a cell: those of two places in both axes.
pub(crate) const POINTS: usize = 25;

/// The places of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    size: usize,
    places: usize,
    /// Places at the beginning that stand alone.
    alone: usize,
    pairs: usize,
}

/// One or two places of an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// The first place.
    pub first: usize,
    pub pair: bool,
    /// Whether a pooled place counts the rows before and behind its own.
    pub before: bool,
    pub behind: bool,
}

impl Axis {
    /// The axis of a map of `size`; `boxes` says that sums of boxes are convolved.
    pub(crate) fn new(size: usize, boxes: bool) -> Axis {
        let places = size.div_ceil(2);
        let (alone, inner) = if boxes { (1, (size / 2).saturating_sub(1)) } else { (0, places) };
        Axis { size, places, alone, pairs: inner / 2 }
    }

    pub(crate) fn cells(self) -> usize {
        self.places - self.pairs
    }

    /// Products of the whole axis.
    pub(crate) fn products(self) -> usize {
        3 * self.places - self.pairs
    }

    fn cell(self, k: usize) -> Cell {
        let pair = k >= self.alone && k < self.alone + self.pairs;
        let first = k + k.saturating_sub(self.alone).min(self.pairs);
        Cell { first, pair, before: first > 0, behind: 2 * first + 1 < self.size }
    }
}

/// Rows that one place and a pair have in the products with each of the weights.
const ROWS: [[u32; WEIGHTS]; 2] = [[1, 0, 1, 1], [1, 1, 1, 2]];

/// Rows in each group of the four kinds of cells: one place or a pair in each axis.
const COUNTS: [[u32; GROUPS]; 4] = {
    let mut counts = [[0; GROUPS]; 4];
    let mut i = 0;
    while i < 4 * GROUPS {
        let (kind, g) = (i / GROUPS, i % GROUPS);
        counts[kind][g] = ROWS[kind / 2][g / WEIGHTS] * ROWS[kind % 2][g % WEIGHTS];
        i += 1;
    }
    counts
};

/// A cell of both axes in one image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub image: usize,
    pub row: Cell,
    pub column: Cell,
    /// Floats before its first row in the product of each group.
    at: [u32; GROUPS],
}

impl Place {
    /// Floats before the row of a point, given by the number along each axis and whether there are two places. A pair has `w₁` twice.
    #[inline(always)]
    pub(crate) fn point(&self, row: (bool, usize), column: (bool, usize)) -> usize {
        let weight = |(pair, i): (bool, usize)| if pair { i.min(3) } else { [0, 3, 2][i] };
        let second = |(pair, i): (bool, usize)| usize::from(pair && i == 4);
        let (a, b) = (weight(row), weight(column));
        let wide = if column.0 && b == 3 { 2 } else { 1 };
        self.at[a * WEIGHTS + b] as usize + (second(row) * wide + second(column)) * 16
    }
}

/// Some cells of a batch, and where their rows stand: `[channel block][group][row][16]`.
#[derive(Default)]
pub(crate) struct Cells {
    pub places: Vec<Place>,
    /// Rows of each group.
    pub rows: [usize; GROUPS],
    /// Floats before the first row of each group.
    pub start: [usize; GROUPS],
    /// Floats between channel blocks.
    pub stride: usize,
    axes: Option<(Axis, Axis)>,
}

impl Cells {
    /// Most floats of a channel block of `n` cells.
    pub(crate) fn most(n: usize) -> usize {
        (n * POINTS + GROUPS + 1) * 16
    }

    /// Room for `n` cells.
    pub(crate) fn reserve(&mut self, n: usize) {
        self.places.reserve(n.saturating_sub(self.places.len()));
    }

    /// The cells `t0..t1`: those of an image after the other, rows, then columns.
    pub(crate) fn fill(&mut self, axes: (Axis, Axis), t0: usize, t1: usize) {
        let (high, wide) = (axes.0.cells(), axes.1.cells());
        self.axes = Some(axes);
        self.places.clear();
        let mut rows = [0; GROUPS];
        let (mut image, mut r, mut q) = (t0 / (high * wide), t0 / wide % high, t0 % wide);
        for _ in t0..t1 {
            let (row, column) = (axes.0.cell(r), axes.1.cell(q));
            self.places.push(Place { image, row, column, at: rows });
            let counts = &COUNTS[usize::from(row.pair) * 2 + usize::from(column.pair)];
            rows.iter_mut().zip(counts).for_each(|(rows, count)| *rows += count);
            q += 1;
            if q == wide {
                (q, r) = (0, r + 1);
            }
            if r == high {
                (r, image) = (0, image + 1);
            }
        }
        let (mut at, mut start) = (0, [0; GROUPS]);
        for (start, rows) in start.iter_mut().zip(rows) {
            *start = at;
            // One line between groups, so that they do not fall into the same cache sets.
            at += (rows + 1) * 16;
        }
        self.rows = rows.map(|n| n as usize);
        self.start = start.map(|n| n as usize);
        self.stride = at as usize + 16;
        for place in &mut self.places {
            place.at.iter_mut().zip(start).for_each(|(at, start)| *at = *at * 16 + start);
        }
    }

    /// Asserts that these are cells of `n` images of a map of `h × w`.
    pub(crate) fn check(&self, n: usize, (h, w): (usize, usize), boxes: bool) {
        assert_eq!(self.axes, Some((Axis::new(h, boxes), Axis::new(w, boxes))), "cells of another map");
        assert!(self.places.last().is_none_or(|p| p.image < n), "cells outside the tensor");
    }

    /// Asserts that their places are those of the images of `g` from `i0` on.
    pub(crate) fn check_places(&self, g: &Geom, i0: usize) {
        assert!(self.axes.is_some_and(|(r, c)| (r.places, c.places) == (g.h, g.w)), "cells of another map");
        assert!(self.places.last().is_none_or(|p| p.image < g.n - i0), "cells outside the tensor");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every place belongs to one cell, and a pooled pair counts all rows.
    #[test]
    fn cells_cover_the_places() {
        for (size, boxes) in (1..40).flat_map(|size| [(size, false), (size, true)]) {
            let axis = Axis::new(size, boxes);
            let cells: Vec<Cell> = (0..axis.cells()).map(|k| axis.cell(k)).collect();
            let places: Vec<usize> =
                cells.iter().flat_map(|c| c.first..c.first + 1 + usize::from(c.pair)).collect();
            assert_eq!(places, (0..size.div_ceil(2)).collect::<Vec<_>>(), "{size}");
            for c in cells.iter().filter(|c| boxes && c.pair) {
                assert!(c.before && 2 * (c.first + 1) + 1 < size, "{size} {c:?}");
            }
            let points: u32 = cells.iter().flat_map(|c| ROWS[usize::from(c.pair)]).sum();
            assert_eq!(points as usize, axis.products(), "{size}");
        }
    }

    /// All points of all cells have rows of their own, in the groups' bounds.
    #[test]
    fn rows_do_not_overlap() {
        let mut cells = Cells::default();
        cells.fill((Axis::new(7, false), Axis::new(12, true)), 3, 40);
        let points = |c: Cell| (0..if c.pair { 5 } else { 3 }).map(move |i| (c.pair, i));
        let mut all: Vec<usize> = cells
            .places
            .iter()
            .flat_map(|p| points(p.row).flat_map(move |r| points(p.column).map(move |c| p.point(r, c))))
            .collect();
        all.sort_unstable();
        let want = (0..GROUPS).flat_map(|g| (0..cells.rows[g]).map(move |r| (g, r)));
        assert_eq!(all, want.map(|(g, r)| cells.start[g] + r * 16).collect::<Vec<_>>());
        assert!(all.iter().all(|at| at + 16 <= cells.stride) && cells.stride <= Cells::most(37));
    }
}
