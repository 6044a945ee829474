//! Per-channel scale and shift, activation and residual in one pass, both ways, with and without a
//! tangent stream; and the channel sums that norms need.
//!
//! Per image and channel, with `x̂ = (y − mean)·rstd` and `z = scale·y + shift`, the tangent is
//! `z' = scale·u` where `u = y' − m1 − (y − mean)·q`.

use super::View;
use crate::simd::{Simd, exp, log1p_unit, sigmoid};

/// Fields of the statistics of one image and channel block, 16 floats each.
pub(crate) mod stat {
    /// Mean of the norm's group (0 without norm).
    pub(crate) const MEAN: usize = 0;
    /// `1/√(var + ε)` (1 without norm); the variance until the groups are combined.
    pub(crate) const RSTD: usize = 1;
    /// Factor of `y`.
    pub(crate) const SCALE: usize = 2;
    /// Constant.
    pub(crate) const SHIFT: usize = 3;
    /// Mean of the tangent; its sum until the groups are combined.
    pub(crate) const M1: usize = 4;
    /// `rstd·mean(x̂·y')`; `Σ (y − mean)·y'` until the groups are combined.
    pub(crate) const Q: usize = 5;
    /// Fields.
    pub(crate) const LEN: usize = 6;
}

/// Activation codes: const parameters of the kernels.
pub(crate) mod code {
    pub(crate) const IDENTITY: u8 = 0;
    pub(crate) const SWISH: u8 = 1;
    pub(crate) const LEAKY: u8 = 2;
    pub(crate) const TANH: u8 = 3;
    pub(crate) const SOFTPLUS: u8 = 4;
    pub(crate) const SIGMOID: u8 = 5;
    pub(crate) const SQUARE: u8 = 6;
}

/// Value, first and second derivative; what the caller drops is not computed.
#[inline(always)]
unsafe fn act<S: Simd, const A: u8>(z: S::V, slope: f32) -> (S::V, S::V, S::V) {
    // SAFETY: pure vector arithmetic of the caller's instruction set.
    unsafe {
        let (zero, one, two) = (S::zero(), S::splat(1.0), S::splat(2.0));
        match A {
            code::SWISH => {
                let s = sigmoid::<S>(z);
                let t = S::sub(one, s);
                let d = S::mul(s, S::fma(z, t, one));
                // s·(1 − s)·(2 + z·(1 − 2s))
                let dd = S::mul(S::mul(s, t), S::fma(z, S::sub(t, s), two));
                (S::mul(z, s), d, dd)
            }
            code::LEAKY => {
                let d = S::positive(z, one, S::splat(slope));
                (S::mul(z, d), d, zero)
            }
            code::TANH => {
                let q = S::mul(z, z);
                // Near 0 the quotient cancels: an odd series to z¹¹ instead.
                let mut p = S::splat(-1382.0 / 155_925.0);
                for c in [62.0 / 2835.0, -17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
                    p = S::fma(p, q, S::splat(c));
                }
                let e = exp::<S>(S::mul(z, S::splat(-2.0)));
                let far = S::mul(S::sub(one, e), S::recip(S::add(one, e)));
                let t = S::positive(S::sub(S::splat(0.1225), q), S::mul(z, p), far);
                let d = S::fnma(t, t, one);
                (t, d, S::mul(S::mul(t, S::splat(-2.0)), d))
            }
            code::SOFTPLUS => {
                let s = sigmoid::<S>(z);
                let neg = S::sub(zero, z);
                let away = S::positive(z, neg, z);
                let v = S::add(S::positive(z, z, zero), log1p_unit::<S>(exp::<S>(away)));
                (v, s, S::mul(s, S::sub(one, s)))
            }
            code::SIGMOID => {
                let s = sigmoid::<S>(z);
                let t = S::sub(one, s);
                let d = S::mul(s, t);
                (s, d, S::mul(d, S::sub(t, s)))
            }
            code::SQUARE => (S::mul(z, z), S::mul(z, two), two),
            _ => (z, one, zero),
        }
    }
}

/// Mean and variance over space of each channel, into `MEAN` and `RSTD`.
#[inline(always)]
pub(super) unsafe fn stats<S: Simd>(y: View, cb: usize, n: usize, h: usize, w: usize, st: *mut f32) {
    for i in 0..n {
        for c in 0..cb {
            for o in (0..16).step_by(S::L) {
                // SAFETY: pixels inside the view, statistics for n·cb blocks.
                unsafe {
                    let inv = S::splat(1.0 / (h * w) as f32);
                    let s = st.add((i * cb + c) * stat::LEN * 16 + o);
                    // Shifted by the first pixel, so that the sum of squares does not cancel.
                    let sh = S::load(y.at(c, i, 0, 0).add(o));
                    let (mut a0, mut a1, mut q0, mut q1) = (S::zero(), S::zero(), S::zero(), S::zero());
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        let mut x = 0;
                        while x + 1 < w {
                            let d0 = S::sub(S::load(p.add(x * 16)), sh);
                            let d1 = S::sub(S::load(p.add(x * 16 + 16)), sh);
                            a0 = S::add(a0, d0);
                            a1 = S::add(a1, d1);
                            q0 = S::fma(d0, d0, q0);
                            q1 = S::fma(d1, d1, q1);
                            x += 2;
                        }
                        if x < w {
                            let d0 = S::sub(S::load(p.add(x * 16)), sh);
                            a0 = S::add(a0, d0);
                            q0 = S::fma(d0, d0, q0);
                        }
                    }
                    let ms = S::mul(S::add(a0, a1), inv);
                    let var = S::fnma(ms, ms, S::mul(S::add(q0, q1), inv));
                    S::store(s.add(stat::MEAN * 16), S::add(ms, sh));
                    S::store(s.add(stat::RSTD * 16), var);
                }
            }
        }
    }
}

/// `Σ y'` and `Σ (y − mean)·y'` over space, into `M1` and `Q`.
#[inline(always)]
pub(super) unsafe fn tangent_sums<S: Simd>(y: View, cb: usize, n: usize, h: usize, w: usize, st: *mut f32) {
    for i in 0..n {
        for c in 0..cb {
            for o in (0..16).step_by(S::L) {
                // SAFETY: as in stats; the tangent stands ts floats after the value.
                unsafe {
                    let s = st.add((i * cb + c) * stat::LEN * 16 + o);
                    let mean = S::load(s.add(stat::MEAN * 16));
                    let (mut a, mut b) = (S::zero(), S::zero());
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        for x in 0..w {
                            let t = S::load(p.add(x * 16 + y.ts));
                            a = S::add(a, t);
                            b = S::fma(S::sub(S::load(p.add(x * 16)), mean), t, b);
                        }
                    }
                    S::store(s.add(stat::M1 * 16), a);
                    S::store(s.add(stat::Q * 16), b);
                }
            }
        }
    }
}

/// `out = act(scale·y + shift) (+ res)`, and with `TWO` the tangent beside it.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn forward<S: Simd, const A: u8, const TWO: bool>(
    y: View,
    cb: usize,
    n: usize,
    h: usize,
    w: usize,
    st: *const f32,
    slope: f32,
    res: Option<View>,
    out: View,
) {
    for i in 0..n {
        for c in 0..cb {
            for o in (0..16).step_by(S::L) {
                // SAFETY: pixels inside the views, statistics for n·cb blocks.
                unsafe {
                    let s = st.add((i * cb + c) * stat::LEN * 16 + o);
                    let (sc, sh) = (S::load(s.add(stat::SCALE * 16)), S::load(s.add(stat::SHIFT * 16)));
                    let mean = S::load(s.add(stat::MEAN * 16));
                    let (m1, q) = if TWO {
                        (S::load(s.add(stat::M1 * 16)), S::load(s.add(stat::Q * 16)))
                    } else {
                        (S::zero(), S::zero())
                    };
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        let d = out.at(c, i, r, 0).add(o);
                        let e = match &res {
                            Some(v) => v.at(c, i, r, 0).add(o),
                            None => std::ptr::null_mut(),
                        };
                        let ets = res.as_ref().map_or(0, |v| v.ts);
                        for x in 0..w {
                            let yv = S::load(p.add(x * 16));
                            let (mut a, g, _) = act::<S, A>(S::fma(yv, sc, sh), slope);
                            if !e.is_null() {
                                a = S::add(a, S::load(e.add(x * 16)));
                            }
                            S::store(d.add(x * 16), a);
                            if TWO {
                                let u =
                                    S::fnma(S::sub(yv, mean), q, S::sub(S::load(p.add(x * 16 + y.ts)), m1));
                                let mut t = S::mul(g, S::mul(sc, u));
                                if !e.is_null() {
                                    t = S::add(t, S::load(e.add(x * 16 + ets)));
                                }
                                S::store(d.add(x * 16 + out.ts), t);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Fields of the sums of the backward pass of one image and channel block.
pub(crate) mod sum {
    /// `Σ z̄`.
    pub(crate) const Z: usize = 0;
    /// `Σ z̄·(y − mean)`.
    pub(crate) const ZY: usize = 1;
    /// `Σ z̄'`.
    pub(crate) const T: usize = 2;
    /// `Σ z̄'·(y − mean)`.
    pub(crate) const TY: usize = 3;
    /// `Σ z̄'·u`.
    pub(crate) const TU: usize = 4;
    /// Fields.
    pub(crate) const LEN: usize = 5;
}

/// First pass: gradients at `z` into `out`, and their channel sums. Single: `z̄ = a'(z)·g`. Two
/// streams: `z̄' = a'(z)·g'` and `z̄ = a'(z)·g + a''(z)·z'·g'`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn backward_sums<S: Simd, const A: u8, const TWO: bool>(
    y: View,
    g: View,
    cb: usize,
    n: usize,
    h: usize,
    w: usize,
    st: *const f32,
    slope: f32,
    sums: *mut f32,
    out: View,
) {
    for i in 0..n {
        for c in 0..cb {
            for o in (0..16).step_by(S::L) {
                // SAFETY: pixels inside the views, statistics and sums for n·cb blocks.
                unsafe {
                    let s = st.add((i * cb + c) * stat::LEN * 16 + o);
                    let f = sums.add((i * cb + c) * sum::LEN * 16 + o);
                    let (sc, sh) = (S::load(s.add(stat::SCALE * 16)), S::load(s.add(stat::SHIFT * 16)));
                    let mean = S::load(s.add(stat::MEAN * 16));
                    let (m1, q) = if TWO {
                        (S::load(s.add(stat::M1 * 16)), S::load(s.add(stat::Q * 16)))
                    } else {
                        (S::zero(), S::zero())
                    };
                    let mut acc = [S::zero(); sum::LEN];
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        let gp = g.at(c, i, r, 0).add(o);
                        let d = out.at(c, i, r, 0).add(o);
                        for x in 0..w {
                            let yv = S::load(p.add(x * 16));
                            let yc = S::sub(yv, mean);
                            let (_, a1, a2) = act::<S, A>(S::fma(yv, sc, sh), slope);
                            let gv = S::load(gp.add(x * 16));
                            let mut z = S::mul(gv, a1);
                            if TWO {
                                let u = S::fnma(yc, q, S::sub(S::load(p.add(x * 16 + y.ts)), m1));
                                let gt = S::load(gp.add(x * 16 + g.ts));
                                z = S::fma(S::mul(a2, S::mul(sc, u)), gt, z);
                                let t = S::mul(gt, a1);
                                acc[sum::T] = S::add(acc[sum::T], t);
                                acc[sum::TY] = S::fma(t, yc, acc[sum::TY]);
                                acc[sum::TU] = S::fma(t, u, acc[sum::TU]);
                                S::store(d.add(x * 16 + out.ts), t);
                            }
                            acc[sum::Z] = S::add(acc[sum::Z], z);
                            acc[sum::ZY] = S::fma(z, yc, acc[sum::ZY]);
                            S::store(d.add(x * 16), z);
                        }
                    }
                    for (k, v) in acc.into_iter().enumerate() {
                        if TWO || k < 2 {
                            S::store(f.add(k * 16), v);
                        }
                    }
                }
            }
        }
    }
}

/// Fields of the coefficients of the second pass.
pub(crate) mod coef {
    /// Factor of the gradient at `z` (both streams).
    pub(crate) const K: usize = 0;
    /// Factor of `y` in the tangent's adjoint (or the only one).
    pub(crate) const AY: usize = 1;
    /// Constant there.
    pub(crate) const A0: usize = 2;
    /// Factor of `z̄'` in the value's adjoint.
    pub(crate) const BT: usize = 3;
    /// Factor of `y'` there.
    pub(crate) const BYT: usize = 4;
    /// Factor of `y` there.
    pub(crate) const BY: usize = 5;
    /// Constant there.
    pub(crate) const B0: usize = 6;
    /// Fields.
    pub(crate) const LEN: usize = 7;
}

/// Second pass, in place on `out`: single `k·z̄ + ay·y + a0`; two streams as the fields say.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn backward_apply<S: Simd, const TWO: bool>(
    y: View,
    cb: usize,
    n: usize,
    h: usize,
    w: usize,
    co: *const f32,
    out: View,
) {
    for i in 0..n {
        for c in 0..cb {
            for o in (0..16).step_by(S::L) {
                // SAFETY: pixels inside the views, coefficients for n·cb blocks.
                unsafe {
                    let f = co.add((i * cb + c) * coef::LEN * 16 + o);
                    let k = S::load(f.add(coef::K * 16));
                    let (ay, a0) = (S::load(f.add(coef::AY * 16)), S::load(f.add(coef::A0 * 16)));
                    let b = |j: usize| if TWO { S::load(f.add(j * 16)) } else { S::zero() };
                    let (bt, byt, by, b0) = (b(coef::BT), b(coef::BYT), b(coef::BY), b(coef::B0));
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        let d = out.at(c, i, r, 0).add(o);
                        for x in 0..w {
                            let yv = S::load(p.add(x * 16));
                            let z = S::load(d.add(x * 16));
                            if TWO {
                                let t = S::load(d.add(x * 16 + out.ts));
                                let yt = S::load(p.add(x * 16 + y.ts));
                                let v = S::fma(by, yv, S::fma(byt, yt, S::fma(bt, t, b0)));
                                S::store(d.add(x * 16), S::fma(k, z, v));
                                S::store(d.add(x * 16 + out.ts), S::fma(k, t, S::fma(ay, yv, a0)));
                            } else {
                                S::store(d.add(x * 16), S::fma(k, z, S::fma(ay, yv, a0)));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `dst = a·src`, or `dst += a·src` with `add`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn scaled<S: Simd>(
    src: View,
    cb: usize,
    n: usize,
    h: usize,
    w: usize,
    a: f32,
    add: bool,
    dst: View,
) {
    for i in 0..n {
        for c in 0..cb {
            for r in 0..h {
                // SAFETY: rows inside the views.
                unsafe {
                    let f = S::splat(a);
                    let (p, d) = (src.at(c, i, r, 0), dst.at(c, i, r, 0));
                    for x in (0..w * 16).step_by(S::L) {
                        let v = S::load(p.add(x));
                        let v = if add { S::fma(f, v, S::load(d.add(x))) } else { S::mul(f, v) };
                        S::store(d.add(x), v);
                    }
                }
            }
        }
    }
}
