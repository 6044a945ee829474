//! The arithmetic of the dense engine: every kernel once, generic over [`Simd`], behind safe calls.
//!
//! Activations stand in the layout C16: `[column block][row][16 columns]`. Within an arena of
//! `f32` a buffer is an offset; column blocks are `stride` floats apart and rows 16. A row's
//! result never depends on which other rows are computed with it.
#![allow(clippy::too_many_arguments)] // kernels take plain numbers so that tables of functions stay simple

use super::plain::{Move, add_noise_k, move_k, rows_in_k, rows_out_k, square_sum_k};
use super::pointwise::{
    Act, Cosine, Leaky, Pointwise, Relu, Scale, Sigmoid, Sine, Softplus, Square, Swish, Tanh,
};
use crate::simd::{Isa, Portable, Simd};

/// What a kernel does with the place its result goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Overwrite it.
    Write,
    /// Add to it.
    Add,
    /// Multiply it (a chain rule whose factor stands there).
    Mul,
}

/// A matrix product `C (rows, 16·blocks) = A (rows, k) · B`, both in one arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
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
pub(super) const NARROW: usize = 4;

macro_rules! with_mode {
    ($mode:expr, $q:expr, $v:expr) => {
        match $mode {
            Mode::Write => $v,
            Mode::Add => S::add(S::load($q), $v),
            Mode::Mul => S::mul(S::load($q), $v),
        }
    };
}

// ------------------------------------------------------------------ matrix products

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
unsafe fn product_k<S: Simd>(p: Product, arena: *mut f32, b: *const f32, bias: *const f32) {
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
struct Isa2<S>(std::marker::PhantomData<S>);
impl<S: Simd> Isa2<S> {
    const WIDE: bool = size_of::<S::V>() == 64 && align_of::<S::V>() == 64;
}

/// `N ≤ 4` outputs as dot products of the rows with `w[n] (k padded to 16)`.
#[inline(always)]
unsafe fn narrow_k<S: Simd>(p: Product, n: usize, arena: *mut f32, w: *const f32, bias: *const f32) {
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
unsafe fn sum_lanes<S: Simd>(v: S::V) -> f32 {
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

// ------------------------------------------------------------------ pointwise

/// Offsets of one activation: `z` and, with a tangent, `zt`; results `a`, `d = f′`, `at = f′·zt`, `e = f″·zt`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActAt {
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
unsafe fn activate_k<S: Simd>(p: ActAt, act: Act, m: *mut f32) {
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
pub(super) struct Combine {
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
unsafe fn combine_k<S: Simd>(p: Combine, m: *mut f32) {
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

// ------------------------------------------------------------------ weight gradient

/// `out[o][i] += Σ_rows δ[row][o]·a[row][i]` for outputs `first..first+count`, `out` padded to 16 inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outer {
    pub rows: usize,
    pub stride: usize,
    pub delta: usize,
    pub a: usize,
    pub in_blocks: usize,
    pub first: usize,
    pub count: usize,
}

#[inline(always)]
unsafe fn outer_tile<S: Simd, const MO: usize, const NV: usize>(
    p: Outer,
    m: *const f32,
    o: usize,
    block: usize,
    half: usize,
    out: *mut f32,
) {
    // SAFETY: the extents were checked by `Kernels::outer`.
    unsafe {
        let ld = p.in_blocks * 16;
        let base = |j: usize| (block + (half + j * S::L) / 16, (half + j * S::L) % 16);
        let mut acc = [[S::zero(); NV]; MO];
        let q = |i: usize, j: usize| out.add((o - p.first + i) * ld + block * 16 + half + j * S::L);
        for (i, row) in acc.iter_mut().enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                *v = S::load(q(i, j));
            }
        }
        let d = m.add(p.delta + o / 16 * p.stride + o % 16);
        for r in 0..p.rows {
            let mut av = [S::zero(); NV];
            for (j, v) in av.iter_mut().enumerate() {
                let (b, l) = base(j);
                *v = S::load(m.add(p.a + b * p.stride + r * 16 + l));
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let dv = S::splat(*d.add(r * 16 + i));
                for (v, a) in row.iter_mut().zip(av) {
                    *v = S::fma(dv, a, *v);
                }
            }
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, v) in row.iter().enumerate() {
                S::store(q(i, j), *v);
            }
        }
    }
}

#[inline(always)]
unsafe fn outer_k<S: Simd>(p: Outer, m: *const f32, out: *mut f32) {
    let end = p.first + p.count;
    let mut o = p.first;
    while o < end {
        // Outputs of a tile share a block of 16, so that their broadcasts have constant offsets.
        let most = (end - o).min(16 - o % 16);
        let mo = if most >= 8 { 8 } else { usize::min(most, 4) };
        macro_rules! go {
            ($($n:literal)*) => {
                match mo {
                    // SAFETY: as for `outer_tile`.
                    $($n => unsafe {
                        let mut b = 0;
                        while b < p.in_blocks {
                            if S::L == 16 && Isa2::<S>::WIDE && b + 2 <= p.in_blocks {
                                outer_tile::<S, $n, 2>(p, m, o, b, 0, out);
                                b += 2;
                            } else if S::L == 16 {
                                outer_tile::<S, $n, 1>(p, m, o, b, 0, out);
                                b += 1;
                            } else {
                                for half in (0..16).step_by(S::L) {
                                    outer_tile::<S, $n, 1>(p, m, o, b, half, out);
                                }
                                b += 1;
                            }
                        }
                    },)*
                    _ => unreachable!(),
                }
            };
        }
        go!(1 2 3 4 8);
        o += mo;
    }
}

/// `out[16·blocks] += Σ_rows a[row]`.
#[inline(always)]
unsafe fn column_sums_k<S: Simd>(rows: usize, stride: usize, a: *const f32, blocks: usize, out: *mut f32) {
    // SAFETY: the extents were checked by `Kernels::column_sums`.
    unsafe {
        for b in 0..blocks {
            for h in (0..16).step_by(S::L) {
                let q = out.add(b * 16 + h);
                let mut s = S::load(q);
                for r in 0..rows {
                    s = S::add(s, S::load(a.add(b * stride + r * 16 + h)));
                }
                S::store(q, s);
            }
        }
    }
}

/// `rounds` times sixteen independent fused multiply-adds; the sum keeps the work alive.
#[inline(always)]
unsafe fn burn_k<S: Simd>(rounds: usize) -> f32 {
    // SAFETY: the caller promises the instruction set; no pointer is used but the store's below.
    unsafe {
        let (a, b) = (S::splat(0.999), S::splat(1e-3));
        let mut s = [S::zero(); 16];
        for _ in 0..rounds {
            for v in &mut s {
                *v = S::fma(*v, a, b);
            }
        }
        let mut sum = S::zero();
        for v in s {
            sum = S::add(sum, v);
        }
        sum_lanes::<S>(sum)
    }
}

// ------------------------------------------------------------------ tables

macro_rules! wrap {
    ($(#[$m:meta])*, $name:ident, $call:expr, ($($b:ident: $t:ty),*) $(-> $r:ty)?) => {
        /// # Safety
        /// The processor has the table's instruction set and all extents lie inside their slices.
        $(#[$m])*
        unsafe fn $name($($b: $t),*) $(-> $r)? {
            #[allow(unused_unsafe)]
            // SAFETY: passed on to the caller.
            unsafe { $call($($b),*) }
        }
    };
}

/// The kernels compiled for one instruction set.
struct Table {
    product: unsafe fn(Product, *mut f32, *const f32, *const f32),
    narrow: unsafe fn(Product, usize, *mut f32, *const f32, *const f32),
    activate: unsafe fn(ActAt, Act, *mut f32),
    combine: unsafe fn(Combine, *mut f32),
    outer: unsafe fn(Outer, *const f32, *mut f32),
    column_sums: unsafe fn(usize, usize, *const f32, usize, *mut f32),
    rows_in: unsafe fn(&[f32], usize, usize, &mut [f32]),
    rows_out: unsafe fn(&[f32], usize, usize, &mut [f32]),
    normals: unsafe fn([u32; 2], &[u64], usize, &mut [f32]),
    add_noise: unsafe fn(&mut [f32], f32, &[f32]),
    advance: unsafe fn(&Move, &mut [f32], &[f32], &[f32]),
    square_sum: unsafe fn(&[f32]) -> f64,
    burn: unsafe fn(usize) -> f32,
}

macro_rules! table {
    ($module:ident, $set:ty, $(#[$m:meta])*) => {
        mod $module {
            use super::*;
            wrap!($(#[$m])*, product, product_k::<$set>, (p: Product, m: *mut f32, b: *const f32, i: *const f32));
            wrap!($(#[$m])*, narrow, narrow_k::<$set>, (p: Product, n: usize, m: *mut f32, w: *const f32, b: *const f32));
            wrap!($(#[$m])*, activate, activate_k::<$set>, (p: ActAt, a: Act, m: *mut f32));
            wrap!($(#[$m])*, combine, combine_k::<$set>, (p: Combine, m: *mut f32));
            wrap!($(#[$m])*, outer, outer_k::<$set>, (p: Outer, m: *const f32, out: *mut f32));
            wrap!($(#[$m])*, column_sums, column_sums_k::<$set>, (r: usize, s: usize, a: *const f32, b: usize, o: *mut f32));
            wrap!($(#[$m])*, rows_in, rows_in_k, (x: &[f32], w: usize, s: usize, to: &mut [f32]));
            wrap!($(#[$m])*, rows_out, rows_out_k, (from: &[f32], w: usize, s: usize, x: &mut [f32]));
            wrap!($(#[$m])*, normals, ebm_core::normal_rows, (k: [u32; 2], c: &[u64], w: usize, o: &mut [f32]));
            wrap!($(#[$m])*, add_noise, add_noise_k, (x: &mut [f32], s: f32, n: &[f32]));
            wrap!($(#[$m])*, advance, move_k, (m: &Move, x: &mut [f32], g: &[f32], n: &[f32]));
            wrap!($(#[$m])*, square_sum, square_sum_k, (x: &[f32]) -> f64);
            wrap!($(#[$m])*, burn, burn_k::<$set>, (rounds: usize) -> f32);
            pub(super) static TABLE: Table = Table {
                product, narrow, activate, combine, outer, column_sums, rows_in, rows_out, normals, add_noise, advance,
                square_sum, burn,
            };
        }
    };
}
table!(portable, Portable,);
#[cfg(target_arch = "x86_64")]
table!(avx512, crate::simd::Avx512, #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]);
#[cfg(target_arch = "x86_64")]
table!(avx2, crate::simd::Avx2, #[target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "aarch64")]
table!(neon, crate::simd::Neon, #[target_feature(enable = "neon")]);

/// Safe access to the kernels of one instruction set: each call checks its extents once.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    isa: Isa,
    table: &'static Table,
}

/// End of a buffer of `blocks` column blocks and `rows` rows that starts at `at`.
fn extent(at: usize, blocks: usize, stride: usize, rows: usize) -> usize {
    if blocks == 0 || rows == 0 { at } else { at + (blocks - 1) * stride + rows * 16 }
}

impl Kernels {
    /// The kernels of `isa`, or of [`Isa::detect`] if this processor lacks it.
    pub fn new(isa: Isa) -> Kernels {
        let isa = if isa.available() { isa } else { Isa::detect() };
        let table = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::TABLE,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::TABLE,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &neon::TABLE,
            _ => &portable::TABLE,
        };
        Kernels { isa, table }
    }

    /// The instruction set in use.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// Column blocks of a packed panel; the last panel of a matrix may be narrower.
    pub(super) fn panel_blocks(self) -> usize {
        if self.isa == Isa::Avx512 { 2 } else { 1 }
    }

    /// `C (mode) = bias + A·B` with `b` packed in panels of [`Kernels::panel_blocks`], each `[k][columns]`.
    pub(super) fn product(self, p: Product, arena: &mut [f32], b: &[f32], bias: Option<&[f32]>) {
        assert!(extent(p.a, p.k.div_ceil(16), p.stride, p.rows) <= arena.len());
        assert!(extent(p.c, p.blocks, p.stride, p.rows) <= arena.len());
        assert!(p.k * p.blocks * 16 <= b.len() && bias.is_none_or(|v| v.len() >= p.blocks * 16));
        let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
        // SAFETY: the set is available (see `new`); A, B, bias and C lie inside their slices.
        unsafe { (self.table.product)(p, arena.as_mut_ptr(), b.as_ptr(), bias) }
    }

    /// The same for `n ≤ NARROW` columns: `w` is `[n][k padded to 16]`; the other columns become 0.
    pub(super) fn narrow(self, p: Product, n: usize, arena: &mut [f32], w: &[f32], bias: &[f32]) {
        assert!(extent(p.a, p.k.div_ceil(16), p.stride, p.rows) <= arena.len());
        assert!(extent(p.c, 1, p.stride, p.rows) <= arena.len() && (1..=NARROW).contains(&n));
        assert!(n * p.k.div_ceil(16) * 16 <= w.len() && bias.len() >= n);
        // SAFETY: as for `product`.
        unsafe { (self.table.narrow)(p, n, arena.as_mut_ptr(), w.as_ptr(), bias.as_ptr()) }
    }

    /// Applies an activation; results may stand where the arguments stood.
    pub(super) fn activate(self, p: ActAt, act: Act, arena: &mut [f32]) {
        let (zt, at, e) = p.tangent.unwrap_or((p.z, p.z, p.z));
        for o in [p.z, p.a, p.d, zt, at, e] {
            assert!(extent(o, p.blocks, p.stride, p.rows) <= arena.len());
        }
        // SAFETY: every buffer lies inside the arena; reads of a vector come before its writes.
        unsafe { (self.table.activate)(p, act, arena.as_mut_ptr()) }
    }

    /// Sums of products of buffers.
    pub(super) fn combine(self, p: Combine, arena: &mut [f32]) {
        let (u, w) = p.uv.unwrap_or((p.x, p.x));
        for o in [p.x, p.y.unwrap_or(p.x), u, w, p.to] {
            assert!(extent(o, p.blocks, p.stride, p.rows) <= arena.len());
        }
        // SAFETY: every buffer lies inside the arena.
        unsafe { (self.table.combine)(p, arena.as_mut_ptr()) }
    }

    /// Adds outer products of rows to `out`, `(count, 16·in_blocks)`.
    pub(super) fn outer(self, p: Outer, arena: &[f32], out: &mut [f32]) {
        assert!(extent(p.a, p.in_blocks, p.stride, p.rows) <= arena.len());
        assert!(extent(p.delta, (p.first + p.count).div_ceil(16), p.stride, p.rows) <= arena.len());
        assert!(p.count * p.in_blocks * 16 <= out.len());
        // SAFETY: all buffers lie inside their slices.
        unsafe { (self.table.outer)(p, arena.as_ptr(), out.as_mut_ptr()) }
    }

    /// Adds the sum of the rows of the buffer at `a` to `out`, `(16·blocks)`.
    pub(super) fn column_sums(
        self,
        rows: usize,
        stride: usize,
        arena: &[f32],
        a: usize,
        blocks: usize,
        out: &mut [f32],
    ) {
        assert!(extent(a, blocks, stride, rows) <= arena.len() && blocks * 16 <= out.len());
        // SAFETY: both buffers lie inside their slices.
        unsafe { (self.table.column_sums)(rows, stride, arena[a..].as_ptr(), blocks, out.as_mut_ptr()) }
    }

    /// Rows of `width` floats into the buffer at `to`.
    pub(super) fn rows_in(self, x: &[f32], width: usize, stride: usize, arena: &mut [f32], to: usize) {
        // SAFETY: the set is available; the code itself is safe.
        unsafe { (self.table.rows_in)(x, width, stride, &mut arena[to..]) }
    }

    /// The buffer at `from` into rows of `width` floats.
    pub(super) fn rows_out(self, arena: &[f32], from: usize, width: usize, stride: usize, x: &mut [f32]) {
        // SAFETY: as above.
        unsafe { (self.table.rows_out)(&arena[from..], width, stride, x) }
    }

    /// Standard normals, one row of `width` a chain; the bits of `Key::fill_normal`.
    pub fn normals(self, key: [u32; 2], chains: &[u64], width: usize, out: &mut [f32]) {
        // SAFETY: as above.
        unsafe { (self.table.normals)(key, chains, width, out) }
    }

    /// `x += σ·noise`, two roundings.
    pub fn add_noise(self, x: &mut [f32], sigma: f32, noise: &[f32]) {
        // SAFETY: as above.
        unsafe { (self.table.add_noise)(x, sigma, noise) }
    }

    /// One update of `x` along the gradient `g`.
    pub fn advance(self, m: &Move, x: &mut [f32], g: &[f32], noise: &[f32]) {
        // SAFETY: as above.
        unsafe { (self.table.advance)(m, x, g, noise) }
    }

    /// `Σ x²`.
    pub fn square_sum(self, x: &[f32]) -> f64 {
        // SAFETY: as above.
        unsafe { (self.table.square_sum)(x) }
    }

    /// Fused multiply-adds without memory: returns how many floating-point operations `rounds` were.
    pub fn burn(self, rounds: usize) -> u64 {
        let lanes = match self.isa {
            Isa::Avx512 | Isa::Portable => 16,
            Isa::Avx2 => 8,
            Isa::Neon => 4,
        };
        // SAFETY: as above.
        let sum = unsafe { (self.table.burn)(rounds) };
        std::hint::black_box(sum);
        rounds as u64 * 16 * lanes * 2
    }
}
