//! Transforms of strided 3×3 convolutions of a map or of its box sums, and their adjoints.
//!
//! With `x` from `x₂ₒ₋₁` on the five products of two places are `w₀(x₀ − x₂)`, `(w₀ + w₂)x₂`, `w₂(x₂ − x₄)`, `w₁x₁`, `w₁x₃`, and
//! `y₀ = m₀ + m₁ + m₃`, `y₁ = m₁ − m₂ + m₄`. See [`cells`](crate::conv::cells); box sums are those of [`boxes`](super::boxes).

mod calls;

use super::View;
use crate::conv::cells::{Cell, Place};
use crate::simd::Simd;

/// A linear map along one axis of a cell; only the first entries of its arrays are of use.
trait Along {
    /// Entries in and out of one place, and of a pair.
    const ONE: (usize, usize);
    const TWO: (usize, usize);
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn apply<S: Simd, const PAIR: bool>(x: [S::V; 7], cell: Cell) -> [S::V; 7];
}

/// From a map to the products' factors.
struct In<const BOX: bool>;
/// Its adjoint.
struct Back<const BOX: bool>;
/// From products to places.
struct Out;
/// Its adjoint.
struct Adjoint;

const fn reach(boxes: bool) -> (usize, usize) {
    if boxes { (5, 7) } else { (3, 5) }
}

impl<const BOX: bool> Along for In<BOX> {
    const ONE: (usize, usize) = (reach(BOX).0, 3);
    const TWO: (usize, usize) = (reach(BOX).1, 5);
    #[inline(always)]
    unsafe fn apply<S: Simd, const PAIR: bool>(x: [S::V; 7], cell: Cell) -> [S::V; 7] {
        // SAFETY: pure vector arithmetic of the caller's instruction set.
        unsafe {
            let mut o = [S::zero(); 7];
            match (PAIR, BOX) {
                (true, false) => {
                    [o[0], o[1], o[2], o[3], o[4]] =
                        [S::sub(x[0], x[2]), x[2], S::sub(x[2], x[4]), x[1], x[3]];
                }
                (true, true) => {
                    // Differences of sums of three, as far as they do not cancel.
                    let (a, b) = (S::add(x[2], x[3]), S::add(x[3], x[4]));
                    o[0] = S::sub(S::add(x[0], x[1]), b);
                    o[1] = S::add(x[2], b);
                    o[2] = S::sub(a, S::add(x[5], x[6]));
                    o[3] = S::add(x[1], a);
                    o[4] = S::add(b, x[5]);
                }
                (false, false) => [o[0], o[1], o[2]] = [x[0], x[1], x[2]],
                (false, true) => {
                    for k in 0..3 {
                        o[k] = x[k + 1];
                        if cell.behind {
                            o[k] = S::add(o[k], x[k + 2]);
                        }
                        if cell.before {
                            o[k] = S::add(o[k], x[k]);
                        }
                    }
                }
            }
            o
        }
    }
}

impl<const BOX: bool> Along for Back<BOX> {
    const ONE: (usize, usize) = (3, reach(BOX).0);
    const TWO: (usize, usize) = (5, reach(BOX).1);
    #[inline(always)]
    unsafe fn apply<S: Simd, const PAIR: bool>(t: [S::V; 7], cell: Cell) -> [S::V; 7] {
        // SAFETY: as above.
        unsafe {
            let mut x = [S::zero(); 7];
            match (PAIR, BOX) {
                (true, false) => {
                    [x[0], x[1], x[3]] = [t[0], t[3], t[4]];
                    x[2] = S::add(S::sub(t[1], t[0]), t[2]);
                    x[4] = S::sub(S::zero(), t[2]);
                }
                (true, true) => {
                    let (a, b) = (S::add(S::sub(t[1], t[0]), t[4]), S::add(t[2], t[3]));
                    x[0] = t[0];
                    x[1] = S::add(t[0], t[3]);
                    x[2] = S::add(t[1], b);
                    x[3] = S::add(a, b);
                    x[4] = a;
                    x[5] = S::sub(t[4], t[2]);
                    x[6] = S::sub(S::zero(), t[2]);
                }
                (false, false) => [x[0], x[1], x[2]] = [t[0], t[1], t[2]],
                (false, true) => {
                    for k in 0..3 {
                        x[k + 1] = S::add(x[k + 1], t[k]);
                        if cell.behind {
                            x[k + 2] = S::add(x[k + 2], t[k]);
                        }
                        if cell.before {
                            x[k] = S::add(x[k], t[k]);
                        }
                    }
                }
            }
            x
        }
    }
}

impl Along for Out {
    const ONE: (usize, usize) = (3, 1);
    const TWO: (usize, usize) = (5, 2);
    #[inline(always)]
    unsafe fn apply<S: Simd, const PAIR: bool>(m: [S::V; 7], _: Cell) -> [S::V; 7] {
        // SAFETY: as above.
        unsafe {
            let mut y = [S::zero(); 7];
            if PAIR {
                y[0] = S::add(S::add(m[0], m[1]), m[3]);
                y[1] = S::add(S::sub(m[1], m[2]), m[4]);
            } else {
                y[0] = S::add(S::add(m[0], m[2]), m[1]);
            }
            y
        }
    }
}

impl Along for Adjoint {
    const ONE: (usize, usize) = (1, 3);
    const TWO: (usize, usize) = (2, 5);
    #[inline(always)]
    unsafe fn apply<S: Simd, const PAIR: bool>(y: [S::V; 7], _: Cell) -> [S::V; 7] {
        // SAFETY: as above.
        unsafe {
            let mut d = [y[0]; 7];
            if PAIR {
                d[1] = S::add(y[0], y[1]);
                d[2] = S::sub(S::zero(), y[1]);
                d[4] = y[1];
            }
            d
        }
    }
}

/// What a loader and a storer are told of an axis: whether the cell is a pair, and the entry.
type Entry = (bool, usize);

/// `A` along both axes of a cell, columns first.
#[inline(always)]
unsafe fn tile<S: Simd, A: Along, const R: bool, const C: bool>(
    place: &Place,
    load: &impl Fn(Entry, Entry) -> S::V,
    store: &impl Fn(Entry, Entry, S::V),
) {
    let (rows, columns) = (if R { A::TWO } else { A::ONE }, if C { A::TWO } else { A::ONE });
    // SAFETY: as above.
    unsafe {
        let mut t = [[S::zero(); 7]; 7];
        for j in 0..columns.0 {
            let mut x = [S::zero(); 7];
            for i in 0..rows.0 {
                x[i] = load((R, i), (C, j));
            }
            let o = A::apply::<S, R>(x, place.row);
            for i in 0..rows.1 {
                t[i][j] = o[i];
            }
        }
        for i in 0..rows.1 {
            let o = A::apply::<S, C>(t[i], place.column);
            for j in 0..columns.1 {
                store((R, i), (C, j), o[j]);
            }
        }
    }
}

#[inline(always)]
unsafe fn each_kind<S: Simd, A: Along>(
    place: &Place,
    load: &impl Fn(Entry, Entry) -> S::V,
    store: &impl Fn(Entry, Entry, S::V),
) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match (place.row.pair, place.column.pair) {
            (true, true) => tile::<S, A, true, true>(place, load, store),
            (true, false) => tile::<S, A, true, false>(place, load, store),
            (false, true) => tile::<S, A, false, true>(place, load, store),
            (false, false) => tile::<S, A, false, false>(place, load, store),
        }
    }
}

/// Where a cell begins in its map, and what of it lies there.
#[derive(Clone, Copy)]
struct Window {
    /// Two more than its first row and column.
    top: usize,
    left: usize,
    h: usize,
    w: usize,
    /// Whether all of it lies in the map.
    whole: bool,
}

impl Window {
    #[inline(always)]
    fn new<const BOX: bool>(p: &Place, h: usize, w: usize) -> Window {
        let up = if BOX { 2 } else { 1 };
        let wide = |c: Cell| if c.pair { reach(BOX).1 } else { reach(BOX).0 };
        let (top, left) = (2 * p.row.first + 2 - up, 2 * p.column.first + 2 - up);
        let whole = top >= 2 && left >= 2 && top - 2 + wide(p.row) <= h && left - 2 + wide(p.column) <= w;
        Window { top, left, h, w, whole }
    }

    #[inline(always)]
    fn has(self, (_, i): Entry, (_, j): Entry) -> bool {
        (2..self.h + 2).contains(&(self.top + i)) && (2..self.w + 2).contains(&(self.left + j))
    }

    /// Its first pixel, which may lie before the map.
    #[inline(always)]
    unsafe fn start(self, x: View, c: usize, p: &Place) -> *mut f32 {
        // SAFETY: the block and the image are the tensor's.
        let first = unsafe { x.at(c, p.image, 0, 0) };
        first.wrapping_add(self.top * x.rs + self.left * 16).wrapping_sub(2 * (x.rs + 16))
    }
}

/// From a map of `h × w` to `v[block][row][16]` with block stride `vks`; box sums read the halo.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn strided_in<S: Simd, const BOX: bool>(
    x: View,
    cb: usize,
    h: usize,
    w: usize,
    places: &[Place],
    v: *mut f32,
    vks: usize,
) {
    for c in 0..cb {
        for p in places {
            let window = Window::new::<BOX>(p, h, w);
            for hv in 0..16 / S::L {
                // SAFETY: what is read lies in the map, or in the halo and slack that cover what its cells reach; v has room for their rows.
                unsafe {
                    let src = window.start(x, c, p).wrapping_add(hv * S::L);
                    // What a place does not count it does not read.
                    let first = |c: Cell| usize::from(BOX && !c.before);
                    let (top, left) = (first(p.row), first(p.column));
                    let dst = v.add(c * vks + hv * S::L);
                    let load = |(_, i): Entry, (_, j): Entry| {
                        S::load(src.wrapping_add(i.max(top) * x.rs + j.max(left) * 16).cast_const())
                    };
                    let clipped = |i: Entry, j: Entry| if window.has(i, j) { load(i, j) } else { S::zero() };
                    let store = |i: Entry, j: Entry, o: S::V| S::store(dst.add(p.point(i, j)), o);
                    if BOX || window.whole {
                        each_kind::<S, In<BOX>>(p, &load, &store);
                    } else {
                        each_kind::<S, In<BOX>>(p, &clipped, &store);
                    }
                }
            }
        }
    }
}

/// Adjoint of [`strided_in`]: adds into the pixels of a map of `h × w`; its halo is left alone.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn strided_back<S: Simd, const BOX: bool>(
    m: *const f32,
    mks: usize,
    gx: View,
    cb: usize,
    h: usize,
    w: usize,
    places: &[Place],
) {
    for c in 0..cb {
        for p in places {
            let window = Window::new::<BOX>(p, h, w);
            for hv in 0..16 / S::L {
                // SAFETY: only rows and columns inside h × w are written.
                unsafe {
                    let src = m.add(c * mks + hv * S::L);
                    let dst = window.start(gx, c, p).wrapping_add(hv * S::L);
                    let load = |i: Entry, j: Entry| S::load(src.add(p.point(i, j)));
                    let add = |(_, i): Entry, (_, j): Entry, o: S::V| {
                        let q = dst.wrapping_add(i * gx.rs + j * 16);
                        S::store(q, S::add(S::load(q), o));
                    };
                    let clipped = |i: Entry, j: Entry, o: S::V| {
                        if window.has(i, j) {
                            add(i, j, o);
                        }
                    };
                    if window.whole {
                        each_kind::<S, Back<BOX>>(p, &load, &add);
                    } else {
                        each_kind::<S, Back<BOX>>(p, &load, &clipped);
                    }
                }
            }
        }
    }
}

/// From products to the places of `y`.
#[inline(always)]
pub(super) unsafe fn strided_out<S: Simd>(m: *const f32, mks: usize, y: View, kb: usize, places: &[Place]) {
    for c in 0..kb {
        for p in places {
            for hv in 0..16 / S::L {
                // SAFETY: the places are those of the map.
                unsafe {
                    let src = m.add(c * mks + hv * S::L);
                    let dst = y.at(c, p.image, p.row.first, p.column.first).add(hv * S::L);
                    let load = |i: Entry, j: Entry| S::load(src.add(p.point(i, j)));
                    let store = |(_, i): Entry, (_, j): Entry, o: S::V| {
                        S::store(dst.add(i * y.rs + j * 16), o);
                    };
                    each_kind::<S, Out>(p, &load, &store);
                }
            }
        }
    }
}

/// Adjoint of [`strided_out`].
#[inline(always)]
pub(super) unsafe fn strided_adjoint<S: Simd>(y: View, kb: usize, places: &[Place], d: *mut f32, dks: usize) {
    for c in 0..kb {
        for p in places {
            for hv in 0..16 / S::L {
                // SAFETY: the places are those of the map; d has room for their rows.
                unsafe {
                    let src = y.at(c, p.image, p.row.first, p.column.first).add(hv * S::L).cast_const();
                    let dst = d.add(c * dks + hv * S::L);
                    let load = |(_, i): Entry, (_, j): Entry| S::load(src.add(i * y.rs + j * 16));
                    let store = |i: Entry, j: Entry, o: S::V| S::store(dst.add(p.point(i, j)), o);
                    each_kind::<S, Adjoint>(p, &load, &store);
                }
            }
        }
    }
}
