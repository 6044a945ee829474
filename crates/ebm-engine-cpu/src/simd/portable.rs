//! Plain arrays, for every processor.

use super::{ROUND, Simd};

/// Plain arrays; the compiler vectorises them as it can.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Simd for Portable {
    const L: usize = 16;
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
    unsafe fn minus_abs(mut x: [f32; 16]) -> [f32; 16] {
        for v in &mut x {
            *v = -v.abs();
        }
        x
    }
    #[inline(always)]
    unsafe fn at_least(mut x: [f32; 16], lo: f32) -> [f32; 16] {
        for v in &mut x {
            // Not `max`, which drops NaN.
            *v = if *v < lo { lo } else { *v };
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
            let shifted = x[i] + ROUND;
            n[i] = shifted - ROUND;
            p[i] = f32::from_bits(shifted.to_bits() << 23);
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
