//! The arithmetic of the dense engine: every kernel once, generic over [`Simd`], behind safe calls.
//!
//! Activations stand in the layout C16: `[column block][row][16 columns]`. Within an arena of
//! `f32` a buffer is an offset; column blocks are `stride` floats apart and rows 16. A row's
//! result never depends on which other rows are computed with it.
#![allow(clippy::too_many_arguments)] // kernels take plain numbers so that tables of functions stay simple

mod entries;
mod outer;
mod product;

use super::plain::{Move, add_noise_k, move_k, rows_in_k, rows_out_k, square_sum_k};
use crate::pointwise::Act;
use crate::simd::{Isa, Portable, Simd};
use entries::{activate_k, combine_k};
use outer::{column_sums_k, outer_k};
use product::{narrow_k, product_k, sum_lanes};

pub(super) use entries::{ActAt, Combine};
pub(super) use outer::Outer;
pub(super) use product::{Mode, NARROW, Product};

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
