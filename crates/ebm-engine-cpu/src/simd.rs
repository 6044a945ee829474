//! One vector abstraction and the instruction sets behind it, chosen at run time.
//!
//! Kernels are written once, generic over [`Simd`] and `#[inline(always)]`, and instantiated inside
//! functions that enable the instruction set (see `kernels`). All methods are `unsafe` because the
//! caller promises that the processor has the set; `load` and `store` also trust the pointer for
//! [`Simd::L`] floats, of any alignment.

/// An instruction set the engine has kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Rows of a GEMM tile that is one block of 16 columns wide, so that the sums stay in registers.
    const ROWS: usize;
    /// The same for two blocks of columns; 0 where one block is better.
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
    /// `x` held in `[lo, hi]`.
    unsafe fn clamp(x: Self::V, lo: f32, hi: f32) -> Self::V;
    /// `a` where `x > 0`, else `b`.
    unsafe fn positive(x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `(n, 2ⁿ)` with `n = round(x)`, for `|x| < 126`.
    unsafe fn round_pow2(x: Self::V) -> (Self::V, Self::V);
    /// `1/x` to about one unit in the last place.
    unsafe fn recip(x: Self::V) -> Self::V;
}

/// Plain arrays; the compiler vectorises them as it can.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Simd for Portable {
    const L: usize = 16;
    const ROWS: usize = 4;
    const ROWS_PAIR: usize = 0;
    type V = [f32; 16];
    #[inline(always)]
    unsafe fn zero() -> [f32; 16] {
        [0.0; 16]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 16] {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 16] {
        // SAFETY: the caller owns 16 floats at p; read_unaligned asks no alignment.
        unsafe { p.cast::<[f32; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 16]) {
        // SAFETY: the caller owns 16 floats at p; write_unaligned asks no alignment.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] += b[i];
        }
        a
    }
    #[inline(always)]
    unsafe fn sub(mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] -= b[i];
        }
        a
    }
    #[inline(always)]
    unsafe fn mul(mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] *= b[i];
        }
        a
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        // Two roundings: a fused form without hardware support is a library call.
        for i in 0..16 {
            c[i] += a[i] * b[i];
        }
        c
    }
    #[inline(always)]
    unsafe fn fnma(a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            c[i] -= a[i] * b[i];
        }
        c
    }
    #[inline(always)]
    unsafe fn clamp(mut x: [f32; 16], lo: f32, hi: f32) -> [f32; 16] {
        for v in &mut x {
            *v = v.max(lo).min(hi);
        }
        x
    }
    #[inline(always)]
    unsafe fn positive(x: [f32; 16], mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] = if x[i] > 0.0 { a[i] } else { b[i] };
        }
        a
    }
    #[inline(always)]
    unsafe fn round_pow2(x: [f32; 16]) -> ([f32; 16], [f32; 16]) {
        let (mut n, mut p) = ([0.0; 16], [0.0; 16]);
        for i in 0..16 {
            // 1.5·2²³ pushes the fraction out of the mantissa: round to nearest without a call.
            const MAGIC: f32 = 12_582_912.0;
            n[i] = (x[i] + MAGIC) - MAGIC;
            p[i] = f32::from_bits(((n[i] as i32 + 127) << 23) as u32);
        }
        (n, p)
    }
    #[inline(always)]
    unsafe fn recip(mut x: [f32; 16]) -> [f32; 16] {
        for v in &mut x {
            *v = 1.0 / *v;
        }
        x
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX-512: one register is one pixel of a channel block.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx512;
    /// AVX2 with fused multiply-add.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx2;

    // SAFETY of every block below: the instruction set is there by the trait's contract.
    impl Simd for Avx512 {
        const L: usize = 16;
        const ROWS: usize = 16;
        const ROWS_PAIR: usize = 12;
        type V = __m512;
        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fnmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn clamp(x: __m512, lo: f32, hi: f32) -> __m512 {
            unsafe { _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(lo)), _mm512_set1_ps(hi)) }
        }
        #[inline(always)]
        unsafe fn positive(x: __m512, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), b, a) }
        }
        #[inline(always)]
        unsafe fn round_pow2(x: __m512) -> (__m512, __m512) {
            unsafe {
                let n = _mm512_roundscale_ps::<0x08>(x);
                (n, _mm512_scalef_ps(_mm512_set1_ps(1.0), n))
            }
        }
        #[inline(always)]
        unsafe fn recip(x: __m512) -> __m512 {
            unsafe {
                let r = _mm512_rcp14_ps(x);
                let e = _mm512_fnmadd_ps(x, r, _mm512_set1_ps(1.0));
                _mm512_fmadd_ps(r, e, r)
            }
        }
    }

    // SAFETY of every block below: the instruction set is there by the trait's contract.
    impl Simd for Avx2 {
        const L: usize = 8;
        const ROWS: usize = 6;
        const ROWS_PAIR: usize = 0;
        type V = __m256;
        #[inline(always)]
        unsafe fn zero() -> __m256 {
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn fnma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fnmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn clamp(x: __m256, lo: f32, hi: f32) -> __m256 {
            unsafe { _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(lo)), _mm256_set1_ps(hi)) }
        }
        #[inline(always)]
        unsafe fn positive(x: __m256, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps())) }
        }
        #[inline(always)]
        unsafe fn round_pow2(x: __m256) -> (__m256, __m256) {
            unsafe {
                let i = _mm256_cvtps_epi32(x);
                let p = _mm256_slli_epi32::<23>(_mm256_add_epi32(i, _mm256_set1_epi32(127)));
                (_mm256_cvtepi32_ps(i), _mm256_castsi256_ps(p))
            }
        }
        #[inline(always)]
        unsafe fn recip(x: __m256) -> __m256 {
            unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), x) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Simd;
    use std::arch::aarch64::*;

    /// AArch64's vectors of four.
    #[derive(Clone, Copy, Debug)]
    pub struct Neon;

    // SAFETY of every block below: the instruction set is there by the trait's contract.
    impl Simd for Neon {
        const L: usize = 4;
        const ROWS: usize = 6;
        const ROWS_PAIR: usize = 0;
        type V = float32x4_t;
        #[inline(always)]
        unsafe fn zero() -> float32x4_t {
            unsafe { vdupq_n_f32(0.0) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> float32x4_t {
            unsafe { vdupq_n_f32(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> float32x4_t {
            unsafe { vld1q_f32(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: float32x4_t) {
            unsafe { vst1q_f32(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vsubq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vmulq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn fnma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            unsafe { vfmsq_f32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn clamp(x: float32x4_t, lo: f32, hi: f32) -> float32x4_t {
            unsafe { vminq_f32(vmaxq_f32(x, vdupq_n_f32(lo)), vdupq_n_f32(hi)) }
        }
        #[inline(always)]
        unsafe fn positive(x: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vbslq_f32(vcgtq_f32(x, vdupq_n_f32(0.0)), a, b) }
        }
        #[inline(always)]
        unsafe fn round_pow2(x: float32x4_t) -> (float32x4_t, float32x4_t) {
            unsafe {
                let n = vrndnq_f32(x);
                let i = vcvtq_s32_f32(n);
                let p = vshlq_n_s32::<23>(vaddq_s32(i, vdupq_n_s32(127)));
                (n, vreinterpretq_f32_s32(p))
            }
        }
        #[inline(always)]
        unsafe fn recip(x: float32x4_t) -> float32x4_t {
            unsafe { vdivq_f32(vdupq_n_f32(1.0), x) }
        }
    }
}

/// `eˣ`, clamped to about `[−83, 83]`; Cephes polynomial for `2^f`, relative error about 2e-7.
///
/// # Safety
/// The processor has the instruction set `S`.
#[inline(always)]
pub unsafe fn exp<S: Simd>(x: S::V) -> S::V {
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
        p = S::fma(p, f, S::splat(1.0));
        S::mul(p, s)
    }
}

/// `1/(1 + e⁻ᶻ)`.
///
/// # Safety
/// The processor has the instruction set `S`.
#[inline(always)]
pub unsafe fn sigmoid<S: Simd>(z: S::V) -> S::V {
    // SAFETY: by the caller's promise.
    unsafe {
        let e = exp::<S>(S::sub(S::zero(), z));
        S::recip(S::add(e, S::splat(1.0)))
    }
}

/// `z·sigmoid(z)`.
///
/// # Safety
/// The processor has the instruction set `S`.
#[inline(always)]
pub unsafe fn swish<S: Simd>(z: S::V) -> S::V {
    // SAFETY: by the caller's promise.
    unsafe { S::mul(z, sigmoid::<S>(z)) }
}

/// The derivative of [`swish`]: `s·(1 + z·(1 − s))` with `s = sigmoid(z)`.
///
/// # Safety
/// The processor has the instruction set `S`.
#[inline(always)]
pub unsafe fn dswish<S: Simd>(z: S::V) -> S::V {
    // SAFETY: by the caller's promise.
    unsafe {
        let s = sigmoid::<S>(z);
        let one = S::splat(1.0);
        S::mul(s, S::fma(z, S::sub(one, s), one))
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
