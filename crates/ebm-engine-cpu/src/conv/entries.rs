//! Loops over the entries of tensors in blocks of sixteen channels.

use super::arena::{Dst, Geom, Src};
use super::program::Value;

/// `(C, H, W)` values of one image.
pub(super) fn write_sample(y: &mut Dst<'_>, i: usize, x: &[f32], c: usize) {
    let (h, w) = (y.g.h, y.g.w);
    for b in 0..y.g.cb {
        for r in 0..h {
            let at = y.g.at(b, y.i0 + i, r, 0);
            let row = &mut y.d[at..at + w * 16];
            row.fill(0.0);
            for l in 0..c.saturating_sub(b * 16).min(16) {
                let from = ((b * 16 + l) * h + r) * w;
                for (px, v) in row.chunks_exact_mut(16).zip(&x[from..from + w]) {
                    px[l] = *v;
                }
            }
        }
    }
}

/// The same back.
pub(super) fn read_sample(y: Src<'_>, i: usize, x: &mut [f32], c: usize) {
    let (h, w) = (y.g.h, y.g.w);
    for (line, to) in x[..c * h * w].chunks_exact_mut(w).enumerate() {
        let (ch, r) = (line / h, line % h);
        let at = y.g.at(ch / 16, y.i0 + i, r, 0);
        for (px, v) in y.d[at..at + w * 16].chunks_exact(16).zip(to) {
            *v = px[ch % 16];
        }
    }
}

/// Values of one image of one row whose channels stand beside each other in the sample, `(places, C)`.
pub(super) fn write_points(y: &mut Dst<'_>, i: usize, x: &[f32], c: usize) {
    for b in 0..y.g.cb {
        for (q, point) in x.chunks_exact(c).enumerate() {
            let px = y.px(b, i, 0, q);
            px.fill(0.0);
            px.iter_mut().zip(&point[b * 16..]).for_each(|(to, v)| *to = *v);
        }
    }
}

/// The same back.
pub(super) fn read_points(y: Src<'_>, i: usize, x: &mut [f32], c: usize) {
    for b in 0..y.g.cb {
        for (q, point) in x.chunks_exact_mut(c).enumerate() {
            point[b * 16..].iter_mut().zip(y.px(b, i, 0, q)).for_each(|(to, v)| *to = *v);
        }
    }
}

/// Calls `f(flat index, channel, row, column)` in the order of `Flatten`.
pub(super) fn each_entry(v: &Value, mut f: impl FnMut(usize, usize, usize, usize)) {
    for o in 0..v.c * v.h * v.w {
        f(o, o / (v.h * v.w), o / v.w % v.h, o % v.w);
    }
}

/// `x ← 2x`.
pub(super) fn double(x: &mut Dst<'_>, n: usize) {
    for c in 0..x.g.cb {
        for i in 0..n {
            for r in 0..x.g.h {
                for q in 0..x.g.w {
                    x.px(c, i, r, q).iter_mut().for_each(|v| *v *= 2.0);
                }
            }
        }
    }
}

/// The sums of a block that `add(row, column, sums)` adds to, row by row: one sum over all pixels of a large map would round each to
/// the digits of the whole.
pub(super) fn by_rows(g: Geom, mut add: impl FnMut(usize, usize, &mut [f32; 16])) -> [f32; 16] {
    let mut all = [0f32; 16];
    for r in 0..g.h {
        let mut row = [0f32; 16];
        (0..g.w).for_each(|q| add(r, q, &mut row));
        all.iter_mut().zip(row).for_each(|(a, r)| *a += r);
    }
    all
}

/// `Σ a·b`.
pub(super) fn inner(a: Src<'_>, b: Src<'_>, n: usize) -> f32 {
    let mut sum = [0f32; 16];
    for c in 0..a.g.cb {
        for i in 0..n {
            let image = by_rows(a.g, |r, q, sum| {
                for (s, (x, y)) in sum.iter_mut().zip(a.px(c, i, r, q).iter().zip(b.px(c, i, r, q))) {
                    *s += x * y;
                }
            });
            sum.iter_mut().zip(image).for_each(|(s, v)| *s += v);
        }
    }
    sum.iter().sum()
}
