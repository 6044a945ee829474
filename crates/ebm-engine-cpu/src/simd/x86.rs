//! Vectors of AVX-512 and of AVX2.

use super::{ROUND, Simd};
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
    unsafe fn minus_abs(x: __m512) -> __m512 {
        unsafe { _mm512_or_ps(x, _mm512_set1_ps(-0.0)) }
    }
    #[inline(always)]
    unsafe fn at_least(x: __m512, lo: f32) -> __m512 {
        // The maximum is its second operand where either is NaN.
        unsafe { _mm512_max_ps(_mm512_set1_ps(lo), x) }
    }
    #[inline(always)]
    unsafe fn positive(x: __m512, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), b, a) }
    }
    #[inline(always)]
    unsafe fn round_pow2(x: __m512) -> (__m512, __m512) {
        unsafe {
            let shifted = _mm512_add_ps(x, _mm512_set1_ps(ROUND));
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
            (_mm512_sub_ps(shifted, _mm512_set1_ps(ROUND)), _mm512_castsi512_ps(power))
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
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
}

// SAFETY of every block below: the instruction set is there by the trait's contract.
impl Simd for Avx2 {
    const L: usize = 8;
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
    unsafe fn minus_abs(x: __m256) -> __m256 {
        unsafe { _mm256_or_ps(x, _mm256_set1_ps(-0.0)) }
    }
    #[inline(always)]
    unsafe fn at_least(x: __m256, lo: f32) -> __m256 {
        // The maximum is its second operand where either is NaN.
        unsafe { _mm256_max_ps(_mm256_set1_ps(lo), x) }
    }
    #[inline(always)]
    unsafe fn positive(x: __m256, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps())) }
    }
    #[inline(always)]
    unsafe fn round_pow2(x: __m256) -> (__m256, __m256) {
        unsafe {
            let shifted = _mm256_add_ps(x, _mm256_set1_ps(ROUND));
            let power = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
            (_mm256_sub_ps(shifted, _mm256_set1_ps(ROUND)), _mm256_castsi256_ps(power))
        }
    }
    #[inline(always)]
    unsafe fn recip(x: __m256) -> __m256 {
        unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), x) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
}
