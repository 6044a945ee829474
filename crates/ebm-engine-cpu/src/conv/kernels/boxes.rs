//! Convolution 3×3 and average pooling (3, stride 2, padding 1) as one stride-2 convolution of box sums.
//!
//! Both are linear: the pooled result is a stride-2 convolution of 3×3 box sums of the input, with 9
//! multiplications an output where 36 were. Pooled row `o` averages the convolution rows
//! `2o−1, 2o, 2o+1` that exist, so its box sums leave out what falls outside.

mod calls;

use super::View;
use crate::simd::Simd;

/// The rows (or columns) of a map of `h` that output `o` averages: an offset range around `2o`.
#[inline(always)]
fn span(o: usize, h: usize) -> (bool, bool) {
    (o > 0, 2 * o + 1 < h)
}

/// Box sums for output rows `r0..r1` of image `i` of a tensor with halo:
/// `a[tap·cb + c][pixel][16]` with block stride `aks`. `tmp` holds `3·(w + 2)·16` floats.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn box_in<S: Simd>(
    x: View,
    cb: usize,
    i: usize,
    h: usize,
    w: usize,
    r0: usize,
    r1: usize,
    a: *mut f32,
    aks: usize,
    tmp: *mut f32,
) {
    let wo = w.div_ceil(2);
    for c in 0..cb {
        for orow in r0..r1 {
            let (up, down) = span(orow, h);
            // SAFETY: halo rows 2o+kh−1 ..= 2o+kh+1 exist where `up` and `down` say so.
            unsafe {
                let src = x.halo(c, i).cast_const();
                for kh in 0..3 {
                    let t = tmp.add(kh * (w + 2) * 16);
                    let b = src.add((2 * orow + kh) * x.rs);
                    for q in (0..(w + 2) * 16).step_by(S::L) {
                        let mut v = S::load(b.add(q));
                        if down {
                            v = S::add(v, S::load(b.add(q + x.rs)));
                        }
                        if up {
                            v = S::add(v, S::load(b.sub(x.rs).add(q)));
                        }
                        S::store(t.add(q), v);
                    }
                }
                for kh in 0..3 {
                    for kw in 0..3 {
                        let t = tmp.add(kh * (w + 2) * 16 + kw * 16).cast_const();
                        let d = a.add(((kh * 3 + kw) * cb + c) * aks + (orow - r0) * wo * 16);
                        for j in 0..wo {
                            let (left, right) = span(j, w);
                            for o in (0..16).step_by(S::L) {
                                let mut v = S::load(t.add(2 * j * 16 + o));
                                if right {
                                    v = S::add(v, S::load(t.add((2 * j + 1) * 16 + o)));
                                }
                                if left {
                                    v = S::add(v, S::load(t.add((2 * j - 1) * 16 + o)));
                                }
                                S::store(d.add(j * 16 + o), v);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Adjoint of [`box_in`]: adds into the pixels of `gx`; its halo is left alone.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn box_out<S: Simd>(
    gx: View,
    cb: usize,
    i: usize,
    h: usize,
    w: usize,
    r0: usize,
    r1: usize,
    a: *const f32,
    aks: usize,
    tmp: *mut f32,
) {
    let wo = w.div_ceil(2);
    for c in 0..cb {
        for orow in r0..r1 {
            let (up, down) = span(orow, h);
            for kh in 0..3 {
                // SAFETY: only rows and columns inside h × w are written; tmp holds w + 2 pixels.
                unsafe {
                    for q in (0..(w + 2) * 16).step_by(S::L) {
                        S::store(tmp.add(q), S::zero());
                    }
                    for j in 0..wo {
                        let (left, right) = span(j, w);
                        for o in (0..16).step_by(S::L) {
                            let at = |kw: usize| {
                                let b = ((kh * 3 + kw) * cb + c) * aks;
                                S::load(a.add(b + ((orow - r0) * wo + j) * 16 + o))
                            };
                            let add = |col: usize, v: S::V| {
                                let p = tmp.add(col * 16 + o);
                                S::store(p, S::add(S::load(p), v));
                            };
                            // Tap kw of output j covers the halo columns 2j+kw−1 ..= 2j+kw+1.
                            let (d0, d1, d2) = (at(0), at(1), at(2));
                            let (mut c0, mut c1, mut c2) = (d0, d1, d2);
                            if left {
                                add(2 * j - 1, d0);
                                c0 = S::add(c0, d1);
                                c1 = S::add(c1, d2);
                            }
                            if right {
                                c1 = S::add(c1, d0);
                                c2 = S::add(c2, d1);
                                add(2 * j + 3, d2);
                            }
                            add(2 * j, c0);
                            add(2 * j + 1, c1);
                            add(2 * j + 2, c2);
                        }
                    }
                    // Halo row 2o+kh is map row 2o+kh−1; its neighbours where they count.
                    let centre = 2 * orow + kh;
                    for hr in [centre.wrapping_sub(1), centre, centre + 1] {
                        if (hr == centre + 1 && !down)
                            || (hr.wrapping_add(1) == centre && !up)
                            || hr == 0
                            || hr > h
                        {
                            continue;
                        }
                        let d = gx.at(c, i, hr - 1, 0);
                        for q in (0..w * 16).step_by(S::L) {
                            let p = d.add(q);
                            S::store(p, S::add(S::load(p), S::load(tmp.add(16 + q))));
                        }
                    }
                }
            }
        }
    }
}
