//! Matrix products of blocks of rows with packed weights, and dot products for few outputs.
#![allow(clippy::too_many_arguments)] // kernels take plain numbers so that tables of functions stay simple

use crate::simd::Simd;

/// What a kernel does with the place its result goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Mode {
    /// Overwrite it.
    Write,
    /// Add to it.
    Add,
    /// Multiply it (a chain rule whose factor stands there).
    Mul,
}

/// A matrix product `C (rows, 16·blocks) = A (rows, k) · B`, both in one arena.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Product {
    /// Rows.
    pub rows: usize,
    /// Floats between column blocks of `a` and of `c`.
    pub stride: usize,
    /// Offset of A.
    pub a: usize,
    /// Inner length.
    pub k: usize,
    /// Offset of C.
    pub c: usize,
    /// Column blocks of C.
    pub blocks: usize,
    /// What happens with C.
    pub mode: Mode,
}

/// Outputs up to which a product is a set of dot products instead of a padded matrix product.
pub(in super::super) const NARROW: usize = 4;

macro_rules! with_mode {
    ($mode:expr, $q:expr, $v:expr) => {
        match $mode {
            Mode::Write => $v,
            Mode::Add => S::add(S::load($q), $v),
            Mode::Mul => S::mul(S::load($q), $v),
        }
    };
}
pub(super) use with_mode;

/// One register tile: `MR` rows by `NV` vectors.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
    k: usize,
    stride: usize,
    a: *const f32,
    b: *const f32,
    bias: *const f32,
    c: *mut f32,
    mode: Mode,
) {
    // SAFETY: the extents were checked by `Kernels::product`; the set is there by the table.
    unsafe {
        let mut acc = [[S::zero(); NV]; MR];
        if !bias.is_null() {
            for j in 0..NV {
                let b = S::load(bias.add(j * S::L));
                for row in &mut acc {
                    row[j] = b;
                }
            }
        }
        let mut bp = b;
        // A macro: a closure might not be inlined into the code of this instruction set.
        macro_rules! step {
            ($ap:expr) => {
                let ap = $ap;
                let mut bv = [S::zero(); NV];
                for (j, v) in bv.iter_mut().enumerate() {
                    *v = S::load(bp.add(j * S::L));
                }
                bp = bp.add(NV * S::L);
                for i in 0..MR {
                    let av = S::splat(*ap.add(i * 16));
                    for j in 0..NV {
                        acc[i][j] = S::fma(av, bv[j], acc[i][j]);
                    }
                }
            };
        }
        for kb in 0..k / 16 {
            let ap = a.add(kb * stride);
            for cc in 0..16 {
                step!(ap.add(cc));
            }
        }
        let ap = a.add(k / 16 * stride);
        for cc in 0..k % 16 {
            step!(ap.add(cc));
        }
        // The choice stands outside of the loops: inside, they are too long to be unrolled, and the
        // sums would live in memory instead of registers (half the speed).
        macro_rules! finish {
            (|$q:ident, $v:ident| $e:expr) => {
                for i in 0..MR {
                    for j in 0..NV {
                        let $q = c.add(i * 16 + (j * S::L / 16) * stride + (j * S::L) % 16);
                        let $v = acc[i][j];
                        S::store($q, $e);
                    }
                }
            };
        }
        match mode {
            Mode::Write => finish!(|q, v| v),
            Mode::Add => finish!(|q, v| S::add(S::load(q), v)),
            Mode::Mul => finish!(|q, v| S::mul(S::load(q), v)),
        }
    }
}

/// All rows against one panel of `NV` vectors; rows split evenly so that no tile is small.
#[inline(always)]
unsafe fn panel<S: Simd, const MOST: usize, const NV: usize>(
    rows: usize,
    k: usize,
    stride: usize,
    a: *const f32,
    b: *const f32,
    bias: *const f32,
    c: *mut f32,
    mode: Mode,
) {
    let tiles = rows.div_ceil(MOST);
    let (base, rest) = (rows / tiles.max(1), rows % tiles.max(1));
    let mut r = 0;
    for t in 0..tiles {
        let mr = base + usize::from(t < rest);
        macro_rules! go {
            ($($n:literal)*) => {
                match mr {
                    // SAFETY: rows r..r+mr are inside the checked extent.
                    $($n if $n <= MOST => unsafe { tile::<S, $n, NV>(k, stride, a.add(r * 16), b, bias, c.add(r * 16), mode) },)*
                    _ => unreachable!(),
                }
            };
        }
        go!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
        r += mr;
    }
}

#[inline(always)]
pub(super) unsafe fn product_k<S: Simd>(p: Product, arena: *mut f32, b: *const f32, bias: *const f32) {
    // SAFETY: as for `tile`.
    unsafe {
        let a = arena.add(p.a).cast_const();
        let (mut n, mut bp) = (0, b);
        while n < p.blocks {
            let c = arena.add(p.c + n * p.stride);
            let bi = if bias.is_null() { bias } else { bias.add(n * 16) };
            // Registers: 32 vectors of 16 (two blocks wide), 16 of 8 (one block), 32 of 4.
            let wide = if S::L == 16 && Isa2::<S>::WIDE && n + 2 <= p.blocks { 2 } else { 1 };
            macro_rules! go {
                ($most:literal, $vectors:literal) => {
                    panel::<S, $most, $vectors>(p.rows, p.k, p.stride, a, bp, bi, c, p.mode)
                };
            }
            match (S::L, wide) {
                (16, 2) => go!(12, 2),
                (16, _) if Isa2::<S>::WIDE => go!(16, 1),
                (16, _) => go!(2, 1),
                (8, _) => go!(6, 2),
                _ => go!(6, 4),
            }
            bp = bp.add(wide * 16 * p.k);
            n += wide;
        }
    }
}

/// Whether vectors of 16 are real registers (AVX-512) or arrays (portable).
pub(super) struct Isa2<S>(std::marker::PhantomData<S>);
impl<S: Simd> Isa2<S> {
    pub const WIDE: bool = size_of::<S::V>() == 64 && align_of::<S::V>() == 64;
}

/// `N ≤ 4` outputs as dot products of the rows with `w[n] (k padded to 16)`.
#[inline(always)]
pub(super) unsafe fn narrow_k<S: Simd>(
    p: Product,
    n: usize,
    arena: *mut f32,
    w: *const f32,
    bias: *const f32,
) {
    let mut r = 0;
    while r < p.rows {
        let m = if p.rows - r >= 4 { 4 } else { 1 };
        macro_rules! go {
            ($($n:literal)*) => {
                match n {
                    // SAFETY: as for `tile`.
                    $($n => unsafe {
                        if m == 4 { dots::<S, 4, $n>(p, r, arena, w, bias) } else { dots::<S, 1, $n>(p, r, arena, w, bias) }
                    },)*
                    _ => unreachable!(),
                }
            };
        }
        go!(1 2 3 4);
        r += m;
    }
}

#[inline(always)]
unsafe fn dots<S: Simd, const M: usize, const N: usize>(
    p: Product,
    r: usize,
    arena: *mut f32,
    w: *const f32,
    bias: *const f32,
) {
    // SAFETY: as for `tile`.
    unsafe {
        let blocks = p.k.div_ceil(16);
        let mut acc = [[S::zero(); N]; M];
        for c in 0..blocks {
            let a = arena.add(p.a + c * p.stride + r * 16);
            for h in (0..16).step_by(S::L) {
                let mut wv = [S::zero(); N];
                for (n, v) in wv.iter_mut().enumerate() {
                    *v = S::load(w.add((n * blocks + c) * 16 + h));
                }
                for (i, row) in acc.iter_mut().enumerate() {
                    let av = S::load(a.add(i * 16 + h));
                    for (v, w) in row.iter_mut().zip(wv) {
                        *v = S::fma(av, w, *v);
                    }
                }
            }
        }
        for (i, row) in acc.iter().enumerate() {
            let mut line = [0f32; 16];
            for (n, v) in row.iter().enumerate() {
                line[n] = sum_lanes::<S>(*v) + *bias.add(n);
            }
            let q = arena.add(p.c + (r + i) * 16);
            for h in (0..16).step_by(S::L) {
                let (q, v) = (q.add(h), S::load(line.as_ptr().add(h)));
                S::store(q, with_mode!(p.mode, q, v));
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn sum_lanes<S: Simd>(v: S::V) -> f32 {
    let mut t = [0f32; 16];
    // SAFETY: 16 floats hold any vector.
    unsafe { S::store(t.as_mut_ptr(), v) };
    let mut half = 8;
    while half > 0 {
        for i in 0..half {
            t[i] += t[i + half];
        }
        half /= 2;
    }
    t[0]
}
