//! The core of self attention, `O = softmax(Q Kᵀ) V` over positions, with tangents and adjoints.
//!
//! Matrices of one image: rows are positions. Tangents: `S' = Q'Kᵀ + QK'ᵀ`,
//! `A' = A ⊙ (S' − m)` with `m = Σ A ⊙ S'` per row, `O' = A'V + AV'`. Adjoints of `(O, O')` follow
//! from these by the product rule; the adjoint of the softmax's tangent also reaches `A`.
//!
//! A row less its mean under `A` does not change if all of the row is moved. Where `A` has nearly all its mass at one place the mean is
//! the value there to the last digits, and what little differs would be lost; so rows are first taken from their value at that place.
//!
//! Products sum in registers, four or eight rows by sixteen columns at a time; sums over a row run in sixteen lanes that meet in a fixed
//! order.

use super::program::{Program, Step};
use crate::simd::{Simd, decay};

/// Number of positions and channels of queries and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub p: usize,
    pub q: usize,
    pub c: usize,
}

impl Size {
    /// Of a step of attention.
    pub(super) fn of(p: &Program, step: &Step) -> Size {
        let (q, v) = (&p.values[step.inputs[0]], &p.values[step.inputs[2]]);
        Size { p: v.h * v.w, q: q.c, c: v.c }
    }
}

/// One image's operands, row-major `(P, q)`, `(P, q)`, `(P, C)`.
#[derive(Clone, Copy)]
pub(crate) struct Qkv<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
}

/// Columns of a product that are summed side by side, and lanes of a sum.
const WIDE: usize = 16;

/// `c += A·B` for `c` of rows of `m` and `B` of rows of `m` padded to whole [`WIDE`]; `A` has its rows `by.0` and its terms `by.1` floats apart.
#[inline(always)]
unsafe fn product<S: Simd>(c: &mut [f32], m: usize, a: &[f32], by: (usize, usize), b: &[f32], terms: usize) {
    // SAFETY: passed on.
    unsafe {
        match S::L {
            16 if S::ROWS_PAIR > 0 => product_of::<S, 8, 1>(c, m, a, by, b, terms),
            16 => product_of::<S, 4, 1>(c, m, a, by, b, terms),
            8 => product_of::<S, 4, 2>(c, m, a, by, b, terms),
            _ => product_of::<S, 4, 4>(c, m, a, by, b, terms),
        }
    }
}

#[inline(always)]
unsafe fn product_of<S: Simd, const ROWS: usize, const NV: usize>(
    c: &mut [f32],
    m: usize,
    a: &[f32],
    (by_row, by_term): (usize, usize),
    b: &[f32],
    terms: usize,
) {
    let (n, padded) = (c.len() / m, m.next_multiple_of(WIDE));
    if n == 0 || terms == 0 {
        return;
    }
    assert!(
        (n - 1) * by_row + (terms - 1) * by_term < a.len() && terms * padded <= b.len(),
        "operand too small"
    );
    for i in (0..n).step_by(ROWS) {
        let rows = ROWS.min(n - i);
        for j in (0..m).step_by(WIDE) {
            // SAFETY: the instruction set is there; indices are those of the assertion, rows beyond the last read the last.
            unsafe {
                let mut sums = [[S::zero(); NV]; ROWS];
                let from: [*const f32; ROWS] =
                    std::array::from_fn(|r| a.as_ptr().add((i + r.min(rows - 1)) * by_row));
                for k in 0..terms {
                    let bp = b.as_ptr().add(k * padded + j);
                    let mut bv = [S::zero(); NV];
                    for (v, b) in bv.iter_mut().enumerate() {
                        *b = S::load(bp.add(v * S::L));
                    }
                    for r in 0..ROWS {
                        let x = S::splat(*from[r].add(k * by_term));
                        for v in 0..NV {
                            sums[r][v] = S::fma(x, bv[v], sums[r][v]);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate().take(rows) {
                    let mut line = [0f32; WIDE];
                    for (v, sum) in sums.iter().enumerate() {
                        S::store(line.as_mut_ptr().add(v * S::L), *sum);
                    }
                    let to = &mut c[(i + r) * m + j..(i + r + 1) * m];
                    to.iter_mut().zip(line).for_each(|(c, s)| *c += s);
                }
            }
        }
    }
}

/// `b`, rows of `m`, with its rows padded by zeros to whole [`WIDE`].
#[inline(always)]
fn padded<'a>(b: &'a [f32], m: usize, room: &'a mut [f32]) -> &'a [f32] {
    if m.is_multiple_of(WIDE) {
        return b;
    }
    for (to, row) in room.chunks_exact_mut(m.next_multiple_of(WIDE)).zip(b.chunks_exact(m)) {
        to[..m].copy_from_slice(row);
        to[m..].fill(0.0);
    }
    room
}

/// `c (+)= a·bᵀ`: `(n, d) × (m, d)`; `room` is for an operand in the order in which it is read.
#[inline(always)]
unsafe fn nt<S: Simd>(
    c: &mut [f32],
    a: &[f32],
    b: &[f32],
    (d, m): (usize, usize),
    room: &mut [f32],
    add: bool,
) {
    let line = m.next_multiple_of(WIDE);
    for row in room[..d * line].chunks_exact_mut(line) {
        row[m..].fill(0.0);
    }
    for (j, b) in b.chunks_exact(d).enumerate() {
        b.iter().enumerate().for_each(|(k, v)| room[k * line + j] = *v);
    }
    if !add {
        c.fill(0.0);
    }
    // SAFETY: passed on.
    unsafe { product::<S>(c, m, a, (d, 1), room, d) }
}

/// `c += a·b`: `(n, k) × (k, m)`.
#[inline(always)]
unsafe fn nn<S: Simd>(c: &mut [f32], a: &[f32], b: &[f32], (k, m): (usize, usize), room: &mut [f32]) {
    // SAFETY: passed on.
    unsafe { product::<S>(c, m, a, (k, 1), padded(b, m, room), k) }
}

/// `c += aᵀ·b`: `(k, n)ᵀ × (k, m)`.
#[inline(always)]
unsafe fn tn<S: Simd>(c: &mut [f32], a: &[f32], b: &[f32], (n, m): (usize, usize), room: &mut [f32]) {
    // SAFETY: passed on.
    unsafe { product::<S>(c, m, a, (1, n), padded(b, m, room), a.len() / n) }
}

/// Joins sixteen lanes by halves.
#[inline(always)]
fn joined(mut lanes: [f32; WIDE], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = WIDE / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The largest number of a row, NaN left out.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let more = |m: f32, v: f32| if v > m { v } else { m };
    let (parts, rest) = row.as_chunks::<WIDE>();
    let mut lanes = [f32::NEG_INFINITY; WIDE];
    for part in parts {
        for l in 0..WIDE {
            lanes[l] = more(lanes[l], part[l]);
        }
    }
    rest.iter().fold(joined(lanes, more), |m, v| more(m, *v))
}

#[inline(always)]
unsafe fn softmax<S: Simd>(s: &mut [f32], p: usize) {
    for row in s.chunks_exact_mut(p) {
        let max = largest(row);
        let mut lanes = [0f32; WIDE];
        for part in row.chunks_mut(WIDE) {
            let mut line = [f32::NEG_INFINITY; WIDE];
            line[..part.len()].copy_from_slice(part);
            for at in (0..WIDE).step_by(S::L) {
                // SAFETY: the instruction set is there; both arrays hold sixteen floats.
                unsafe {
                    let (q, sum) = (line.as_mut_ptr().add(at), lanes.as_mut_ptr().add(at));
                    let (e, _) = decay::<S>(S::sub(S::load(q), S::splat(max)));
                    S::store(q, e);
                    S::store(sum, S::add(S::load(sum), e));
                }
            }
            part.copy_from_slice(&line[..part.len()]);
        }
        let sum = joined(lanes, |a, b| a + b);
        row.iter_mut().for_each(|v| *v /= sum);
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<WIDE>(), b.as_chunks::<WIDE>());
    let mut lanes = [0f32; WIDE];
    for (a, b) in a.iter().zip(b) {
        for l in 0..WIDE {
            lanes[l] += a[l] * b[l];
        }
    }
    joined(lanes, |a, b| a + b) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Working memory: six P×P matrices and one operand, perhaps transposed, with padded rows.
pub(crate) fn scratch_len(s: Size) -> usize {
    6 * s.p * s.p + s.p.next_multiple_of(WIDE) * s.q.max(s.c).next_multiple_of(WIDE)
}

/// Rows of operands, results and gradients of one image with its tangent.
pub(super) fn rows_len(s: Size) -> usize {
    8 * s.p * (2 * s.q + 2 * s.c)
}

#[inline(always)]
fn split(work: &mut [f32], p: usize) -> ([&mut [f32]; 6], &mut [f32]) {
    let (squares, operand) = work.split_at_mut(6 * p * p);
    let mut it = squares.chunks_exact_mut(p * p);
    (std::array::from_fn(|_| it.next().unwrap_or_default()), operand)
}

/// `o = softmax(q kᵀ) v`, and its tangent if `t` is given. `o`, `ot` are overwritten.
#[inline(always)]
pub(crate) unsafe fn forward<S: Simd>(
    s: Size,
    x: Qkv<'_>,
    t: Option<Qkv<'_>>,
    o: &mut [f32],
    ot: &mut [f32],
    work: &mut [f32],
) {
    // SAFETY: the instruction set is there by the caller's promise; memory is in checked slices.
    unsafe {
        let ([a, at, ..], bt) = split(work, s.p);
        nt::<S>(a, x.q, x.k, (s.q, s.p), bt, false);
        softmax::<S>(a, s.p);
        o.fill(0.0);
        nn::<S>(o, a, x.v, (s.p, s.c), bt);
        if let Some(t) = t {
            tangent::<S>(s, x, t, a, at, bt);
            ot.fill(0.0);
            nn::<S>(ot, at, x.v, (s.p, s.c), bt);
            nn::<S>(ot, a, t.v, (s.p, s.c), bt);
        }
    }
}

/// `A'` into `at` (through `S'`).
#[inline(always)]
unsafe fn tangent<S: Simd>(s: Size, x: Qkv<'_>, t: Qkv<'_>, a: &[f32], at: &mut [f32], bt: &mut [f32]) {
    // SAFETY: the instruction set is there by the caller's promise; memory is in checked slices.
    unsafe {
        nt::<S>(at, t.q, x.k, (s.q, s.p), bt, false);
        nt::<S>(at, x.q, t.k, (s.q, s.p), bt, true);
        softmax_adjoint(at, a, s.p);
    }
}

/// Takes from every entry of a row that at the place where `a` is largest.
#[inline(always)]
fn from_top(row: &mut [f32], a: &[f32]) {
    let top = largest(a);
    let place = a.iter().position(|a| *a == top && top > f32::NEG_INFINITY);
    let at = place.map_or(0.0, |k| row[k]);
    row.iter_mut().for_each(|v| *v -= at);
}

/// Gradients of one image's operands; all are added to.
pub(crate) struct Grads<'a> {
    pub q: &'a mut [f32],
    pub k: &'a mut [f32],
    pub v: &'a mut [f32],
}

/// `S̄ = A ⊙ (Ā − Σ A ⊙ Ā)` in place; the tangent `A'` comes from `S'` in the same way.
#[inline(always)]
fn softmax_adjoint(s: &mut [f32], a: &[f32], p: usize) {
    for (row, a) in s.chunks_exact_mut(p).zip(a.chunks_exact(p)) {
        from_top(row, a);
        let m = dot(row, a);
        row.iter_mut().zip(a).for_each(|(v, a)| *v = a * (*v - m));
    }
}

/// Adjoint of the single-stream forward.
#[inline(always)]
pub(crate) unsafe fn backward<S: Simd>(s: Size, x: Qkv<'_>, go: &[f32], g: &mut Grads<'_>, work: &mut [f32]) {
    // SAFETY: the instruction set is there by the caller's promise; memory is in checked slices.
    unsafe {
        let ([a, sb, ..], bt) = split(work, s.p);
        nt::<S>(a, x.q, x.k, (s.q, s.p), bt, false);
        softmax::<S>(a, s.p);
        tn::<S>(g.v, a, go, (s.p, s.c), bt);
        nt::<S>(sb, go, x.v, (s.c, s.p), bt, false);
        softmax_adjoint(sb, a, s.p);
        nn::<S>(g.q, sb, x.k, (s.p, s.q), bt);
        tn::<S>(g.k, sb, x.q, (s.p, s.q), bt);
    }
}

/// Adjoint of the two-stream forward: `(go, got)` are the adjoints of `(o, o')`, `g` receives those
/// of the values, `gt` those of the tangents.
#[inline(always)]
pub(crate) unsafe fn backward_two<S: Simd>(
    s: Size,
    [x, t]: [Qkv<'_>; 2],
    [go, got]: [&[f32]; 2],
    g: &mut Grads<'_>,
    gt: &mut Grads<'_>,
    work: &mut [f32],
) {
    // SAFETY: the instruction set is there by the caller's promise; memory is in checked slices.
    unsafe {
        let ([a, at, st, sbt, ab, _], bt) = split(work, s.p);
        nt::<S>(a, x.q, x.k, (s.q, s.p), bt, false);
        softmax::<S>(a, s.p);
        nt::<S>(st, t.q, x.k, (s.q, s.p), bt, false);
        nt::<S>(st, x.q, t.k, (s.q, s.p), bt, true);
        tangent::<S>(s, x, t, a, at, bt);
        tn::<S>(gt.v, a, got, (s.p, s.c), bt);
        tn::<S>(g.v, a, go, (s.p, s.c), bt);
        tn::<S>(g.v, at, got, (s.p, s.c), bt);
        // Adjoint of A' (in sbt) and of A (in ab).
        nt::<S>(sbt, got, x.v, (s.c, s.p), bt, false);
        nt::<S>(ab, go, x.v, (s.c, s.p), bt, false);
        nt::<S>(ab, got, t.v, (s.c, s.p), bt, true);
        let p = s.p;
        for i in 0..p {
            let rows = i * p..(i + 1) * p;
            // What this changes in Ā is the same for all of a row, and its adjoint takes it out again.
            from_top(&mut st[rows.clone()], &a[rows.clone()]);
            from_top(&mut sbt[rows.clone()], &a[rows.clone()]);
            let (a, st, sbt) = (&a[rows.clone()], &st[rows.clone()], &sbt[rows.clone()]);
            let (m, w) = (dot(a, st), dot(sbt, a));
            for (j, v) in ab[rows].iter_mut().enumerate() {
                *v += sbt[j] * (st[j] - m) - w * st[j];
            }
        }
        softmax_adjoint(sbt, a, p);
        softmax_adjoint(ab, a, p);
        nn::<S>(gt.q, sbt, x.k, (p, s.q), bt);
        tn::<S>(gt.k, sbt, x.q, (p, s.q), bt);
        nn::<S>(g.q, ab, x.k, (p, s.q), bt);
        nn::<S>(g.q, sbt, t.k, (p, s.q), bt);
        tn::<S>(g.k, ab, x.q, (p, s.q), bt);
        tn::<S>(g.k, sbt, t.q, (p, s.q), bt);
    }
}
