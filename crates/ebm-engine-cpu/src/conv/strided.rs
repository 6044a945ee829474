//! Strided 3×3 convolutions, of maps or of box sums, by the products of [`cells`](super::cells).

use super::arena::{Dst, Geom, Src};
use super::cells::{Axis, GROUPS, POINTS};
use super::convolve::{Scratch, TILES, TOGETHER, runs, tiles_at_once};
use super::kernels::{Blocks, Kernels, STRIDED};

/// Runs of at most `most` of the cells of `n` images of a map of geometry `x`, and what its axes are.
fn cells_of(
    x: &Geom,
    boxes: bool,
    n: usize,
    most: usize,
) -> ((Axis, Axis), impl Iterator<Item = (usize, usize)>) {
    let axes = (Axis::new(x.h, boxes), Axis::new(x.w, boxes));
    (axes, runs(n * axes.0.cells() * axes.1.cells(), most))
}

/// The products of all groups with blocks `from..from + blocks` of the packed weights `w`: from `v` of `inner` channels to `m`.
fn products(k: &Kernels, s: &mut Scratch, w: &[f32], inner: usize, from: usize, blocks: usize) {
    let rows = inner.div_ceil(16);
    let size = rows * blocks * 256;
    let panels = &w[GROUPS * rows * from * 256..];
    for g in (0..GROUPS).filter(|&g| s.cells.rows[g] > 0) {
        let c = Blocks { at: s.cells.start[g], stride: s.cells.stride };
        let w = &panels[g * size..(g + 1) * size];
        k.gemm(s.cells.rows[g], &s.koff, inner, &s.v, c.at, w, blocks, &mut s.m, c, false);
    }
}

/// Both directions, from `inner` channels to `outer` blocks: `gather` makes the factors of a run, `scatter` takes the products of some blocks of
/// the result.
#[allow(clippy::too_many_arguments)]
fn convolve(
    k: &Kernels,
    s: &mut Scratch,
    w: &[f32],
    (inner, outer): (usize, usize),
    (map, boxes): (&Geom, bool),
    n: usize,
    gather: impl Fn(&mut Scratch),
    mut scatter: impl FnMut(&Scratch, (usize, usize)),
) {
    let blocks = inner.div_ceil(16);
    let (axes, runs) = cells_of(map, boxes, n, tiles_at_once(blocks.max(outer), POINTS));
    for (t0, t1) in runs {
        s.cells.fill(axes, t0, t1);
        s.koff.clear();
        s.koff.extend((0..blocks).map(|c| c * s.cells.stride));
        gather(s);
        for from in (0..outer).step_by(TOGETHER) {
            let blocks = (outer - from).min(TOGETHER);
            products(k, s, w, inner, from, blocks);
            scatter(s, (from, blocks));
        }
    }
}

/// `y = W x` on `n` physical images with the packed weights `w`; `x` has `inner` channels.
pub(super) fn forward(
    k: &Kernels,
    s: &mut Scratch,
    (boxes, inner): (bool, usize),
    w: &[f32],
    x: Src<'_>,
    y: &mut Dst<'_>,
    n: usize,
) {
    let gather = |s: &mut Scratch| k.strided_in(x, &s.cells, boxes, &mut s.v);
    convolve(k, s, w, (inner, y.g.cb), (&x.g, boxes), n, gather, |s, part| {
        k.strided_out(&s.m, &s.cells, part, y)
    });
}

/// `gx += Wᵀ gy` on `n` physical images with the packed weights `w`; `gy` has `inner` channels.
pub(super) fn backward(
    k: &Kernels,
    s: &mut Scratch,
    (boxes, inner): (bool, usize),
    w: &[f32],
    gy: Src<'_>,
    gx: &mut Dst<'_>,
    n: usize,
) {
    let gather = |s: &mut Scratch| k.strided_adjoint(gy, &s.cells, (0, gy.g.cb), &mut s.v);
    let (map, outer) = (gx.g, gx.g.cb);
    convolve(k, s, w, (inner, outer), (&map, boxes), n, gather, |s, part| {
        k.strided_back(&s.m, &s.cells, boxes, part, gx);
    });
}

/// `dw (+)= ∂⟨gy, W x⟩/∂W` over `n` physical images, in `[k block][tap][c][16]`.
#[allow(clippy::too_many_arguments)]
pub(super) fn weight_gradient(
    k: &Kernels,
    s: &mut Scratch,
    boxes: bool,
    x: Src<'_>,
    gy: Src<'_>,
    n: usize,
    dw: &mut [f32],
    mut add: bool,
) {
    let (cb, kb) = (x.g.cb, gy.g.cb);
    // One line between groups, as between the cells' own.
    let dps = 2 * 256 + 16;
    let (axes, runs) = cells_of(&x.g, boxes, n, TILES.1 * 36 / POINTS);
    for (t0, t1) in runs {
        s.cells.fill(axes, t0, t1);
        let stride = s.cells.stride;
        k.strided_in(x, &s.cells, boxes, &mut s.v);
        for from in (0..kb).step_by(2) {
            let blocks = (kb - from).min(2);
            k.strided_adjoint(gy, &s.cells, (from, blocks), &mut s.m);
            for c in 0..cb {
                for g in 0..GROUPS {
                    let d = Blocks { at: s.cells.start[g], stride };
                    let v = Blocks { at: d.at + c * stride, stride };
                    let du = &mut s.tmp[g * dps..][..blocks * 256];
                    k.gemm_tn(s.cells.rows[g], 1, blocks, &s.v, v, &s.m, d, du, false);
                }
                for b in 0..blocks {
                    let to = &mut dw[((from + b) * 9 * cb + c) * 256..];
                    k.fold(STRIDED, &s.tmp[b * 256..], dps, cb * 16, to, add);
                }
            }
        }
        add = true;
    }
}
