//! Winograd transforms F(4×4, 3×3) and F(2×2, 3×3) on channel-blocked tensors, and their adjoints.
//!
//! Lavin and Gray 2016 with the points 0, ±√½, ±√2, ∞: `a·b = 1` keeps the matrices balanced, and the
//! error equals that of the direct sum. `y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)]A`.

use super::{STRIDED, View, side};
use crate::simd::Simd;

const WA: f32 = std::f32::consts::FRAC_1_SQRT_2;
const WB: f32 = std::f32::consts::SQRT_2;

/// Where one tile stands: image, tile row, tile column.
#[inline(always)]
fn place(t: usize, th: usize, tw: usize) -> (usize, usize, usize) {
    let (img, r) = (t / (th * tw), t % (th * tw));
    (img, r / tw, r % tw)
}

#[inline(always)]
unsafe fn in6<S: Simd>(x: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: pure vector arithmetic of the caller's instruction set.
    unsafe {
        let (a, b) = (S::splat(WA), S::splat(WB));
        let (a2, b2, s) = (S::splat(0.5), S::splat(2.0), S::splat(2.5));
        let e = S::fnma(b2, x[2], x[4]);
        let o = S::fnma(b2, x[1], x[3]);
        let f = S::fnma(a2, x[2], x[4]);
        let p = S::fnma(a2, x[1], x[3]);
        [
            S::fnma(s, x[2], S::add(x[0], x[4])),
            S::fma(a, o, e),
            S::fnma(a, o, e),
            S::fma(b, p, f),
            S::fnma(b, p, f),
            S::fnma(s, x[3], S::add(x[1], x[5])),
        ]
    }
}

#[inline(always)]
unsafe fn out6<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: as in6.
    unsafe {
        let (s1, d1) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (s2, d2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        let (a, b, a2, b2) = (S::splat(WA), S::splat(WB), S::splat(0.5), S::splat(2.0));
        let (a3, b3) = (S::splat(WA * 0.5), S::splat(WB * 2.0));
        [
            S::add(m[0], S::add(s1, s2)),
            S::fma(b, d2, S::mul(a, d1)),
            S::fma(b2, s2, S::mul(a2, s1)),
            S::fma(b3, d2, S::fma(a3, d1, m[5])),
        ]
    }
}

/// Transpose of [`out6`].
#[inline(always)]
unsafe fn adj6<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
    // SAFETY: as in6.
    unsafe {
        let e = S::fma(S::splat(0.5), y[2], y[0]);
        let o = S::fma(S::splat(WA * 0.5), y[3], S::mul(S::splat(WA), y[1]));
        let f = S::fma(S::splat(2.0), y[2], y[0]);
        let p = S::fma(S::splat(WB * 2.0), y[3], S::mul(S::splat(WB), y[1]));
        [y[0], S::add(e, o), S::sub(e, o), S::add(f, p), S::sub(f, p), y[3]]
    }
}

#[inline(always)]
unsafe fn in4<S: Simd>(x: [S::V; 4]) -> [S::V; 4] {
    // SAFETY: as in6.
    unsafe { [S::sub(x[0], x[2]), S::add(x[1], x[2]), S::sub(x[2], x[1]), S::sub(x[1], x[3])] }
}

#[inline(always)]
unsafe fn out4<S: Simd>(m: [S::V; 4]) -> [S::V; 2] {
    // SAFETY: as in6.
    unsafe { [S::add(m[0], S::add(m[1], m[2])), S::sub(m[1], S::add(m[2], m[3]))] }
}

/// Transpose of [`out4`].
#[inline(always)]
unsafe fn adj4<S: Simd>(y: [S::V; 2]) -> [S::V; 4] {
    // SAFETY: as in6.
    unsafe { [y[0], S::add(y[0], y[1]), S::sub(y[0], y[1]), S::sub(S::zero(), y[1])] }
}

/// Rows of `G`, used in f64 when packing; `n` is 6 for F(4×4), 4 for F(2×2).
#[inline(always)]
fn weight_matrix(n: usize) -> &'static [[f64; 3]] {
    const A2: f64 = 0.5;
    const B2: f64 = 2.0;
    const A: f64 = std::f64::consts::FRAC_1_SQRT_2;
    const B: f64 = std::f64::consts::SQRT_2;
    const NA: f64 = 2.0 * A2 * (A2 - B2);
    const NB: f64 = 2.0 * B2 * (B2 - A2);
    const SIX: [[f64; 3]; 6] = [
        [1.0, 0.0, 0.0],
        [1.0 / NA, A / NA, A2 / NA],
        [1.0 / NA, -A / NA, A2 / NA],
        [1.0 / NB, B / NB, B2 / NB],
        [1.0 / NB, -B / NB, B2 / NB],
        [0.0, 0.0, 1.0],
    ];
    const FOUR: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    if n == 4 { &FOUR } else { &SIX }
}

/// A separable transform of one tile: `$a` values in, `$b` values out, along columns, then rows.
macro_rules! tile {
    ($S:ident, $a:literal -> $b:literal, $f:ident, $load:expr, $store:expr) => {{
        let mut tmp = [[$S::zero(); $a]; $b];
        for j in 0..$a {
            let mut col = [$S::zero(); $a];
            for i in 0..$a {
                col[i] = $load(i, j);
            }
            let o = $f::<$S>(col);
            for i in 0..$b {
                tmp[i][j] = o[i];
            }
        }
        for i in 0..$b {
            let o = $f::<$S>(tmp[i]);
            for j in 0..$b {
                $store(i, j, o[j]);
            }
        }
    }};
}

/// Input transform of tiles `t0..t1` (tile index: images, then rows, then columns) of a tensor with
/// halo, into `v[point][block][tile][16]` with point stride `ps` and block stride `vks`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn wino_in<S: Simd>(
    n: usize,
    x: View,
    cb: usize,
    h: usize,
    w: usize,
    t0: usize,
    t1: usize,
    v: *mut f32,
    ps: usize,
    vks: usize,
) {
    let m = n - 2;
    let (th, tw) = (h.div_ceil(m), w.div_ceil(m));
    for c in 0..cb {
        for t in t0..t1 {
            let (img, ty, tx) = place(t, th, tw);
            for hv in 0..16 / S::L {
                // SAFETY: the halo and its slack cover the last tile; v has room for t1−t0 tiles.
                unsafe {
                    let src = x.halo(c, img).add(ty * m * x.rs + tx * m * 16 + hv * S::L).cast_const();
                    let dst = v.add(c * vks + (t - t0) * 16 + hv * S::L);
                    let load = |i: usize, j: usize| S::load(src.add(i * x.rs + j * 16));
                    let store = |i: usize, j: usize, o: S::V| S::store(dst.add((i * n + j) * ps), o);
                    if n == 6 {
                        tile!(S, 6 -> 6, in6, load, store);
                    } else {
                        tile!(S, 4 -> 4, in4, load, store);
                    }
                }
            }
        }
    }
}

/// Output transform into `y`, clipped to `h × w`; `add` accumulates.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn wino_out<S: Simd>(
    n: usize,
    mb: *const f32,
    ps: usize,
    vks: usize,
    y: View,
    kb: usize,
    h: usize,
    w: usize,
    t0: usize,
    t1: usize,
    add: bool,
) {
    let m = n - 2;
    let (th, tw) = (h.div_ceil(m), w.div_ceil(m));
    for c in 0..kb {
        for t in t0..t1 {
            let (img, ty, tx) = place(t, th, tw);
            let (mh, mw) = ((h - ty * m).min(m), (w - tx * m).min(m));
            let full = mh == m && mw == m;
            for hv in 0..16 / S::L {
                // SAFETY: writes stay inside h × w.
                unsafe {
                    let src = mb.add(c * vks + (t - t0) * 16 + hv * S::L);
                    let dst = y.at(c, img, ty * m, tx * m).add(hv * S::L);
                    let load = |i: usize, j: usize| S::load(src.add((i * n + j) * ps));
                    if !add && hv == 0 {
                        // What is written is often in no cache yet: its lines are asked for two tiles before.
                        let (ty, tx) = if tx + 2 < tw { (ty, tx + 2) } else { (ty + 1, (tx + 2) % tw) };
                        let ahead = y.p.wrapping_add(c * y.cs + img * y.is + ty * m * y.rs + tx * m * 16);
                        for i in 0..m {
                            for j in 0..m {
                                S::prefetch(ahead.wrapping_add(i * y.rs + j * 16));
                            }
                        }
                    }
                    let put = |i: usize, j: usize, o: S::V| {
                        let q = dst.add(i * y.rs + j * 16);
                        S::store(q, if add { S::add(S::load(q), o) } else { o });
                    };
                    let clipped = |i: usize, j: usize, o: S::V| {
                        if i < mh && j < mw {
                            put(i, j, o);
                        }
                    };
                    match (n, full) {
                        (6, true) => tile!(S, 6 -> 4, out6, load, put),
                        (6, false) => tile!(S, 6 -> 4, out6, load, clipped),
                        (_, true) => tile!(S, 4 -> 2, out4, load, put),
                        (_, false) => tile!(S, 4 -> 2, out4, load, clipped),
                    }
                }
            }
        }
    }
}

/// Adjoint of the output transform: tiles `t0..t1` of `dy` (zero outside `h × w`) to
/// `d[point][block][tile][16]`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn wino_adj<S: Simd>(
    n: usize,
    y: View,
    kb: usize,
    h: usize,
    w: usize,
    t0: usize,
    t1: usize,
    d: *mut f32,
    ps: usize,
    vks: usize,
) {
    let m = n - 2;
    let (th, tw) = (h.div_ceil(m), w.div_ceil(m));
    for c in 0..kb {
        for t in t0..t1 {
            let (img, ty, tx) = place(t, th, tw);
            let (mh, mw) = ((h - ty * m).min(m), (w - tx * m).min(m));
            for hv in 0..16 / S::L {
                // SAFETY: reads stay inside h × w; d has room for t1−t0 tiles.
                unsafe {
                    let src = y.at(c, img, ty * m, tx * m).add(hv * S::L).cast_const();
                    let dst = d.add(c * vks + (t - t0) * 16 + hv * S::L);
                    let load = |i: usize, j: usize| {
                        if i < mh && j < mw { S::load(src.add(i * y.rs + j * 16)) } else { S::zero() }
                    };
                    let store = |i: usize, j: usize, o: S::V| S::store(dst.add((i * n + j) * ps), o);
                    if n == 6 {
                        tile!(S, 4 -> 6, adj6, load, store);
                    } else {
                        tile!(S, 2 -> 4, adj4, load, store);
                    }
                }
            }
        }
    }
}

/// `G w` for one column of three, in f64 lanes.
#[inline(always)]
fn weight_column<const N: usize>(n: usize, w: [[f64; N]; 3]) -> [[f64; N]; 6] {
    let mut out = [[0.0; N]; 6];
    if n == STRIDED {
        let both = std::array::from_fn(|l| w[0][l] + w[2][l]);
        [out[0], out[1], out[2], out[3]] = [w[0], both, w[2], w[1]];
        return out;
    }
    let g = weight_matrix(n);
    for l in 0..N {
        out[0][l] = g[0][0] * w[0][l];
        let pairs = (n - 2) / 2;
        for p in 0..pairs {
            // Rows 2p+1 and 2p+2 differ in the sign of the middle entry.
            let r = g[2 * p + 1];
            let (even, odd) = (r[0] * w[0][l] + r[2] * w[2][l], r[1] * w[1][l]);
            out[2 * p + 1][l] = even + odd;
            out[2 * p + 2][l] = even - odd;
        }
        out[n - 1][l] = w[2][l];
    }
    out
}

/// `G w Gᵀ` of 16 kernels at once: `w[tap][16]` to `u[point][16]`, in f64.
#[inline(always)]
pub(super) unsafe fn weights(n: usize, w: *const f32, u: *mut f32) {
    let side = side(n);
    // SAFETY: the caller gives 9·16 floats, and 16 for each point.
    let (w, u) =
        unsafe { (std::slice::from_raw_parts(w, 144), std::slice::from_raw_parts_mut(u, side * side * 16)) };
    for half in [0, 8] {
        let mut t = [[[0f64; 8]; 3]; 6];
        for q in 0..3 {
            let mut col = [[0f64; 8]; 3];
            for r in 0..3 {
                for l in 0..8 {
                    col[r][l] = f64::from(w[(r * 3 + q) * 16 + half + l]);
                }
            }
            let o = weight_column(n, col);
            for i in 0..side {
                t[i][q] = o[i];
            }
        }
        for i in 0..side {
            let o = weight_column(n, t[i]);
            for j in 0..side {
                for l in 0..8 {
                    u[(i * side + j) * 16 + half + l] = o[j][l] as f32;
                }
            }
        }
    }
}

/// `Gᵀ u` for one column of points.
#[inline(always)]
unsafe fn fold_column<S: Simd>(n: usize, u: [S::V; 6]) -> [S::V; 3] {
    // SAFETY: as in6.
    unsafe {
        if n == STRIDED {
            return [S::add(u[0], u[1]), u[3], S::add(u[1], u[2])];
        }
        let g = weight_matrix(n);
        let f = |v: f64| S::splat(v as f32);
        let mut q = [S::mul(f(g[0][0]), u[0]), S::zero(), u[n - 1]];
        for p in 0..(n - 2) / 2 {
            let r = g[2 * p + 1];
            let (a, b) = (u[2 * p + 1], u[2 * p + 2]);
            let (sum, diff) = (S::add(a, b), S::sub(a, b));
            q[0] = S::fma(f(r[0]), sum, q[0]);
            q[1] = S::fma(f(r[1]), diff, q[1]);
            q[2] = S::fma(f(r[2]), sum, q[2]);
        }
        q
    }
}

/// `dw[tap][c][16] (+)= Gᵀ dU G` for the first 16 of `c` input channels; points of `du` are `ps` floats apart.
#[inline(always)]
pub(super) unsafe fn fold<S: Simd>(n: usize, du: *const f32, ps: usize, c: usize, dw: *mut f32, add: bool) {
    let side = side(n);
    for ci in 0..16 {
        for o in (0..16).step_by(S::L) {
            // SAFETY: the caller gives side² points of 256 floats and 9 taps of c·16.
            unsafe {
                let src = du.add(ci * 16 + o);
                let mut t = [[S::zero(); 6]; 3];
                for j in 0..side {
                    let mut col = [S::zero(); 6];
                    for i in 0..side {
                        col[i] = S::load(src.add((i * side + j) * ps));
                    }
                    let q = fold_column::<S>(n, col);
                    for r in 0..3 {
                        t[r][j] = q[r];
                    }
                }
                for r in 0..3 {
                    let q = fold_column::<S>(n, t[r]);
                    for k in 0..3 {
                        let d = dw.add(((r * 3 + k) * c + ci) * 16 + o);
                        S::store(d, if add { S::add(S::load(d), q[k]) } else { q[k] });
                    }
                }
            }
        }
    }
}
