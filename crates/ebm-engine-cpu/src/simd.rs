//! One vector abstraction and the instruction sets behind it, chosen at run time.
//!
//! Kernels are written once, generic over [`Simd`] and `#[inline(always)]`, and instantiated inside
//! functions that enable the instruction set (see `kernels`). All methods are `unsafe` because the
//! caller promises that the processor has the set; `load` and `store` also trust the pointer for
//! [`Simd::L`] floats, of any alignment.

/// An instruction set the engine has kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// 16 floats a vector (x86-64 with AVX-512 F, DQ and VL).
    Avx512,
    /// 8 floats a vector and fused multiply-add (x86-64).
    Avx2,
    /// 4 floats a vector (AArch64).
    Neon,
    /// Plain arrays of 16 floats, for every processor; also the oracle of the others.
    Portable,
}

impl Isa {
    /// Every set, best first.
    pub const ALL: [Isa; 4] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable];

    /// The best set of this processor.
    pub fn detect() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.available()).unwrap_or(Isa::Portable)
    }

    /// The set that the environment variable `EBM_ISA` names (`avx512`, `avx2`, `neon`, `portable`),
    /// else the best of this processor.
    ///
    /// # Errors
    /// In words, if the variable names no set.
    pub fn chosen() -> Result<Isa, String> {
        match std::env::var("EBM_ISA") {
            Err(_) => Ok(Isa::detect()),
            Ok(name) => Isa::ALL
                .into_iter()
                .find(|isa| isa.name() == name)
                .ok_or_else(|| format!("EBM_ISA is `{name}`, wanted avx512, avx2, neon or portable")),
        }
    }

    /// Whether this processor can run the set.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Isa::Portable => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The set's name in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }
}

/// One vector type of `L` floats. `L` divides 16.
#[allow(clippy::missing_safety_doc)] // one contract for all methods, in the module's text
pub trait Simd: Copy + 'static {
    /// Floats in a vector.
    const L: usize;
    /// Rows of a GEMM tile that is two blocks of 16 columns wide, so that the sums stay in registers; 0 where one block is better.
    const ROWS_PAIR: usize;
    /// The vector.
    type V: Copy;
    /// All zeros.
    unsafe fn zero() -> Self::V;
    /// `x` in every place.
    unsafe fn splat(x: f32) -> Self::V;
    /// Reads `L` floats.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Writes `L` floats.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a·b`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c − a·b`.
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `−|x|`.
    unsafe fn minus_abs(x: Self::V) -> Self::V;
    /// `x`, or `lo` where it is less; NaN stays NaN.
    unsafe fn at_least(x: Self::V, lo: f32) -> Self::V;
    /// `a` where `x > 0`, else `b`.
    unsafe fn positive(x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `(n, 2ⁿ)` with `n = round(x)`; the power is 0 at `n = −127` and of no use outside of `[−127, 127]`, the number from `2²²` on.
    unsafe fn round_pow2(x: Self::V) -> (Self::V, Self::V);
    /// `1/x` to about one unit in the last place.
    unsafe fn recip(x: Self::V) -> Self::V;
    /// Asks for the cache line of `p`, which may be any address; the processor's own look-ahead ends at each page.
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        let _ = p;
    }
}

#[cfg(target_arch = "aarch64")]
mod arm;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub use arm::Neon;
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// Added to a number of less than `2²²` it leaves `round(x) + 127` in the last bits of the mantissa, from where a shift makes it
/// an exponent.
const ROUND: f32 = 12_582_912.0 + 127.0;

/// `eˣ` and `eˣ − 1` for `x ≤ 87`, each with a relative error of about 2e-7; below −87 they are 0 and −1. NaN stays NaN.
///
/// # Safety
/// The processor has the instruction set `S`.
#[inline(always)]
pub unsafe fn decay<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: by the caller's promise.
    unsafe {
        let t = S::at_least(S::mul(x, S::splat(std::f32::consts::LOG2_E)), -127.0);
        let (n, s) = S::round_pow2(t);
        let f = S::sub(t, n);
        // Cephes: 2ᶠ − 1.
        let mut p = S::splat(1.535_336_2e-4);
        p = S::fma(p, f, S::splat(1.339_887_4e-3));
        p = S::fma(p, f, S::splat(9.618_437e-3));
        p = S::fma(p, f, S::splat(5.550_332_5e-2));
        p = S::fma(p, f, S::splat(2.402_264_8e-1));
        p = S::fma(p, f, S::splat(std::f32::consts::LN_2));
        let p = S::mul(p, f);
        // 2ⁿ·(2ᶠ − 1) + (2ⁿ − 1): the second difference is exact.
        (S::fma(p, s, s), S::fma(p, s, S::sub(s, S::splat(1.0))))
    }
}

/// `ln(1 + u)` for `u` in `[0, 1]`: `2·artanh(u/(2 + u))` as an odd series, relative error about 1e-7.
///
/// # Safety
/// The processor has the instruction set `S`.
#[inline(always)]
pub unsafe fn log1p_unit<S: Simd>(u: S::V) -> S::V {
    // SAFETY: by the caller's promise.
    unsafe {
        let s = S::mul(u, S::recip(S::add(u, S::splat(2.0))));
        let q = S::mul(s, s);
        let mut p = S::splat(2.0 / 15.0);
        for c in [2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0] {
            p = S::fma(p, q, S::splat(c));
        }
        S::mul(p, s)
    }
}
