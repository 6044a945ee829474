//! Convolutions by patches (or box sums) and one product: forward, input gradient and weight gradient.

use super::arena::{Buf, Dst, Geom, Src};
use super::kernels::{Blocks, Kernels};
use super::pack::PackedConv;
use super::program::{Algorithm, Conv};
use super::sample::{self, Sample, SampleMut};

/// Output pixels of one product of box sums.
const PIXELS: usize = 36;
/// The same of patches: whole maps of 7×7 and 8×8.
const PATCHES: usize = 64;

/// What patches are taken from.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    Map(Src<'a>),
    Sample(Sample<'a>),
}

/// Where their gradients go.
pub(crate) enum Target<'a, 'b> {
    Map(&'a mut Dst<'b>),
    Sample(SampleMut<'b>),
}

/// Working memory of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    v: Buf,
    m: Buf,
    tmp: Buf,
    koff: Vec<usize>,
}

impl Scratch {
    /// Room for a convolution whose result is `y`, of rows of `width` pixels.
    pub(super) fn reserve(&mut self, conv: &Conv, width: usize, y: &Geom) {
        let rows = rows_at_once(conv, y);
        let px = rows * y.w;
        self.v.reserve((conv.inner_blocks() * px + 1) * 16);
        self.m.reserve(y.cb * px * 16);
        self.tmp.reserve(match conv.algorithm {
            Algorithm::Sample => sample::strip_len(conv, rows, y.w),
            _ => 3 * (width + 2) * 16,
        });
        self.koff.reserve(conv.inner_blocks().max(y.cb).saturating_sub(self.koff.len()));
    }
}

/// Output rows of one product: some of an image, evenly, or all of some.
fn rows_at_once(conv: &Conv, y: &Geom) -> usize {
    if conv.algorithm == Algorithm::Boxes {
        return (PIXELS / y.w).max(1);
    }
    let rows = (PATCHES / y.w).max(1);
    if rows < y.h {
        y.h.div_ceil(y.h.div_ceil(rows))
    } else if conv.algorithm == Algorithm::Sample {
        y.h
    } else {
        rows / y.h * y.h
    }
}

/// Runs `f(first output row over all images, rows)` over blocks of output rows: whole images, or parts of one. An
/// image is cut at the same rows wherever it stands in the batch, for the order of sums follows the blocks.
fn row_blocks(conv: &Conv, y: &Geom, n: usize, mut f: impl FnMut(usize, usize)) {
    let step = rows_at_once(conv, y);
    if step >= y.h {
        let images = step / y.h;
        (0..n).step_by(images).for_each(|i| f(i * y.h, images.min(n - i) * y.h));
    } else {
        for i in 0..n {
            (0..y.h).step_by(step).for_each(|r| f(i * y.h + r, step.min(y.h - r)));
        }
    }
}

/// Calls `f(image, first row, last row, rows before)` for the images that rows `r..r+rows` touch.
fn images(h: usize, r: usize, rows: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
    let mut q = 0;
    while q < rows {
        let (i, r0) = ((r + q) / h, (r + q) % h);
        let m = (h - r0).min(rows - q);
        f(i, r0, r0 + m, q);
        q += m;
    }
}

/// Patches (or box sums) of output rows `r..r+rows`: `a[inner block][pixel][16]`.
#[allow(clippy::too_many_arguments)]
fn gather(
    k: &Kernels,
    conv: &Conv,
    x: Input<'_>,
    y: &Geom,
    r: usize,
    rows: usize,
    a: &mut [f32],
    tmp: &mut [f32],
) {
    let stride = rows * y.w * 16;
    images(y.h, r, rows, |i, r0, r1, q| {
        let ab = Blocks { at: q * y.w * 16, stride };
        match x {
            // One image at a time, so `q` is 0.
            Input::Sample(x) => sample::gather(k, conv, x, i, (r0, r1 - r0, y.w), a, stride, tmp),
            Input::Map(x) if conv.algorithm == Algorithm::Boxes => k.box_in(x, i, (r0, r1), a, ab, tmp),
            Input::Map(x) => k.patch_in(x, i, conv.reach(), y.w, (r0, r1), a, ab),
        }
    });
}

/// Adjoint of [`gather`]: adds into `gx`.
#[allow(clippy::too_many_arguments)]
fn scatter(
    k: &Kernels,
    conv: &Conv,
    gx: &mut Target<'_, '_>,
    y: &Geom,
    r: usize,
    rows: usize,
    a: &[f32],
    tmp: &mut [f32],
) {
    let stride = rows * y.w * 16;
    images(y.h, r, rows, |i, r0, r1, q| {
        let ab = Blocks { at: q * y.w * 16, stride };
        match gx {
            Target::Sample(gx) => {
                let size = gx.size;
                if let Some(gx) = gx.image(i, conv.cin * size.0 * size.1) {
                    sample::scatter(conv, gx, size, (r0, r1 - r0, y.w), a, stride, tmp);
                }
            }
            Target::Map(gx) if conv.algorithm == Algorithm::Boxes => k.box_out(gx, i, (r0, r1), a, ab, tmp),
            Target::Map(gx) => k.patch_out(gx, i, conv.reach(), y.w, (r0, r1), a, ab),
        }
    });
}

/// Rows `r..r+rows` of a tensor as blocks of contiguous pixels: in place without halo, else a copy.
fn dense_rows<'a>(y: Src<'a>, r: usize, rows: usize, copy: &'a mut [f32]) -> (&'a [f32], Blocks) {
    let g = y.g;
    if !g.halo {
        return (y.d, Blocks { at: g.at(0, y.i0, 0, 0) + r * g.w * 16, stride: g.cs() });
    }
    let stride = rows * g.w * 16;
    for c in 0..g.cb {
        for q in 0..rows {
            let (i, row) = ((r + q) / g.h, (r + q) % g.h);
            let (from, to) = (g.at(c, y.i0 + i, row, 0), c * stride + q * g.w * 16);
            copy[to..to + g.w * 16].copy_from_slice(&y.d[from..from + g.w * 16]);
        }
    }
    (copy, Blocks { at: 0, stride })
}

/// Zeros in the pixels of `n` physical images.
pub(super) fn zero(x: &mut Dst<'_>, n: usize) {
    let g = x.g;
    for c in 0..g.cb {
        for i in 0..n {
            for r in 0..g.h {
                let o = g.at(c, x.i0 + i, r, 0);
                x.d[o..o + g.w * 16].fill(0.0);
            }
        }
    }
}

/// `y = W x` on `n` physical images.
pub(super) fn forward(
    k: &Kernels,
    s: &mut Scratch,
    conv: &Conv,
    w: &PackedConv,
    x: Input<'_>,
    y: &mut Dst<'_>,
    n: usize,
) {
    let g = y.g;
    row_blocks(conv, &g, n, |r, rows| {
        let stride = rows * g.w * 16;
        gather(k, conv, x, &g, r, rows, &mut s.v, &mut s.tmp);
        s.koff.clear();
        s.koff.extend((0..conv.inner_blocks()).map(|c| c * stride));
        if g.halo {
            let c = Blocks { at: 0, stride };
            k.gemm(rows * g.w, &s.koff, s.koff.len() * 16, &s.v, 0, &w.forward, g.cb, &mut s.m, c, false);
            for c in 0..g.cb {
                for q in 0..rows {
                    let (i, row) = ((r + q) / g.h, (r + q) % g.h);
                    let (to, from) = (g.at(c, y.i0 + i, row, 0), c * stride + q * g.w * 16);
                    y.d[to..to + g.w * 16].copy_from_slice(&s.m[from..from + g.w * 16]);
                }
            }
        } else {
            let c = Blocks { at: g.at(0, y.i0, 0, 0) + r * g.w * 16, stride: g.cs() };
            k.gemm(rows * g.w, &s.koff, s.koff.len() * 16, &s.v, 0, &w.forward, g.cb, y.d, c, false);
        }
    });
}

/// `gx (+)= Wᵀ gy` on `n` physical images.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward(
    k: &Kernels,
    s: &mut Scratch,
    conv: &Conv,
    w: &PackedConv,
    gy: Src<'_>,
    mut gx: Target<'_, '_>,
    n: usize,
    add: bool,
) {
    match &mut gx {
        _ if add => {}
        Target::Map(gx) => zero(gx, n),
        Target::Sample(gx) => gx.zero(),
    }
    let (g, blocks) = (gy.g, conv.inner_blocks());
    row_blocks(conv, &g, n, |r, rows| {
        let wanted = match &mut gx {
            Target::Sample(gx) => gx.image(r / g.h, 0).is_some(),
            Target::Map(_) => true,
        };
        if !wanted {
            return;
        }
        let (a, ab) = dense_rows(gy, r, rows, &mut s.m);
        s.koff.clear();
        s.koff.extend((0..g.cb).map(|c| c * ab.stride));
        let c = Blocks { at: 0, stride: rows * g.w * 16 };
        k.gemm(rows * g.w, &s.koff, s.koff.len() * 16, a, ab.at, &w.backward, blocks, &mut s.v, c, false);
        scatter(k, conv, &mut gx, &g, r, rows, &s.v, &mut s.tmp);
    });
}

/// `dw (+)= ∂⟨gy, W x⟩/∂W` over `n` physical images, in `[k block][inner row][16]`.
#[allow(clippy::too_many_arguments)]
pub(super) fn weight_gradient(
    k: &Kernels,
    s: &mut Scratch,
    conv: &Conv,
    x: Input<'_>,
    gy: Src<'_>,
    n: usize,
    dw: &mut [f32],
    mut add: bool,
) {
    let g = gy.g;
    row_blocks(conv, &g, n, |r, rows| {
        gather(k, conv, x, &g, r, rows, &mut s.v, &mut s.tmp);
        let (d, db) = dense_rows(gy, r, rows, &mut s.m);
        let vb = Blocks { at: 0, stride: rows * g.w * 16 };
        k.gemm_tn(rows * g.w, conv.inner_blocks(), g.cb, &s.v, vb, d, db, dw, add);
        add = true;
    });
}
