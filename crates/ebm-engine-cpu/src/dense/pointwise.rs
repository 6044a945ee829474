//! The pointwise functions of the dense engine: value, first and second derivative in one pass.

use ebm_core::plan::Activation;

use crate::simd::{Simd, exp, log1p_unit};

/// A pointwise function of a compiled plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
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
pub(super) trait Pointwise: Copy {
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
        pub(super) struct $name $((pub $t))?;
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
    Swish, |S, z| {
        let (s, q) = sigmoids::<S>(z);
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
    /// `−m/(2 + m)` with `m = e⁻²ᶻ − 1` formed without cancellation, so small arguments keep their
    /// digits; the derivative `4(1 + m)/(2 + m)²` keeps those of the tails.
    Tanh, |S, z| {
        let m = exp_minus_one::<S>(S::mul(z, S::splat(-2.0)));
        let r = S::recip(S::add(m, S::splat(2.0)));
        let a = S::sub(S::zero(), S::mul(m, r));
        let d = S::mul(S::mul(S::fma(m, S::splat(4.0), S::splat(4.0)), r), r);
        [a, d, S::mul(S::mul(S::splat(-2.0), a), d)]
    }
);
pointwise!(
    /// `max(z, 0) + ln(1 + e^(−|z|))`.
    Softplus, |S, z| {
        let step = S::positive(z, S::splat(1.0), S::zero());
        let minus_abs = S::mul(z, S::fma(step, S::splat(-2.0), S::splat(1.0)));
        let (s, q) = sigmoids::<S>(z);
        [S::fma(z, step, log1p_unit::<S>(exp::<S>(minus_abs))), s, S::mul(s, q)]
    }
);
pointwise!(Sigmoid, |S, z| {
    let (s, q) = sigmoids::<S>(z);
    let d = S::mul(s, q);
    [s, d, S::mul(d, S::sub(q, s))]
});
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

/// `sigmoid(z)` and `1 − sigmoid(z)`, the latter without cancellation, so that derivatives keep
/// their digits in the tails.
#[inline(always)]
unsafe fn sigmoids<S: Simd>(z: S::V) -> (S::V, S::V) {
    // SAFETY: by the caller's promise.
    unsafe {
        let e = exp::<S>(S::sub(S::zero(), z));
        let s = S::recip(S::add(e, S::splat(1.0)));
        (s, S::mul(e, s))
    }
}

/// `eˣ − 1`, relative error about 2e-7 everywhere; clamped like [`exp`].
#[inline(always)]
unsafe fn exp_minus_one<S: Simd>(x: S::V) -> S::V {
    // SAFETY: by the caller's promise.
    unsafe {
        let t = S::clamp(S::mul(x, S::splat(std::f32::consts::LOG2_E)), -120.0, 120.0);
        let (n, s) = S::round_pow2(t);
        let f = S::sub(t, n);
        let mut p = S::splat(1.535_336_2e-4);
        p = S::fma(p, f, S::splat(1.339_887_4e-3));
        p = S::fma(p, f, S::splat(9.618_437e-3));
        p = S::fma(p, f, S::splat(5.550_332_5e-2));
        p = S::fma(p, f, S::splat(2.402_264_8e-1));
        p = S::fma(p, f, S::splat(std::f32::consts::LN_2));
        // 2ⁿ·(2ᶠ − 1) + (2ⁿ − 1): the second difference is exact.
        S::fma(S::mul(p, f), s, S::sub(s, S::splat(1.0)))
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
