//! What happens to each entry: activations with their derivatives, sums of products.

use super::product::{Mode, with_mode};
use crate::pointwise::{
    Act, Cosine, Leaky, Pointwise, Relu, Scale, Sigmoid, Sine, Softplus, Square, Swish, Tanh,
};
use crate::simd::Simd;

/// Offsets of one activation: `z` and, with a tangent, `zt`; results `a`, `d = f′`, `at = f′·zt`, `e = f″·zt`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ActAt {
    pub rows: usize,
    pub stride: usize,
    pub blocks: usize,
    pub z: usize,
    pub a: usize,
    pub d: usize,
    /// `(zt, at, e)`.
    pub tangent: Option<(usize, usize, usize)>,
}

#[inline(always)]
unsafe fn each<S: Simd, P: Pointwise>(p: ActAt, f: P, m: *mut f32) {
    // SAFETY: the extents were checked by `Kernels::activate`.
    unsafe {
        for c in 0..p.blocks {
            let o = c * p.stride;
            if let Some((zt, at, e)) = p.tangent {
                for i in (o..o + p.rows * 16).step_by(S::L) {
                    let t = S::load(m.add(zt + i));
                    let [a, d, dd] = f.eval::<S>(S::load(m.add(p.z + i)));
                    S::store(m.add(p.a + i), a);
                    S::store(m.add(p.d + i), d);
                    S::store(m.add(at + i), S::mul(d, t));
                    S::store(m.add(e + i), S::mul(dd, t));
                }
            } else {
                for i in (o..o + p.rows * 16).step_by(S::L) {
                    let [a, d, _] = f.eval::<S>(S::load(m.add(p.z + i)));
                    S::store(m.add(p.a + i), a);
                    S::store(m.add(p.d + i), d);
                }
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn activate_k<S: Simd>(p: ActAt, act: Act, m: *mut f32) {
    // SAFETY: as for `each`.
    unsafe {
        match act {
            Act::Swish => each::<S, _>(p, Swish, m),
            Act::Relu => each::<S, _>(p, Relu, m),
            Act::Leaky(s) => each::<S, _>(p, Leaky(s), m),
            Act::Tanh => each::<S, _>(p, Tanh, m),
            Act::Softplus => each::<S, _>(p, Softplus, m),
            Act::Sigmoid => each::<S, _>(p, Sigmoid, m),
            Act::Square => each::<S, _>(p, Square, m),
            Act::Scale(s) => each::<S, _>(p, Scale(s), m),
            Act::Cosine => each::<S, _>(p, Cosine, m),
            Act::Sine => each::<S, _>(p, Sine, m),
        }
    }
}

/// `to (mode) x·y + u·v` over blocks; a product is left out where `None`, a factor is 1 where `None`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Combine {
    pub rows: usize,
    pub stride: usize,
    pub blocks: usize,
    pub x: usize,
    pub y: Option<usize>,
    pub uv: Option<(usize, usize)>,
    pub to: usize,
    pub mode: Mode,
}

#[inline(always)]
pub(super) unsafe fn combine_k<S: Simd>(p: Combine, m: *mut f32) {
    // SAFETY: the extents were checked by `Kernels::combine`.
    unsafe {
        for c in 0..p.blocks {
            let o = c * p.stride;
            for i in (o..o + p.rows * 16).step_by(S::L) {
                let mut v = S::load(m.add(p.x + i));
                if let Some(y) = p.y {
                    v = S::mul(v, S::load(m.add(y + i)));
                }
                if let Some((u, w)) = p.uv {
                    v = S::fma(S::load(m.add(u + i)), S::load(m.add(w + i)), v);
                }
                let q = m.add(p.to + i);
                S::store(q, with_mode!(p.mode, q, v));
            }
        }
    }
}
