//! Loops over the entries of tensors in blocks of sixteen channels.

use super::arena::{Dst, Src};
use super::program::Value;

/// `(C, H, W)` values of one image.
pub(super) fn write_sample(y: &mut Dst<'_>, i: usize, x: &[f32], c: usize) {
    let (h, w) = (y.g.h, y.g.w);
    for r in 0..h {
        for q in 0..w {
            for (b, px) in (0..y.g.cb).map(|b| (b, y.g.at(b, y.i0 + i, r, q))) {
                for l in 0..16 {
                    let ch = b * 16 + l;
                    y.d[px + l] = if ch < c { x[(ch * h + r) * w + q] } else { 0.0 };
                }
            }
        }
    }
}

/// The same back.
pub(super) fn read_sample(y: Src<'_>, i: usize, x: &mut [f32], c: usize) {
    let (h, w) = (y.g.h, y.g.w);
    for ch in 0..c {
        for r in 0..h {
            for q in 0..w {
                x[(ch * h + r) * w + q] = y.px(ch / 16, i, r, q)[ch % 16];
            }
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

/// `Σ a·b`.
pub(super) fn inner(a: Src<'_>, b: Src<'_>, n: usize) -> f32 {
    let mut sum = [0f32; 16];
    for c in 0..a.g.cb {
        for i in 0..n {
            for r in 0..a.g.h {
                for q in 0..a.g.w {
                    for (s, (x, y)) in sum.iter_mut().zip(a.px(c, i, r, q).iter().zip(b.px(c, i, r, q))) {
                        *s += x * y;
                    }
                }
            }
        }
    }
    sum.iter().sum()
}
