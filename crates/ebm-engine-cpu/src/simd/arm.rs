//! Vectors of NEON.

use super::Simd;
use std::arch::aarch64::*;

/// AArch64's vectors of four.
#[derive(Clone, Copy, Debug)]
pub struct Neon;

// SAFETY of every block below: the instruction set is there by the trait's contract.
impl Simd for Neon {
    const L: usize = 4;
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
    unsafe fn minus_abs(x: float32x4_t) -> float32x4_t {
        unsafe { vnegq_f32(vabsq_f32(x)) }
    }
    #[inline(always)]
    unsafe fn at_least(x: float32x4_t, lo: f32) -> float32x4_t {
        unsafe { vmaxq_f32(x, vdupq_n_f32(lo)) }
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
