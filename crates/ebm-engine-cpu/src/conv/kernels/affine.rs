//! Per-channel scale and shift, activation and residual in one pass, both ways, with and without a
//! tangent stream.
//!
//! Per image and channel `z = scale·(y − pivot) + shift`, and the tangent is `z' = scale·u` where
//! `u = (y' − turn pivot) + back − (y − pivot)·q`. A pivot is a number of the map itself, so that maps at a level far above their
//! contrast lose no digits; what lies between it and the mean of the norm's group stands in `shift` and `back`.
//! Without norm there are no pivots and `u = y'`.

use super::View;
use super::moments::stat;
use crate::pointwise::{Leaky, Pointwise, Sigmoid, Softplus, Square, Swish, Tanh};
use crate::simd::Simd;

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
unsafe fn act<S: Simd, const A: u8>(z: S::V, slope: f32) -> [S::V; 3] {
    // SAFETY: pure vector arithmetic of the caller's instruction set.
    unsafe {
        match A {
            code::SWISH => Swish.eval::<S>(z),
            code::LEAKY => Leaky(slope).eval::<S>(z),
            code::TANH => Tanh.eval::<S>(z),
            code::SOFTPLUS => Softplus.eval::<S>(z),
            code::SIGMOID => Sigmoid.eval::<S>(z),
            code::SQUARE => Square.eval::<S>(z),
            _ => [z, S::splat(1.0), S::zero()],
        }
    }
}

/// Floats from a pixel to the one that is asked for meanwhile: maps that the way back needs again come from main memory.
const AHEAD: usize = 40 * 16;

/// What stands before the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing: statistics are not read, and no sums are taken.
    Plain = PLAIN as isize,
    /// Gain and shift of each channel.
    Gain = GAIN as isize,
    /// A norm, with gain and shift.
    Norm = NORM as isize,
}

const PLAIN: u8 = 0;
const GAIN: u8 = 1;
const NORM: u8 = 2;

/// Calls `$f` for the form that is known at run time.
macro_rules! of_form {
    ($form:expr, $f:ident::<$S:ident, $A:ident, $TWO:ident>($($x:expr),*)) => {
        match $form {
            Form::Plain => $f::<$S, $A, $TWO, PLAIN>($($x),*),
            Form::Gain => $f::<$S, $A, $TWO, GAIN>($($x),*),
            Form::Norm => $f::<$S, $A, $TWO, NORM>($($x),*),
        }
    };
}

/// What a channel's statistics make of a pixel, by the [`Form`].
#[derive(Clone, Copy)]
struct Channel<V> {
    scale: V,
    shift: V,
    pivot: V,
    turn: V,
    back: V,
    q: V,
}

impl<V: Copy> Channel<V> {
    #[inline(always)]
    unsafe fn load<S: Simd<V = V>, const FORM: u8>(s: *const f32) -> Self {
        // SAFETY: the statistics of one block.
        unsafe {
            let field = |f: usize| if FORM == PLAIN { S::zero() } else { S::load(s.add(f * 16)) };
            Channel {
                scale: field(stat::SCALE),
                shift: field(stat::SHIFT),
                pivot: field(stat::PIVOT),
                turn: field(stat::TURN),
                back: field(stat::BACK),
                q: field(stat::Q),
            }
        }
    }

    /// `y − pivot`.
    #[inline(always)]
    unsafe fn centred<S: Simd<V = V>, const FORM: u8>(&self, y: V) -> V {
        // SAFETY: pure vector arithmetic of the caller's instruction set.
        unsafe { if FORM == NORM { S::sub(y, self.pivot) } else { y } }
    }

    /// `z` of a centred pixel.
    #[inline(always)]
    unsafe fn scaled<S: Simd<V = V>, const FORM: u8>(&self, centred: V) -> V {
        // SAFETY: as above.
        unsafe { if FORM == PLAIN { centred } else { S::fma(centred, self.scale, self.shift) } }
    }

    /// `u` of a pixel whose tangent is `t`.
    #[inline(always)]
    unsafe fn moved<S: Simd<V = V>, const FORM: u8>(&self, centred: V, t: V) -> V {
        // SAFETY: as above. Without norm q is 0, but 0·∞ is not.
        unsafe {
            if FORM == NORM { S::add(S::sub(t, self.turn), S::fnma(centred, self.q, self.back)) } else { t }
        }
    }

    /// `scale·u`.
    #[inline(always)]
    unsafe fn turned<S: Simd<V = V>, const FORM: u8>(&self, u: V) -> V {
        // SAFETY: as above.
        unsafe { if FORM == PLAIN { u } else { S::mul(self.scale, u) } }
    }
}

/// `out = act(z) (+ res)`, and with `TWO` the tangent beside it.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn forward<S: Simd, const A: u8, const TWO: bool>(
    form: Form,
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
    // SAFETY: passed on.
    unsafe {
        of_form!(form, forward_of::<S, A, TWO>(y, cb, n, h, w, st, slope, res, out));
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn forward_of<S: Simd, const A: u8, const TWO: bool, const FORM: u8>(
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
                    let ch = Channel::load::<S, FORM>(st.add((i * cb + c) * stat::LEN * 16 + o));
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        let d = out.at(c, i, r, 0).add(o);
                        let e = match &res {
                            Some(v) => v.at(c, i, r, 0).add(o),
                            None => std::ptr::null_mut(),
                        };
                        let ets = res.as_ref().map_or(0, |v| v.ts);
                        for x in 0..w {
                            S::prefetch(p.wrapping_add(x * 16 + AHEAD));
                            S::prefetch(d.wrapping_add(x * 16 + AHEAD));
                            let yc = ch.centred::<S, FORM>(S::load(p.add(x * 16)));
                            let [mut a, g, _] = act::<S, A>(ch.scaled::<S, FORM>(yc), slope);
                            if !e.is_null() {
                                a = S::add(a, S::load(e.add(x * 16)));
                            }
                            S::store(d.add(x * 16), a);
                            if TWO {
                                let u = ch.moved::<S, FORM>(yc, S::load(p.add(x * 16 + y.ts)));
                                let mut t = S::mul(g, ch.turned::<S, FORM>(u));
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
    /// `Σ z̄·(y − pivot)`.
    pub(crate) const ZY: usize = 1;
    /// `Σ z̄'`.
    pub(crate) const T: usize = 2;
    /// `Σ z̄'·(y − pivot)`.
    pub(crate) const TY: usize = 3;
    /// `Σ z̄'·u`.
    pub(crate) const TU: usize = 4;
    /// Fields.
    pub(crate) const LEN: usize = 5;
}

/// First pass: gradients at `z` into `out`, and their channel sums unless the form is plain. Single: `z̄ = a'(z)·g`. Two
/// streams: `z̄' = a'(z)·g'` and `z̄ = a'(z)·g + a''(z)·z'·g'`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn backward_sums<S: Simd, const A: u8, const TWO: bool>(
    form: Form,
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
    // SAFETY: passed on.
    unsafe {
        of_form!(form, sums_of::<S, A, TWO>(y, g, cb, n, h, w, st, slope, sums, out));
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn sums_of<S: Simd, const A: u8, const TWO: bool, const FORM: u8>(
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
                    let ch = Channel::load::<S, FORM>(st.add((i * cb + c) * stat::LEN * 16 + o));
                    let f = sums.add((i * cb + c) * sum::LEN * 16 + o);
                    // Row by row, as the moments are.
                    let mut all = [S::zero(); sum::LEN];
                    for r in 0..h {
                        let mut acc = [S::zero(); sum::LEN];
                        let p = y.at(c, i, r, 0).add(o);
                        let gp = g.at(c, i, r, 0).add(o);
                        let d = out.at(c, i, r, 0).add(o);
                        for x in 0..w {
                            S::prefetch(p.wrapping_add(x * 16 + AHEAD));
                            S::prefetch(gp.wrapping_add(x * 16 + AHEAD));
                            let yc = ch.centred::<S, FORM>(S::load(p.add(x * 16)));
                            let [_, a1, a2] = act::<S, A>(ch.scaled::<S, FORM>(yc), slope);
                            let gv = S::load(gp.add(x * 16));
                            let mut z = S::mul(gv, a1);
                            if TWO {
                                let u = ch.moved::<S, FORM>(yc, S::load(p.add(x * 16 + y.ts)));
                                let gt = S::load(gp.add(x * 16 + g.ts));
                                z = S::fma(S::mul(a2, ch.turned::<S, FORM>(u)), gt, z);
                                let t = S::mul(gt, a1);
                                if FORM != PLAIN {
                                    acc[sum::T] = S::add(acc[sum::T], t);
                                    acc[sum::TY] = S::fma(t, yc, acc[sum::TY]);
                                    acc[sum::TU] = S::fma(t, u, acc[sum::TU]);
                                }
                                S::store(d.add(x * 16 + out.ts), t);
                            }
                            if FORM != PLAIN {
                                acc[sum::Z] = S::add(acc[sum::Z], z);
                                acc[sum::ZY] = S::fma(z, yc, acc[sum::ZY]);
                            }
                            S::store(d.add(x * 16), z);
                        }
                        if FORM != PLAIN {
                            for (sum, row) in all.iter_mut().zip(acc) {
                                *sum = S::add(*sum, row);
                            }
                        }
                    }
                    for (k, v) in all.into_iter().enumerate() {
                        if FORM != PLAIN && (TWO || k < 2) {
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
    /// Factor of `y − pivot` in the tangent's adjoint (or the only one).
    pub(crate) const AY: usize = 1;
    /// Constant there.
    pub(crate) const A0: usize = 2;
    /// Factor of `z̄'` in the value's adjoint.
    pub(crate) const BT: usize = 3;
    /// Factor of `y' − turn` there.
    pub(crate) const BYT: usize = 4;
    /// Factor of `y − pivot` there.
    pub(crate) const BY: usize = 5;
    /// Constant there.
    pub(crate) const B0: usize = 6;
    /// The pivot of `y`.
    pub(crate) const PIVOT: usize = 7;
    /// That of `y'`.
    pub(crate) const TURN: usize = 8;
    /// Fields.
    pub(crate) const LEN: usize = 9;
}

/// Second pass of a norm, in place on `out`: single `k·z̄ + ay·(y − pivot) + a0`; two streams as the fields say.
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
                    let a = |j: usize| S::load(f.add(j * 16));
                    let (k, ay, a0, pivot) = (a(coef::K), a(coef::AY), a(coef::A0), a(coef::PIVOT));
                    let b = |j: usize| if TWO { S::load(f.add(j * 16)) } else { S::zero() };
                    let (bt, byt, by, b0) = (b(coef::BT), b(coef::BYT), b(coef::BY), b(coef::B0));
                    let turn = b(coef::TURN);
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        let d = out.at(c, i, r, 0).add(o);
                        for x in 0..w {
                            S::prefetch(p.wrapping_add(x * 16 + AHEAD));
                            S::prefetch(d.wrapping_add(x * 16 + AHEAD));
                            let yv = S::sub(S::load(p.add(x * 16)), pivot);
                            let z = S::load(d.add(x * 16));
                            if TWO {
                                let t = S::load(d.add(x * 16 + out.ts));
                                let yt = S::sub(S::load(p.add(x * 16 + y.ts)), turn);
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

/// Second pass without norm, in place on `out`: each stream times the channel's factor.
#[inline(always)]
pub(super) unsafe fn backward_scale<S: Simd>(
    cb: usize,
    n: usize,
    h: usize,
    w: usize,
    streams: usize,
    co: *const f32,
    out: View,
) {
    for i in 0..n {
        for c in 0..cb {
            for o in (0..16).step_by(S::L) {
                for stream in 0..streams {
                    for r in 0..h {
                        // SAFETY: as in backward_apply.
                        unsafe {
                            let k = S::load(co.add(((i * cb + c) * coef::LEN + coef::K) * 16 + o));
                            let d = out.at(c, i, r, 0).add(o + stream * out.ts);
                            for x in 0..w {
                                S::store(d.add(x * 16), S::mul(k, S::load(d.add(x * 16))));
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
