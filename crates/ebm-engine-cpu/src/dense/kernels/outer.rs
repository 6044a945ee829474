//! Gradients of weights and biases: outer products and sums over rows.

use super::product::Isa2;
use crate::simd::Simd;

/// `out[o][i] += Σ_rows δ[row][o]·a[row][i]` for outputs `first..first+count`, `out` padded to 16 inputs.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Outer {
    pub rows: usize,
    pub stride: usize,
    pub delta: usize,
    pub a: usize,
    pub in_blocks: usize,
    pub first: usize,
    pub count: usize,
}

#[inline(always)]
pub(super) unsafe fn outer_tile<S: Simd, const MO: usize, const NV: usize>(
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
pub(super) unsafe fn outer_k<S: Simd>(p: Outer, m: *const f32, out: *mut f32) {
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
pub(super) unsafe fn column_sums_k<S: Simd>(
    rows: usize,
    stride: usize,
    a: *const f32,
    blocks: usize,
    out: *mut f32,
) {
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
