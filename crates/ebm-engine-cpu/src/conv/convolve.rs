//! Convolution on C16 tensors: forward, input gradient and weight gradient, by Winograd tiles,
//! patches or box sums.
//!
//! All three are linear in the image, so a tangent is just another image.

use super::arena::{Buf, Dst, Geom, Src};
use super::entries::by_rows;
use super::kernels::{Blocks, Kernels, Tiles};
use super::pack::PackedConv;
use super::program::{Algorithm, Conv};

/// Floats of transformed tiles that stay in a second-level cache beside the weights.
const CACHED: usize = 112 << 10;
/// Winograd tiles transformed at once, at least and at most: wide layers read their weights again for each run.
const TILES: (usize, usize) = (32, 64);
/// Channel blocks of a Winograd product that are summed and transformed back before the next ones.
pub(super) const TOGETHER: usize = 4;
/// Output pixels of one patch product.
const PIXELS: usize = 36;

/// Working memory of one thread.
#[derive(Default)]
pub(crate) struct Scratch {
    v: Buf,
    m: Buf,
    tmp: Buf,
    koff: Vec<usize>,
}

impl Scratch {
    /// Room for a convolution from `x` to `y`, so that nothing is allocated while running.
    pub(crate) fn reserve(&mut self, conv: &Conv, x: &Geom, y: &Geom, theta: bool) {
        let widest = x.cb.max(y.cb);
        match conv.algorithm {
            Algorithm::Winograd(_) => {
                let tiles = if theta { TILES.1 } else { tiles_at_once(widest) };
                let len = |blocks: usize| 36 * (blocks * tiles * 16 + 16);
                self.v.reserve(len(widest));
                self.m.reserve(len(widest.min(TOGETHER)));
                if theta {
                    self.tmp.reserve(36 * (2 * 256 + 16));
                }
            }
            _ => {
                let px = rows_at_once(y) * y.w;
                let taps = conv.taps();
                self.v.reserve(taps * x.cb * px * 16);
                self.m.reserve(y.cb * px * 16);
                self.tmp.reserve(3 * (x.w + 2) * 16);
            }
        }
        let blocks = conv.taps() * widest;
        self.koff.reserve(blocks.saturating_sub(self.koff.len()));
    }
}

fn rows_at_once(y: &Geom) -> usize {
    (PIXELS / y.w).max(1)
}

/// Winograd tiles transformed at once where the wider side of a convolution has `widest` blocks.
fn tiles_at_once(widest: usize) -> usize {
    (CACHED / (36 * 16 * (widest + widest.min(TOGETHER)))).clamp(TILES.0, TILES.1)
}

/// Splits `tiles` evenly into runs of at most `most`.
fn runs(tiles: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = tiles.div_ceil(most).max(1);
    let (base, rem) = (tiles / blocks, tiles % blocks);
    let mut t0 = 0;
    (0..blocks).map(move |b| {
        let n = base + usize::from(b < rem);
        t0 += n;
        (t0 - n, t0)
    })
}

fn tile_count(np: usize, g: &Geom, n: usize) -> usize {
    n * g.h.div_ceil(np - 2) * g.w.div_ceil(np - 2)
}

/// `y (+)= W x` by Winograd with the packed weights `w`.
#[allow(clippy::too_many_arguments)]
fn winograd(
    k: &Kernels,
    s: &mut Scratch,
    np: usize,
    w: &[f32],
    x: Src<'_>,
    y: &mut Dst<'_>,
    n: usize,
    add: bool,
) {
    let (cb, kb) = (x.g.cb, y.g.cb);
    for (t0, t1) in runs(tile_count(np, &x.g, n), tiles_at_once(cb.max(kb))) {
        let vks = (t1 - t0) * 16;
        // One line between points, so that they do not fall into the same cache sets.
        let vps = cb * vks + 16;
        s.koff.clear();
        s.koff.extend((0..cb).map(|c| c * vks));
        k.wino_in(x, Tiles { n: np, t0, t1, from: 0, blocks: cb, ps: vps }, &mut s.v);
        for from in (0..kb).step_by(TOGETHER) {
            let blocks = (kb - from).min(TOGETHER);
            let mps = blocks * vks + 16;
            let size = cb * blocks * 256;
            let w = &w[np * np * cb * from * 256..];
            for p in 0..np * np {
                let c = Blocks { at: p * mps, stride: vks };
                let panels = &w[p * size..(p + 1) * size];
                k.gemm(t1 - t0, &s.koff, &s.v, p * vps, panels, blocks, &mut s.m, c, false);
            }
            k.wino_out(&s.m, Tiles { n: np, t0, t1, from, blocks, ps: mps }, y, add);
        }
    }
}

/// Runs `f(first output row over all images, rows)` over blocks of output rows: whole images, or parts of one. An
/// image is cut at the same rows wherever it stands in the batch, for the order of sums follows the blocks.
fn row_blocks(y: &Geom, n: usize, mut f: impl FnMut(usize, usize)) {
    let step = rows_at_once(y);
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

/// Patches (or box sums) of output rows `r..r+rows`: `a[tap·cb + c][pixel][16]`.
#[allow(clippy::too_many_arguments)]
fn gather(
    k: &Kernels,
    conv: &Conv,
    x: Src<'_>,
    y: &Geom,
    r: usize,
    rows: usize,
    a: &mut [f32],
    tmp: &mut [f32],
) {
    let stride = rows * y.w * 16;
    images(y.h, r, rows, |i, r0, r1, q| {
        let at = q * y.w * 16;
        if conv.algorithm == Algorithm::Boxes {
            return k.box_in(x, i, (r0, r1), a, Blocks { at, stride }, tmp);
        }
        patches(conv, &x.g, y, (r0, r1), |block, pixel, src| {
            let o = block * stride + at + pixel * 16;
            match src {
                Some((c, row, col)) => a[o..o + 16].copy_from_slice(x.px(c, i, row, col)),
                None => a[o..o + 16].fill(0.0),
            }
        });
    });
}

/// Adjoint of [`gather`]: adds into `gx`.
#[allow(clippy::too_many_arguments)]
fn scatter(
    k: &Kernels,
    conv: &Conv,
    gx: &mut Dst<'_>,
    y: &Geom,
    r: usize,
    rows: usize,
    a: &[f32],
    tmp: &mut [f32],
) {
    let stride = rows * y.w * 16;
    let g = gx.g;
    images(y.h, r, rows, |i, r0, r1, q| {
        let at = q * y.w * 16;
        if conv.algorithm == Algorithm::Boxes {
            return k.box_out(gx, i, (r0, r1), a, Blocks { at, stride }, tmp);
        }
        patches(conv, &g, y, (r0, r1), |block, pixel, src| {
            if let Some((c, row, col)) = src {
                let o = block * stride + at + pixel * 16;
                // By way of an array: the compiler does not know that the two do not overlap.
                let to = gx.px(c, i, row, col);
                let sum: [f32; 16] = std::array::from_fn(|l| to[l] + a[o + l]);
                to.copy_from_slice(&sum);
            }
        });
    });
}

/// Calls `f(tap·cb + c, output pixel, input pixel or padding)` for all taps of output rows.
fn patches(
    conv: &Conv,
    x: &Geom,
    y: &Geom,
    (r0, r1): (usize, usize),
    mut f: impl FnMut(usize, usize, Option<(usize, usize, usize)>),
) {
    let (high, top) = conv.rows();
    for kh in 0..high {
        for kw in 0..conv.kernel {
            for c in 0..x.cb {
                let block = (kh * conv.kernel + kw) * x.cb + c;
                for r in r0..r1 {
                    for q in 0..y.w {
                        let row = (r * conv.stride + kh).checked_sub(top).filter(|&v| v < x.h);
                        let col = (q * conv.stride + kw).checked_sub(conv.padding).filter(|&v| v < x.w);
                        let src = row.zip(col).map(|(row, col)| (c, row, col));
                        f(block, (r - r0) * y.w + q, src);
                    }
                }
            }
        }
    }
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

fn zero(x: &mut Dst<'_>, n: usize) {
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

/// `y = W x + b` on `n` physical images; the bias falls on every `streams`-th, the values.
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward(
    k: &Kernels,
    s: &mut Scratch,
    conv: &Conv,
    w: &PackedConv,
    x: Src<'_>,
    y: &mut Dst<'_>,
    n: usize,
    streams: usize,
) {
    if let Algorithm::Winograd(np) = conv.algorithm {
        winograd(k, s, np, &w.forward, x, y, n, false);
    } else {
        let g = y.g;
        let blocks = conv.taps() * x.g.cb;
        row_blocks(&g, n, |r, rows| {
            let stride = rows * g.w * 16;
            gather(k, conv, x, &g, r, rows, &mut s.v, &mut s.tmp);
            s.koff.clear();
            s.koff.extend((0..blocks).map(|c| c * stride));
            if g.halo {
                let c = Blocks { at: 0, stride };
                k.gemm(rows * g.w, &s.koff, &s.v, 0, &w.forward, g.cb, &mut s.m, c, false);
                for c in 0..g.cb {
                    for q in 0..rows {
                        let (i, row) = ((r + q) / g.h, (r + q) % g.h);
                        let (to, from) = (g.at(c, y.i0 + i, row, 0), c * stride + q * g.w * 16);
                        y.d[to..to + g.w * 16].copy_from_slice(&s.m[from..from + g.w * 16]);
                    }
                }
            } else {
                let c = Blocks { at: g.at(0, y.i0, 0, 0) + r * g.w * 16, stride: g.cs() };
                k.gemm(rows * g.w, &s.koff, &s.v, 0, &w.forward, g.cb, y.d, c, false);
            }
        });
    }
    if !w.bias.is_empty() {
        add_bias(conv, &w.bias, x.g, y, n, streams);
    }
}

/// Share of the bias that a pooled pixel sees: its window counts padding, the bias does not.
fn border(conv: &Conv, o: usize, size: usize) -> f32 {
    if conv.algorithm == Algorithm::Boxes {
        (1 + usize::from(o > 0) + usize::from(2 * o + 1 < size)) as f32 / 3.0
    } else {
        1.0
    }
}

fn add_bias(conv: &Conv, bias: &[f32], x: Geom, y: &mut Dst<'_>, n: usize, streams: usize) {
    let g = y.g;
    for (c, b) in bias.chunks_exact(16).enumerate() {
        for i in (0..n).step_by(streams) {
            for r in 0..g.h {
                let fr = border(conv, r, x.h);
                let o = g.at(c, y.i0 + i, r, 0);
                for (q, px) in y.d[o..o + g.w * 16].chunks_exact_mut(16).enumerate() {
                    let f = fr * border(conv, q, x.w);
                    for (v, b) in px.iter_mut().zip(b) {
                        *v += f * b;
                    }
                }
            }
        }
    }
}

/// `gx (+)= Wᵀ gy` on `n` physical images.
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward(
    k: &Kernels,
    s: &mut Scratch,
    conv: &Conv,
    w: &PackedConv,
    gy: Src<'_>,
    gx: &mut Dst<'_>,
    n: usize,
    add: bool,
) {
    if let Algorithm::Winograd(np) = conv.algorithm {
        return winograd(k, s, np, &w.backward, gy, gx, n, add);
    }
    if !add {
        zero(gx, n);
    }
    let g = gy.g;
    let blocks = conv.taps() * gx.g.cb;
    row_blocks(&g, n, |r, rows| {
        let (a, ab) = dense_rows(gy, r, rows, &mut s.m);
        s.koff.clear();
        s.koff.extend((0..g.cb).map(|c| c * ab.stride));
        let c = Blocks { at: 0, stride: rows * g.w * 16 };
        k.gemm(rows * g.w, &s.koff, a, ab.at, &w.backward, blocks, &mut s.v, c, false);
        scatter(k, conv, gx, &g, r, rows, &s.v, &mut s.tmp);
    });
}

/// `dw (+)= ∂⟨gy, W x⟩/∂W` over `n` physical images, in `[k block][tap][c][16]`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn weight_gradient(
    k: &Kernels,
    s: &mut Scratch,
    conv: &Conv,
    x: Src<'_>,
    gy: Src<'_>,
    n: usize,
    dw: &mut [f32],
    mut add: bool,
) {
    let (cb, kb) = (x.g.cb, gy.g.cb);
    let Algorithm::Winograd(np) = conv.algorithm else {
        let g = gy.g;
        let taps = conv.taps();
        return row_blocks(&g, n, |r, rows| {
            gather(k, conv, x, &g, r, rows, &mut s.v, &mut s.tmp);
            let (d, db) = dense_rows(gy, r, rows, &mut s.m);
            let vb = Blocks { at: 0, stride: rows * g.w * 16 };
            k.gemm_tn(rows * g.w, taps * cb, kb, &s.v, vb, d, db, dw, add);
            add = true;
        });
    };
    // One line between points, so that they do not fall into the same cache sets.
    let dps = 2 * 256 + 16;
    for (t0, t1) in runs(tile_count(np, &x.g, n), TILES.1) {
        let vks = (t1 - t0) * 16;
        let (vps, mps) = (cb * vks + 16, kb.min(2) * vks + 16);
        k.wino_in(x, Tiles { n: np, t0, t1, from: 0, blocks: cb, ps: vps }, &mut s.v);
        for from in (0..kb).step_by(2) {
            let blocks = (kb - from).min(2);
            k.wino_adj(gy, Tiles { n: np, t0, t1, from, blocks, ps: mps }, &mut s.m);
            // One input block after the other: the transformed gradient of 16 × 32 channels stays in the first caches.
            for c in 0..cb {
                for p in 0..np * np {
                    let vb = Blocks { at: p * vps + c * vks, stride: vks };
                    let db = Blocks { at: p * mps, stride: vks };
                    let du = &mut s.tmp[p * dps..p * dps + blocks * 256];
                    k.gemm_tn(t1 - t0, 1, blocks, &s.v, vb, &s.m, db, du, false);
                }
                for b in 0..blocks {
                    let out = &mut dw[((from + b) * 9 * cb + c) * 256..];
                    k.fold(np, &s.tmp[b * 256..], dps, cb * 16, out, add);
                }
            }
        }
        add = true;
    }
}

/// `db += Σ gy` over the values among `n` physical images.
pub(crate) fn bias_gradient(conv: &Conv, x: Geom, gy: Src<'_>, n: usize, streams: usize, db: &mut [f32]) {
    let g = gy.g;
    for c in 0..g.cb {
        for i in (0..n).step_by(streams) {
            let sum = by_rows(g, |r, q, sum| {
                let f = border(conv, r, x.h) * border(conv, q, x.w);
                for (s, v) in sum.iter_mut().zip(gy.px(c, i, r, q)) {
                    *s += f * v;
                }
            });
            for (d, s) in db[c * 16..].iter_mut().zip(sum) {
                *d += s;
            }
        }
    }
}
