//! The pointwise functions of both engines: value, first and second derivative in one pass.
//!
//! All that bends is made of `e = e^(−|z|)`, which is in `[0, 1]` (swish of `e^(−z)`): nothing overflows, `1 − sigmoid(z)` and `1 − tanh²(z)` are products
//! and not differences, and NaN stays NaN.

use ebm_core::plan::Activation;

use crate::simd::{Simd, decay, log1p_unit};

/// A pointwise function of a compiled plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    Swish,
    Relu,
    Leaky(f32),
    Tanh,
    Softplus,
    Sigmoid,
    Square,
    /// Multiplication by a constant.
    Scale(f32),
    /// Halves of a Fourier layer.
    Cosine,
    Sine,
}

impl From<Activation> for Act {
    fn from(a: Activation) -> Act {
        match a {
            Activation::Swish => Act::Swish,
            Activation::Relu => Act::Relu,
            Activation::LeakyRelu(s) => Act::Leaky(s as f32),
            Activation::Tanh => Act::Tanh,
            Activation::Softplus => Act::Softplus,
            Activation::Sigmoid => Act::Sigmoid,
            Activation::Square => Act::Square,
        }
    }
}

/// A function that vectorises. What a caller does not use is not computed once inlined.
pub(crate) trait Pointwise: Copy {
    /// `[f, f′, f″]` at `z`.
    ///
    /// # Safety
    /// The processor has the instruction set `S`.
    unsafe fn eval<S: Simd>(self, z: S::V) -> [S::V; 3];
}

macro_rules! pointwise {
    ($(#[$doc:meta])* $name:ident $(($c:ident: $t:ty))?, |$set:ident, $z:ident| $body:block) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name $((pub $t))?;
        impl Pointwise for $name {
            #[inline(always)]
            unsafe fn eval<$set: Simd>(self, $z: $set::V) -> [$set::V; 3] {
                $(let $name($c) = self;)?
                // SAFETY: by the caller's promise.
                unsafe { $body }
            }
        }
    };
}

pointwise!(
    /// `z·s`, `s·(1 + z·q)`, `s·q·(2 + z·(q − s))` with `s = sigmoid(z)`, `q = 1 − s`.
    ///
    /// With `e = e^(−z)` these are `1/(1 + e)` and `e/(1 + e)`, without a choice between two halves, which costs a tenth of a pass over
    /// a map. Below −86.5, where `e` would overflow, all three are below 1e-35 and taken there.
    Swish, |S, z| {
        let z = S::at_least(z, -86.5);
        let (e, _) = decay::<S>(S::sub(S::zero(), z));
        let s = S::recip(S::add(e, S::splat(1.0)));
        let q = S::mul(e, s);
        let second = S::mul(S::mul(s, q), S::fma(z, S::sub(q, s), S::splat(2.0)));
        [S::mul(z, s), S::mul(s, S::fma(z, q, S::splat(1.0))), second]
    }
);
pointwise!(
    /// Slope 0 at 0.
    Relu, |S, z| {
        let step = S::positive(z, S::splat(1.0), S::zero());
        [S::mul(z, step), step, S::zero()]
    }
);
pointwise!(
    /// Slope `c` at 0.
    Leaky(c: f32), |S, z| {
        let step = S::positive(z, S::splat(1.0), S::splat(c));
        [S::mul(z, step), step, S::zero()]
    }
);
pointwise!(
    /// `±(1 − e)/(1 + e)` with `e = e^(−2|z|)` and `1 − e` formed without cancellation; its derivative is `4e/(1 + e)²`.
    Tanh, |S, z| {
        let away = S::minus_abs(z);
        let (e, m) = decay::<S>(S::add(away, away));
        let r = S::recip(S::add(e, S::splat(1.0)));
        let a = S::mul(m, r);
        let a = S::positive(z, S::sub(S::zero(), a), a);
        let half = S::mul(S::add(e, e), r);
        let d = S::mul(S::add(half, half), r);
        [a, d, S::mul(S::mul(S::splat(-2.0), a), d)]
    }
);
pointwise!(
    /// `max(z, 0) + ln(1 + e^(−|z|))`.
    Softplus, |S, z| {
        let (e, s, q) = sigmoids::<S>(z);
        [S::add(S::positive(z, z, S::zero()), log1p_unit::<S>(e)), s, S::mul(s, q)]
    }
);
pointwise!(
    /// Second derivative `s·q·(q − s)` with `q − s = −tanh(z/2)`, which keeps its digits near 0.
    Sigmoid, |S, z| {
        let (e, m) = decay::<S>(S::minus_abs(z));
        let large = S::recip(S::add(e, S::splat(1.0)));
        let small = S::mul(e, large);
        let d = S::mul(small, large);
        let half = S::mul(m, large);
        let turn = S::positive(z, half, S::sub(S::zero(), half));
        [S::positive(z, large, small), d, S::mul(d, turn)]
    }
);
pointwise!(Square, |S, z| { [S::mul(z, z), S::add(z, z), S::splat(2.0)] });
pointwise!(Scale(c: f32), |S, z| { [S::mul(z, S::splat(c)), S::splat(c), S::zero()] });
pointwise!(Sine, |S, z| {
    let (s, c) = sine_cosine::<S>(z);
    [s, c, S::sub(S::zero(), s)]
});
pointwise!(Cosine, |S, z| {
    let (s, c) = sine_cosine::<S>(z);
    [c, S::sub(S::zero(), s), S::sub(S::zero(), c)]
});

/// `e = e^(−|z|)`, `sigmoid(z)` and `1 − sigmoid(z)`: of the last two the larger is `1/(1 + e)`, the smaller `e/(1 + e)`.
#[inline(always)]
unsafe fn sigmoids<S: Simd>(z: S::V) -> (S::V, S::V, S::V) {
    // SAFETY: by the caller's promise.
    unsafe {
        let (e, _) = decay::<S>(S::minus_abs(z));
        let large = S::recip(S::add(e, S::splat(1.0)));
        let small = S::mul(e, large);
        (e, S::positive(z, large, small), S::positive(z, small, large))
    }
}

/// Sine and cosine: reduction by π in three parts (good for |z| up to some thousands), then the
/// same odd polynomial for both, error 3e-8 before rounding.
#[inline(always)]
unsafe fn sine_cosine<S: Simd>(z: S::V) -> (S::V, S::V) {
    // SAFETY: by the caller's promise.
    unsafe {
        let t = S::mul(z, S::splat(std::f32::consts::FRAC_1_PI));
        let (n, _) = S::round_pow2(t);
        let (m, _) = S::round_pow2(S::sub(t, S::splat(0.5)));
        let half = S::add(m, S::splat(0.5));
        let sine = S::mul(parity::<S>(n), odd::<S>(reduce::<S>(z, n)));
        let cosine = S::mul(parity::<S>(m), odd::<S>(reduce::<S>(z, half)));
        (sine, S::sub(S::zero(), cosine))
    }
}

/// `z − n·π` with π split so that the first products are exact.
#[inline(always)]
unsafe fn reduce<S: Simd>(z: S::V, n: S::V) -> S::V {
    // SAFETY: by the caller's promise.
    unsafe {
        let r = S::fnma(n, S::splat(3.140_625), z);
        let r = S::fnma(n, S::splat(9.675_026e-4), r);
        S::fnma(n, S::splat(1.509_958e-7), r)
    }
}

/// `(−1)ⁿ` of an integer `n`.
#[inline(always)]
unsafe fn parity<S: Simd>(n: S::V) -> S::V {
    // SAFETY: by the caller's promise.
    unsafe {
        let h = S::mul(n, S::splat(0.5));
        let (r, _) = S::round_pow2(h);
        let odd = S::sub(h, r);
        S::fnma(S::mul(odd, odd), S::splat(8.0), S::splat(1.0))
    }
}

/// `sin f` on `[−π/2, π/2]`.
#[inline(always)]
unsafe fn odd<S: Simd>(f: S::V) -> S::V {
    // SAFETY: by the caller's promise.
    unsafe {
        let z = S::mul(f, f);
        let mut p = S::splat(-2.408_019e-8);
        for c in [2.753_646_4e-6, -1.984_108_7e-4, 8.333_333e-3, -1.666_666_7e-1] {
            p = S::fma(p, z, S::splat(c));
        }
        S::fma(S::mul(p, z), f, f)
    }
}
