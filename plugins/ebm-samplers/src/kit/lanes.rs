//! Sums and moves of single rows of numbers in f64: in order if they are short, in eight lanes otherwise. They have the same bits on every
//! processor.

use ebm_core::widened;

const LANES: usize = 8;

/// Shorter rows are not worth a call.
pub(crate) const SHORT: usize = 24;

/// `y ← y + c·x`.
#[inline(always)]
pub(crate) fn add_scaled(y: &mut [f64], c: f64, x: &[f64]) {
    if y.len() < SHORT { add_scaled_plain(y, c, x) } else { add_scaled_wide(y, c, x) }
}

#[inline(always)]
fn add_scaled_plain(y: &mut [f64], c: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += c * x);
}

widened! {
    fn add_scaled_wide(y: &mut [f64], c: f64, x: &[f64]) = add_scaled_plain, add_scaled_plain
}

/// `y ← y + c·l·x`, entry by entry.
#[inline(always)]
pub(crate) fn add_products(y: &mut [f64], c: f64, l: &[f64], x: &[f64]) {
    if y.len() < SHORT { add_products_plain(y, c, l, x) } else { add_products_wide(y, c, l, x) }
}

#[inline(always)]
fn add_products_plain(y: &mut [f64], c: f64, l: &[f64], x: &[f64]) {
    y.iter_mut().zip(l).zip(x).for_each(|((y, l), x)| *y += c * (l * x));
}

widened! {
    fn add_products_wide(y: &mut [f64], c: f64, l: &[f64], x: &[f64]) = add_products_plain, add_products_plain
}

/// A place in phase space, row by row.
pub(crate) struct Row<'a> {
    /// Position.
    pub(crate) x: &'a [f64],
    /// Momentum.
    pub(crate) v: &'a [f64],
    /// ∇E there.
    pub(crate) grad: &'a [f64],
}

/// First half of a leapfrog step of size `h` in a diagonal metric `l`: `v′ = v + kick·l·∇E`, `x′ = x + h·l·v′`.
#[inline(always)]
pub(crate) fn depart(from: &Row<'_>, l: &[f64], kick: f64, h: f64, x: &mut [f64], v: &mut [f64]) {
    if x.len() < SHORT { depart_plain(from, l, kick, h, x, v) } else { depart_wide(from, l, kick, h, x, v) }
}

#[inline(always)]
fn depart_plain(from: &Row<'_>, l: &[f64], kick: f64, h: f64, x: &mut [f64], v: &mut [f64]) {
    let old = from.x.iter().zip(from.v).zip(from.grad).zip(l);
    for ((new_x, new_v), (((x, v), g), l)) in x.iter_mut().zip(v).zip(old) {
        *new_v = v + kick * (l * g);
        *new_x = x + h * (l * *new_v);
    }
}

widened! {
    fn depart_wide(from: &Row<'_>, l: &[f64], kick: f64, h: f64, x: &mut [f64], v: &mut [f64]) = depart_plain, depart_plain
}

/// Second half: `v ← v + kick·l·∇E`. Returns `|v|²`.
#[inline(always)]
pub(crate) fn arrive(v: &mut [f64], grad: &[f64], l: &[f64], kick: f64) -> f64 {
    if v.len() < SHORT {
        add_products_plain(v, kick, l, grad);
        return dot(v, v);
    }
    arrive_wide(v, grad, l, kick)
}

#[inline(always)]
fn arrive_plain(v: &mut [f64], grad: &[f64], l: &[f64], kick: f64) -> f64 {
    add_products_plain(v, kick, l, grad);
    dot_plain(v, v)
}

widened! {
    fn arrive_wide(v: &mut [f64], grad: &[f64], l: &[f64], kick: f64) -> f64 = arrive_plain, arrive_plain
}

/// `out ← a + c·b`.
#[inline(always)]
pub(crate) fn sum(out: &mut [f64], a: &[f64], c: f64, b: &[f64]) {
    if out.len() < SHORT { sum_plain(out, a, c, b) } else { sum_wide(out, a, c, b) }
}

#[inline(always)]
fn sum_plain(out: &mut [f64], a: &[f64], c: f64, b: &[f64]) {
    out.iter_mut().zip(a).zip(b).for_each(|((o, a), b)| *o = a + c * b);
}

widened! {
    fn sum_wide(out: &mut [f64], a: &[f64], c: f64, b: &[f64]) = sum_plain, sum_plain
}

/// `v ← v + kick·g`. Returns `|v|²`.
#[inline(always)]
pub(crate) fn kicked(v: &mut [f64], g: &[f64], kick: f64) -> f64 {
    if v.len() < SHORT {
        add_scaled_plain(v, kick, g);
        return dot(v, v);
    }
    kicked_wide(v, g, kick)
}

#[inline(always)]
fn kicked_plain(v: &mut [f64], g: &[f64], kick: f64) -> f64 {
    add_scaled_plain(v, kick, g);
    dot_plain(v, v)
}

widened! {
    fn kicked_wide(v: &mut [f64], g: &[f64], kick: f64) -> f64 = kicked_plain, kicked_plain
}

/// `sum ← a + b`.
#[inline(always)]
pub(crate) fn add(sum: &mut [f64], a: &[f64], b: &[f64]) {
    if sum.len() < SHORT { add_plain(sum, a, b) } else { add_wide(sum, a, b) }
}

#[inline(always)]
fn add_plain(sum: &mut [f64], a: &[f64], b: &[f64]) {
    sum.iter_mut().zip(a).zip(b).for_each(|((s, a), b)| *s = a + b);
}

widened! {
    fn add_wide(sum: &mut [f64], a: &[f64], b: &[f64]) = add_plain, add_plain
}

/// `Σ a·b`.
#[inline(always)]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    if a.len() < SHORT { a.iter().zip(b).map(|(a, b)| a * b).sum() } else { dot_wide(a, b) }
}

#[inline(always)]
fn dot_plain(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sum = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        (0..LANES).for_each(|l| sum[l] += a[l] * b[l]);
    }
    sum.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

widened! {
    fn dot_wide(a: &[f64], b: &[f64]) -> f64 = dot_plain, dot_plain
}

/// The six products by which a trajectory of two parts is seen to turn back: momenta at their ends along sums of momenta. Of the first part
/// `p` is the momentum at its beginning, `r` at its end, `a` the sum; of the second `q`, `s`, `b`.
#[inline(always)]
pub(crate) fn turns(p: &[f64], r: &[f64], a: &[f64], q: &[f64], s: &[f64], b: &[f64]) -> [f64; 6] {
    if p.len() >= SHORT {
        return turns_wide(p, r, a, q, s, b);
    }
    let mut all = [0.0; 6];
    add_turns(&mut all, [p, r, a, q, s, b]);
    all
}

/// Adds them one coordinate after the other.
#[inline(always)]
fn add_turns(all: &mut [f64; 6], [p, r, a, q, s, b]: [&[f64]; 6]) {
    for (((((p, r), a), q), s), b) in p.iter().zip(r).zip(a).zip(q).zip(s).zip(b) {
        let new = products([*p, *r, *a, *q, *s, *b]);
        all.iter_mut().zip(new).for_each(|(sum, v)| *sum += v);
    }
}

#[inline(always)]
fn products([p, r, a, q, s, b]: [f64; 6]) -> [f64; 6] {
    let (whole, first, second) = (a + b, a + q, r + b);
    [p * whole, s * whole, p * first, q * first, r * second, s * second]
}

#[inline(always)]
fn turns_plain(p: &[f64], r: &[f64], a: &[f64], q: &[f64], s: &[f64], b: &[f64]) -> [f64; 6] {
    let parts = [p, r, a, q, s, b].map(<[f64]>::as_chunks::<LANES>);
    let [p, r, a, q, s, b] = parts.map(|(whole, _)| whole);
    let mut sums = [[0.0; LANES]; 6];
    for (((((p, r), a), q), s), b) in p.iter().zip(r).zip(a).zip(q).zip(s).zip(b) {
        for l in 0..LANES {
            let new = products([p[l], r[l], a[l], q[l], s[l], b[l]]);
            (0..6).for_each(|i| sums[i][l] += new[i]);
        }
    }
    let mut all = sums.map(|lanes| lanes.iter().sum::<f64>());
    add_turns(&mut all, parts.map(|(_, rest)| rest));
    all
}

widened! {
    fn turns_wide(p: &[f64], r: &[f64], a: &[f64], q: &[f64], s: &[f64], b: &[f64]) -> [f64; 6] = turns_plain, turns_plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers are added without rounding, so any order gives the same.
    #[test]
    fn lanes_add_what_a_loop_adds() {
        for n in [1, 2, 7, 23, 24, 31, 100] {
            let row = |k: usize| (0..n).map(|i| ((i * 7 + k * 5) % 11) as f64 - 5.0).collect::<Vec<_>>();
            let all: [Vec<f64>; 6] = std::array::from_fn(row);
            let [p, r, a, q, s, b] = &all;
            assert_eq!(dot(p, q), (0..n).map(|i| p[i] * q[i]).sum::<f64>(), "{n}");
            let mut y = p.clone();
            add_scaled(&mut y, 3.0, q);
            assert!((0..n).all(|i| y[i] == p[i] + 3.0 * q[i]), "{n}");
            let mut y = p.clone();
            add_products(&mut y, 3.0, q, r);
            assert!((0..n).all(|i| y[i] == p[i] + 3.0 * q[i] * r[i]), "{n}");
            let mut sum = vec![0.0; n];
            add(&mut sum, p, q);
            assert!((0..n).all(|i| sum[i] == p[i] + q[i]), "{n}");
            let (mut x, mut v) = (vec![0.0; n], vec![0.0; n]);
            depart(&Row { x: p, v: r, grad: a }, q, -2.0, 3.0, &mut x, &mut v);
            assert!(
                (0..n).all(|i| v[i] == r[i] - 2.0 * q[i] * a[i] && x[i] == p[i] + 3.0 * q[i] * v[i]),
                "{n}"
            );
            let square = arrive(&mut v, s, b, 4.0);
            let want = |i: usize| r[i] - 2.0 * q[i] * a[i] + 4.0 * b[i] * s[i];
            assert!((0..n).all(|i| v[i] == want(i)), "{n}");
            assert_eq!(square, (0..n).map(|i| want(i) * want(i)).sum::<f64>(), "{n}");
            let by = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>();
            let want = [
                by(&|i| p[i] * (a[i] + b[i])),
                by(&|i| s[i] * (a[i] + b[i])),
                by(&|i| p[i] * (a[i] + q[i])),
                by(&|i| q[i] * (a[i] + q[i])),
                by(&|i| r[i] * (r[i] + b[i])),
                by(&|i| s[i] * (r[i] + b[i])),
            ];
            assert_eq!(turns(p, r, a, q, s, b), want, "{n}");
        }
    }
}
