//! Patches of a strided convolution as rows of a product, and their adjoint.

use super::View;
use crate::simd::Simd;

/// How a kernel steps over a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Rows of the kernel.
    pub high: usize,
    /// Columns of the kernel.
    pub wide: usize,
    /// Pixels between places.
    pub stride: usize,
    /// Rows of zeros above the map.
    pub top: usize,
    /// Columns of zeros to the left of the map.
    pub left: usize,
}

impl Reach {
    /// The places out of `0..places` at which entry `tap` of the kernel meets a map of `size` with `before` zeros before it.
    #[inline(always)]
    pub(crate) fn meets(self, tap: usize, before: usize, size: usize, places: usize) -> (usize, usize) {
        let first = before.saturating_sub(tap).div_ceil(self.stride).min(places);
        let end = (size + before).saturating_sub(tap).div_ceil(self.stride).min(places);
        (first, end.max(first))
    }
}

/// Patches of output rows `r0..r1` of image `i`: `a[tap·cb + c][pixel][16]` with block stride `aks`; `wo` places a row.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn patch_in<S: Simd>(
    x: View,
    cb: usize,
    i: usize,
    h: usize,
    w: usize,
    wo: usize,
    k: Reach,
    r0: usize,
    r1: usize,
    a: *mut f32,
    aks: usize,
) {
    for kh in 0..k.high {
        for kw in 0..k.wide {
            let (q0, q1) = k.meets(kw, k.left, w, wo);
            for c in 0..cb {
                for r in r0..r1 {
                    let row = r * k.stride + kh;
                    let inside = row >= k.top && row < h + k.top;
                    // SAFETY: the caller gives room for `r1 − r0` rows of `wo` pixels in every block; what is read lies in h × w.
                    unsafe {
                        let to = a.add(((kh * k.wide + kw) * cb + c) * aks + (r - r0) * wo * 16);
                        let (from, until) = if inside { (q0, q1) } else { (wo, wo) };
                        for o in (0..from * 16).step_by(S::L) {
                            S::store(to.add(o), S::zero());
                        }
                        for o in (until * 16..wo * 16).step_by(S::L) {
                            S::store(to.add(o), S::zero());
                        }
                        if from < until {
                            let src = x.at(c, i, row - k.top, from * k.stride + kw - k.left).cast_const();
                            for q in 0..until - from {
                                for o in (0..16).step_by(S::L) {
                                    let v = S::load(src.add(q * k.stride * 16 + o));
                                    S::store(to.add((from + q) * 16 + o), v);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Adjoint of [`patch_in`]: adds into the pixels of `gx`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn patch_out<S: Simd>(
    gx: View,
    cb: usize,
    i: usize,
    h: usize,
    w: usize,
    wo: usize,
    k: Reach,
    r0: usize,
    r1: usize,
    a: *const f32,
    aks: usize,
) {
    for kh in 0..k.high {
        for kw in 0..k.wide {
            let (q0, q1) = k.meets(kw, k.left, w, wo);
            for c in 0..cb {
                for r in r0..r1 {
                    let row = r * k.stride + kh;
                    if row < k.top || row >= h + k.top || q0 == q1 {
                        continue;
                    }
                    // SAFETY: as above, with what is written in h × w.
                    unsafe {
                        let from = a.add(((kh * k.wide + kw) * cb + c) * aks + ((r - r0) * wo + q0) * 16);
                        let to = gx.at(c, i, row - k.top, q0 * k.stride + kw - k.left);
                        for q in 0..q1 - q0 {
                            for o in (0..16).step_by(S::L) {
                                let p = to.add(q * k.stride * 16 + o);
                                S::store(p, S::add(S::load(p), S::load(from.add(q * 16 + o))));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Runs of floats of a strip, from which a block of a patch is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    /// Floats of a run.
    pub run: usize,
    /// Runs in a block.
    pub count: usize,
    /// Floats in the strip from one run of a block to the next.
    pub line: usize,
    /// Floats in the strip from one pixel to the next.
    pub step: usize,
}

/// The runs of `n` pixels, one behind the other in each pixel of `a`, and zeros behind them; up to 16 floats behind the last pixel are
/// overwritten.
#[inline(always)]
pub(super) unsafe fn runs_in<S: Simd>(strip: *const f32, k: Runs, n: usize, a: *mut f32) {
    for q in 0..n {
        // SAFETY: the caller gives a vector more than the last pixel has in both.
        unsafe {
            for t in 0..k.count {
                for o in (0..k.run).step_by(S::L) {
                    S::store(a.add(q * 16 + t * k.run + o), S::load(strip.add(t * k.line + q * k.step + o)));
                }
            }
            // No weight meets these, but 0 times a NaN is one.
            for o in (k.count * k.run..16).step_by(S::L) {
                S::store(a.add(q * 16 + o), S::zero());
            }
        }
    }
}

/// Adds `bias[c]` to the pixels of `n` images.
#[inline(always)]
pub(super) unsafe fn shift<S: Simd>(y: View, cb: usize, n: usize, h: usize, w: usize, bias: *const f32) {
    for c in 0..cb {
        for i in 0..n {
            for r in 0..h {
                for o in (0..16).step_by(S::L) {
                    // SAFETY: the caller gives `cb` blocks of biases; pixels lie in h × w.
                    unsafe {
                        let b = S::load(bias.add(c * 16 + o));
                        let row = y.at(c, i, r, 0).add(o);
                        for q in 0..w {
                            let p = row.add(q * 16);
                            S::store(p, S::add(S::load(p), b));
                        }
                    }
                }
            }
        }
    }
}
