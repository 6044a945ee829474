//! Matrix products on 16-column blocks: `A·B` with a packed `B`, and `Aᵀ·B` for weight gradients.

use crate::simd::Simd;

/// Floats from the weights in use to those that are asked for meanwhile: the weights of wide layers come from main memory.
const AHEAD: usize = 1024;

/// One register tile: `acc[MR rows][NV vectors]` over the 16-channel blocks listed in `koff`.
/// Rows of `A` are 16 floats apart inside a block, so every broadcast has a constant displacement.
#[inline(always)]
unsafe fn micro<S: Simd, const MR: usize, const NV: usize>(
    koff: &[usize],
    last: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    cns: usize,
    add: bool,
) {
    // SAFETY: the caller gives room for MR rows at every offset.
    unsafe {
        let mut acc = [[S::zero(); NV]; MR];
        let mut bp = b;
        macro_rules! channel {
            ($at:expr) => {{
                let ap = $at;
                let mut bv = [S::zero(); NV];
                for j in 0..NV {
                    bv[j] = S::load(bp.add(j * S::L));
                    S::prefetch(bp.wrapping_add(j * S::L + AHEAD));
                }
                bp = bp.add(NV * S::L);
                for i in 0..MR {
                    let av = S::splat(*ap.add(i * 16));
                    for j in 0..NV {
                        acc[i][j] = S::fma(av, bv[j], acc[i][j]);
                    }
                }
            }};
        }
        let whole = koff.len() - usize::from(last < 16);
        for &o in &koff[..whole] {
            for cc in 0..16 {
                channel!(a.add(o + cc));
            }
        }
        if let Some(&o) = koff.get(whole) {
            for cc in 0..last {
                channel!(a.add(o + cc));
            }
        }
        for i in 0..MR {
            for j in 0..NV {
                let q = c.add(i * 16 + (j * S::L / 16) * cns + (j * S::L) % 16);
                let v = if add { S::add(S::load(q), acc[i][j]) } else { acc[i][j] };
                S::store(q, v);
            }
        }
    }
}

/// `NV` vectors of columns at a time; rows are split evenly over tiles (12 + 4 would waste the second).
#[inline(always)]
// The `if const` keeps tiles that an instruction set never uses from being compiled.
#[allow(clippy::too_many_arguments, clippy::collapsible_match)]
unsafe fn gemm_nv<S: Simd, const NV: usize, const MAX: usize>(
    m: usize,
    koff: &[usize],
    last: usize,
    a: *const f32,
    b: *const f32,
    np: usize,
    c: *mut f32,
    cns: usize,
    add: bool,
) {
    let chunks = m.div_ceil(MAX).max(1);
    let (base, rem) = (m / chunks, m % chunks);
    let bps = koff.len() * 16 * NV * S::L;
    for pn in 0..np {
        // SAFETY: the caller gives `np` panels and `m` rows.
        unsafe {
            let bp = b.add(pn * bps);
            let cp = c.add(pn * (NV * S::L / 16) * cns);
            let mut r = 0;
            for ch in 0..chunks {
                let mr = base + usize::from(ch < rem);
                macro_rules! go {
                    ($($n:literal)*) => { match mr { $($n => if const { $n <= MAX } {
                        micro::<S, $n, NV>(koff, last, a.add(r * 16), bp, cp.add(r * 16), cns, add)
                    },)* _ => {} } }
                }
                go!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
                r += mr;
            }
        }
    }
}

/// `C (+)= A·B`. `pair`: panels of 32 columns instead of 16. `np` panels, each `[16·koff][columns]`.
/// Of the last block of `koff` only the first `last` channels are read, at least one: the others are zeros.
/// `C` block `n` starts `n·cns` floats after `c`, its rows are 16 floats apart.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn gemm<S: Simd>(
    pair: bool,
    m: usize,
    koff: &[usize],
    last: usize,
    a: *const f32,
    b: *const f32,
    np: usize,
    c: *mut f32,
    cns: usize,
    add: bool,
) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match S::L {
            16 if S::ROWS_PAIR > 0 => {
                if pair {
                    gemm_nv::<S, 2, 12>(m, koff, last, a, b, np, c, cns, add);
                } else {
                    gemm_nv::<S, 1, 16>(m, koff, last, a, b, np, c, cns, add);
                }
            }
            16 => gemm_nv::<S, 1, 4>(m, koff, last, a, b, np, c, cns, add),
            8 => gemm_nv::<S, 2, 6>(m, koff, last, a, b, np, c, cns, add),
            _ => gemm_nv::<S, 4, 6>(m, koff, last, a, b, np, c, cns, add),
        }
    }
}

/// Some rows of both factors of a product over rows: floats before their first ones, and between channel blocks.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    pub rows: usize,
    pub v: usize,
    pub vks: usize,
    pub d: usize,
    pub dks: usize,
}

#[inline(always)]
unsafe fn gemm_tn_nv<S: Simd, const MR: usize, const NV: usize>(
    parts: &[Factors],
    c: usize,
    kb: usize,
    v: *const f32,
    d: *const f32,
    du: *mut f32,
    add: bool,
) {
    let per = S::L * NV / 16;
    let mut k = 0;
    while k < kb {
        let mut c0 = 0;
        while c0 < c {
            // SAFETY: the caller gives the rows of all parts in both factors, and `c` rows in every block of du.
            unsafe {
                let q =
                    |i: usize, j: usize| du.add(((k + j * S::L / 16) * c + c0 + i) * 16 + (j * S::L) % 16);
                let mut acc = [[S::zero(); NV]; MR];
                for i in 0..MR {
                    for j in 0..NV {
                        acc[i][j] = if add { S::load(q(i, j)) } else { S::zero() };
                    }
                }
                for part in parts {
                    let vp = v.add(part.v + c0 / 16 * part.vks + c0 % 16);
                    let dp = d.add(part.d + k * part.dks);
                    for r in 0..part.rows {
                        let mut b = [S::zero(); NV];
                        for j in 0..NV {
                            b[j] = S::load(dp.add(j * S::L / 16 * part.dks + r * 16 + (j * S::L) % 16));
                        }
                        for i in 0..MR {
                            let a = S::splat(*vp.add(r * 16 + i));
                            for j in 0..NV {
                                acc[i][j] = S::fma(a, b[j], acc[i][j]);
                            }
                        }
                    }
                }
                for i in 0..MR {
                    for j in 0..NV {
                        S::store(q(i, j), acc[i][j]);
                    }
                }
            }
            c0 += MR;
        }
        k += per;
    }
}

/// `du[kb][16·cb][16] (+)= Σ_t v[cb][t][16]ᵀ · d[kb][t][16]` over the rows `t` of all parts, in their order.
#[inline(always)]
pub(super) unsafe fn gemm_tn<S: Simd>(
    parts: &[Factors],
    cb: usize,
    kb: usize,
    v: *const f32,
    d: *const f32,
    du: *mut f32,
    add: bool,
) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match S::L {
            16 if S::ROWS_PAIR > 0 => {
                if kb.is_multiple_of(2) {
                    gemm_tn_nv::<S, 8, 2>(parts, cb * 16, kb, v, d, du, add);
                } else {
                    gemm_tn_nv::<S, 16, 1>(parts, cb * 16, kb, v, d, du, add);
                }
            }
            16 => gemm_tn_nv::<S, 4, 1>(parts, cb * 16, kb, v, d, du, add),
            8 => gemm_tn_nv::<S, 4, 2>(parts, cb * 16, kb, v, d, du, add),
            _ => gemm_tn_nv::<S, 4, 4>(parts, cb * 16, kb, v, d, du, add),
        }
    }
}
