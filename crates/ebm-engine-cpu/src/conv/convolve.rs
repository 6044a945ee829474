//! Convolution on C16 tensors: forward, input gradient and weight gradient, by Winograd tiles or as [`patches`] says.
//!
//! All three are linear in the image, so a tangent is just another image.

use super::arena::{Buf, Dst, Geom, Src};
use super::cells::{Cells, POINTS};
use super::entries::by_rows;
use super::kernels::{Blocks, Factors, Kernels, Tiles};
use super::late::Shape;
use super::pack::PackedConv;
use super::patches::{self, Input, Target};
use super::program::{Algorithm, Conv};
use super::strided;

/// Floats of transformed tiles that stay in a second-level cache beside the weights.
const CACHED: usize = 112 << 10;
/// Winograd tiles of 36 points transformed at once, at least and at most: wide layers read their weights again for each run.
pub(super) const TILES: (usize, usize) = (32, 64);
/// Channel blocks of a Winograd product that are summed and transformed back before the next ones.
pub(super) const TOGETHER: usize = 4;

/// Working memory of one thread.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(super) v: Buf,
    pub(super) m: Buf,
    pub(super) tmp: Buf,
    pub(super) koff: Vec<usize>,
    pub(super) cells: Cells,
    pub(super) shapes: Vec<Shape>,
    pub(super) factors: Vec<Factors>,
    patches: patches::Scratch,
}

impl Scratch {
    /// Room for a convolution from `x` to `y`, so that nothing is allocated while running.
    pub(crate) fn reserve(&mut self, conv: &Conv, x: &Geom, y: &Geom, theta: bool) {
        let points = match conv.algorithm {
            Algorithm::Winograd(_) => 36,
            Algorithm::Strided { .. } => POINTS,
            _ => return self.patches.reserve(conv, x.w, y),
        };
        let widest = x.cb.max(y.cb);
        let tiles = if theta { TILES.1 * 36 / points } else { tiles_at_once(widest, points) };
        let len = |blocks: usize| match conv.algorithm {
            Algorithm::Strided { .. } => blocks * Cells::most(tiles),
            _ => points * (blocks * tiles * 16 + 16),
        };
        self.cells.reserve(tiles);
        self.v.reserve(len(widest));
        self.m.reserve(len(widest.min(TOGETHER)));
        if theta {
            self.tmp.reserve(36 * (2 * 256 + 16));
        }
        self.koff.reserve(widest.saturating_sub(self.koff.len()));
    }
}

/// Tiles of so many points transformed at once where the wider side of a convolution has `widest` blocks.
pub(super) fn tiles_at_once(widest: usize, points: usize) -> usize {
    let [least, most] = [TILES.0, TILES.1].map(|tiles| tiles * 36 / points);
    (CACHED / (points * 16 * (widest + widest.min(TOGETHER)))).clamp(least, most)
}

/// Splits `tiles` evenly into runs of at most `most`.
pub(super) fn runs(tiles: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = tiles.div_ceil(most).max(1);
    let (base, rem) = (tiles / blocks, tiles % blocks);
    let mut t0 = 0;
    (0..blocks).map(move |b| {
        let n = base + usize::from(b < rem);
        t0 += n;
        (t0 - n, t0)
    })
}

pub(super) fn tile_count(np: usize, (h, w): (usize, usize), n: usize) -> usize {
    n * h.div_ceil(np - 2) * w.div_ceil(np - 2)
}

/// `y (+)= W x` by Winograd of `np` points along an axis with the packed weights `w`; `x` has `inner` channels.
#[allow(clippy::too_many_arguments)]
fn winograd(
    k: &Kernels,
    s: &mut Scratch,
    (np, inner): (usize, usize),
    w: &[f32],
    x: Src<'_>,
    y: &mut Dst<'_>,
    n: usize,
    add: bool,
) {
    let (cb, kb) = (x.g.cb, y.g.cb);
    for (t0, t1) in runs(tile_count(np, (x.g.h, x.g.w), n), tiles_at_once(cb.max(kb), 36)) {
        let vks = (t1 - t0) * 16;
        // One line between points, so that they do not fall into the same cache sets.
        let vps = cb * vks + 16;
        s.koff.clear();
        s.koff.extend((0..cb).map(|c| c * vks));
        k.wino_in(x, Tiles { n: np, t0, t1, from: 0, blocks: cb, ps: vps, bs: vks }, &mut s.v);
        for from in (0..kb).step_by(TOGETHER) {
            let blocks = (kb - from).min(TOGETHER);
            let mps = blocks * vks + 16;
            let size = cb * blocks * 256;
            let w = &w[np * np * cb * from * 256..];
            for p in 0..np * np {
                let c = Blocks { at: p * mps, stride: vks };
                let panels = &w[p * size..(p + 1) * size];
                k.gemm(t1 - t0, &s.koff, inner, &s.v, p * vps, panels, blocks, &mut s.m, c, false);
            }
            k.wino_out(&s.m, Tiles { n: np, t0, t1, from, blocks, ps: mps, bs: vks }, y, add);
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
    x: Input<'_>,
    y: &mut Dst<'_>,
    n: usize,
    streams: usize,
) {
    match (conv.algorithm, x) {
        (Algorithm::Winograd(np), Input::Map(x)) => {
            winograd(k, s, (np, conv.cin), &w.forward, x, y, n, false)
        }
        (Algorithm::Strided { boxes }, Input::Map(x)) => {
            strided::forward(k, s, (boxes, conv.cin), &w.forward, x, y, n)
        }
        _ => patches::forward(k, &mut s.patches, conv, w, x, y, n),
    }
    match (conv.algorithm, x) {
        _ if w.bias.is_empty() => {}
        (_, Input::Map(x)) if conv.pooled() => add_bias(conv, &w.bias, x.g, y, n, streams),
        _ => k.shift(y, n, streams, &w.bias),
    }
}

/// Share of the bias that a pooled pixel sees: its window counts padding, the bias does not.
fn border(conv: &Conv, o: usize, size: usize) -> f32 {
    if conv.pooled() { (1 + usize::from(o > 0) + usize::from(2 * o + 1 < size)) as f32 / 3.0 } else { 1.0 }
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
    gx: Target<'_, '_>,
    n: usize,
    add: bool,
) {
    match (conv.algorithm, gx) {
        (Algorithm::Winograd(np), Target::Map(gx)) => {
            winograd(k, s, (np, conv.cout), &w.backward, gy, gx, n, add)
        }
        (Algorithm::Strided { boxes }, Target::Map(gx)) => {
            if !add {
                patches::zero(gx, n);
            }
            strided::backward(k, s, (boxes, conv.cout), &w.backward, gy, gx, n);
        }
        (_, gx) => patches::backward(k, &mut s.patches, conv, w, gy, gx, n, add),
    }
}

/// `dw (+)= ∂⟨gy, W x⟩/∂W` over `n` physical images, in `[k block][inner row][16]`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn weight_gradient(
    k: &Kernels,
    s: &mut Scratch,
    conv: &Conv,
    x: Input<'_>,
    gy: Src<'_>,
    n: usize,
    dw: &mut [f32],
    mut add: bool,
) {
    let (np, x) = match (conv.algorithm, x) {
        (Algorithm::Winograd(np), Input::Map(x)) => (np, x),
        (Algorithm::Strided { boxes }, Input::Map(x)) => {
            return strided::weight_gradient(k, s, boxes, x, gy, n, dw, add);
        }
        _ => return patches::weight_gradient(k, &mut s.patches, conv, x, gy, n, dw, add),
    };
    let (cb, kb) = (x.g.cb, gy.g.cb);
    // One line between points, so that they do not fall into the same cache sets.
    let dps = 2 * 256 + 16;
    for (t0, t1) in runs(tile_count(np, (x.g.h, x.g.w), n), TILES.1) {
        let vks = (t1 - t0) * 16;
        let (vps, mps) = (cb * vks + 16, kb.min(2) * vks + 16);
        k.wino_in(x, Tiles { n: np, t0, t1, from: 0, blocks: cb, ps: vps, bs: vks }, &mut s.v);
        for from in (0..kb).step_by(2) {
            let blocks = (kb - from).min(2);
            k.wino_adj(gy, Tiles { n: np, t0, t1, from, blocks, ps: mps, bs: vks }, &mut s.m);
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
pub(crate) fn bias_gradient(
    conv: &Conv,
    (h, w): (usize, usize),
    gy: Src<'_>,
    n: usize,
    streams: usize,
    db: &mut [f32],
) {
    let g = gy.g;
    for c in 0..g.cb {
        for i in (0..n).step_by(streams) {
            let sum = by_rows(g, |r, q, sum| {
                let f = border(conv, r, h) * border(conv, q, w);
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
