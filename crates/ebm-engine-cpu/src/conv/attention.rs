//! The core of self attention, `O = softmax(Q Kᵀ) V` over positions, with tangents and adjoints.
//!
//! Matrices of one image: rows are positions. Tangents: `S' = Q'Kᵀ + QK'ᵀ`,
//! `A' = A ⊙ (S' − m)` with `m = Σ A ⊙ S'` per row, `O' = A'V + AV'`. Adjoints of `(O, O')` follow
//! from these by the product rule; the adjoint of the softmax's tangent also reaches `A`.
//!
//! A row less its mean under `A` does not change if all of the row is moved. Where `A` has nearly all its mass at one place the mean is
//! the value there to the last digits, and what little differs would be lost; so rows are first taken from their value at that place.
//!
//! Plain loops, compiled again for each instruction set by the kernels' table; multiplications and additions are
//! never fused, so all sets give the same bits.

use super::program::{Program, Step};

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

/// `c (+)= a·bᵀ`: `(n, d) × (m, d)`; `bt` is room for `b` transposed, so that the inner loop runs along rows.
#[inline(always)]
fn nt(c: &mut [f32], a: &[f32], b: &[f32], (d, m): (usize, usize), bt: &mut [f32], add: bool) {
    for (j, b) in b.chunks_exact(d).enumerate() {
        b.iter().enumerate().for_each(|(k, v)| bt[k * m + j] = *v);
    }
    if !add {
        c.fill(0.0);
    }
    nn(c, a, &bt[..d * m], d, m);
}

/// `c += a·b`: `(n, k) × (k, m)`.
#[inline(always)]
fn nn(c: &mut [f32], a: &[f32], b: &[f32], k: usize, m: usize) {
    for (row, a) in c.chunks_exact_mut(m).zip(a.chunks_exact(k)) {
        for (&x, b) in a.iter().zip(b.chunks_exact(m)) {
            for (v, y) in row.iter_mut().zip(b) {
                *v += x * y;
            }
        }
    }
}

/// `c += aᵀ·b`: `(k, n)ᵀ × (k, m)`.
#[inline(always)]
fn tn(c: &mut [f32], a: &[f32], b: &[f32], n: usize, m: usize) {
    for (a, b) in a.chunks_exact(n).zip(b.chunks_exact(m)) {
        for (&x, row) in a.iter().zip(c.chunks_exact_mut(m)) {
            for (v, y) in row.iter_mut().zip(b) {
                *v += x * y;
            }
        }
    }
}

#[inline(always)]
fn softmax(s: &mut [f32], p: usize) {
    for row in s.chunks_exact_mut(p) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for v in row.iter_mut() {
            *v = (*v - max).exp();
            sum += *v;
        }
        row.iter_mut().for_each(|v| *v /= sum);
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Working memory: six P×P matrices and one transposed operand.
pub(crate) fn scratch_len(s: Size) -> usize {
    6 * s.p * s.p + s.p * s.q.max(s.c)
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
pub(crate) fn forward(
    s: Size,
    x: Qkv<'_>,
    t: Option<Qkv<'_>>,
    o: &mut [f32],
    ot: &mut [f32],
    work: &mut [f32],
) {
    let ([a, at, ..], bt) = split(work, s.p);
    nt(a, x.q, x.k, (s.q, s.p), bt, false);
    softmax(a, s.p);
    o.fill(0.0);
    nn(o, a, x.v, s.p, s.c);
    if let Some(t) = t {
        tangent(s, x, t, a, at, bt);
        ot.fill(0.0);
        nn(ot, at, x.v, s.p, s.c);
        nn(ot, a, t.v, s.p, s.c);
    }
}

/// `A'` into `at` (through `S'`).
#[inline(always)]
fn tangent(s: Size, x: Qkv<'_>, t: Qkv<'_>, a: &[f32], at: &mut [f32], bt: &mut [f32]) {
    nt(at, t.q, x.k, (s.q, s.p), bt, false);
    nt(at, x.q, t.k, (s.q, s.p), bt, true);
    softmax_adjoint(at, a, s.p);
}

/// Takes from every entry of a row that at the place where `a` is largest.
#[inline(always)]
fn from_top(row: &mut [f32], a: &[f32]) {
    let (mut top, mut at) = (f32::NEG_INFINITY, 0.0);
    for (&a, &v) in a.iter().zip(row.iter()) {
        if a > top {
            (top, at) = (a, v);
        }
    }
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
pub(crate) fn backward(s: Size, x: Qkv<'_>, go: &[f32], g: &mut Grads<'_>, work: &mut [f32]) {
    let ([a, sb, ..], bt) = split(work, s.p);
    nt(a, x.q, x.k, (s.q, s.p), bt, false);
    softmax(a, s.p);
    tn(g.v, a, go, s.p, s.c);
    nt(sb, go, x.v, (s.c, s.p), bt, false);
    softmax_adjoint(sb, a, s.p);
    nn(g.q, sb, x.k, s.p, s.q);
    tn(g.k, sb, x.q, s.p, s.q);
}

/// Adjoint of the two-stream forward: `(go, got)` are the adjoints of `(o, o')`, `g` receives those
/// of the values, `gt` those of the tangents.
#[inline(always)]
pub(crate) fn backward_two(
    s: Size,
    [x, t]: [Qkv<'_>; 2],
    [go, got]: [&[f32]; 2],
    g: &mut Grads<'_>,
    gt: &mut Grads<'_>,
    work: &mut [f32],
) {
    let ([a, at, st, sbt, ab, _], bt) = split(work, s.p);
    nt(a, x.q, x.k, (s.q, s.p), bt, false);
    softmax(a, s.p);
    nt(st, t.q, x.k, (s.q, s.p), bt, false);
    nt(st, x.q, t.k, (s.q, s.p), bt, true);
    tangent(s, x, t, a, at, bt);
    tn(gt.v, a, got, s.p, s.c);
    tn(g.v, a, go, s.p, s.c);
    tn(g.v, at, got, s.p, s.c);
    // Adjoint of A' (in sbt) and of A (in ab).
    nt(sbt, got, x.v, (s.c, s.p), bt, false);
    nt(ab, go, x.v, (s.c, s.p), bt, false);
    nt(ab, got, t.v, (s.c, s.p), bt, true);
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
    nn(gt.q, sbt, x.k, p, s.q);
    tn(gt.k, sbt, x.q, p, s.q);
    nn(g.q, ab, x.k, p, s.q);
    nn(g.q, sbt, t.k, p, s.q);
    tn(g.k, ab, x.q, p, s.q);
    tn(g.k, sbt, t.q, p, s.q);
}
