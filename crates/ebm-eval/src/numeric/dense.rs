//! Dense f64 helpers behind the measures of pairs: covariance, distances by blocks.

use faer::{Mat, MatRef};

use crate::samples::Features;

/// Rows of `a` handled at once when all pairs are visited: bounds the scratch to 512 rows of `b.n()` numbers;
/// smaller blocks pack `b` again too often.
const BLOCK: usize = 512;

/// The table as a faer matrix `(n, d)`.
pub(crate) fn matrix(f: &Features) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(f.data(), f.n(), f.d())
}

/// Column means `(d)`.
pub(crate) fn mean(f: &Features) -> Vec<f64> {
    let mut m = vec![0.0; f.d()];
    for row in f.data().chunks_exact(f.d()) {
        m.iter_mut().zip(row).for_each(|(s, v)| *s += v);
    }
    m.iter_mut().for_each(|s| *s /= f.n() as f64);
    m
}

/// Covariance `(d, d)` with the divisor `n - 1`, given the column means; `n >= 2` is the caller's duty.
pub(crate) fn covariance(f: &Features, mean: &[f64]) -> Mat<f64> {
    let c = Mat::from_fn(f.n(), f.d(), |i, j| f.row(i)[j] - mean[j]);
    let mut s = c.transpose() * &c;
    let scale = 1.0 / (f.n() as f64 - 1.0);
    for j in 0..f.d() {
        for i in 0..f.d() {
            s[(i, j)] *= scale;
        }
    }
    s
}

/// Calls `visit(i, dots)` for every row `i` of `a`, where `dots[j]` is the inner product of `a_i` and `b_j`.
pub(crate) fn for_dots(a: &Features, b: &Features, mut visit: impl FnMut(usize, &[f64])) {
    if b.n() == 0 {
        return;
    }
    let bm = matrix(b);
    for from in (0..a.n()).step_by(BLOCK) {
        let rows = BLOCK.min(a.n() - from);
        let block = MatRef::from_row_major_slice(&a.data()[from * a.d()..(from + rows) * a.d()], rows, a.d());
        let dots = bm * block.transpose();
        for i in 0..rows {
            // Columns of a freshly made faer matrix are contiguous; the copy is for the type only if not.
            match dots.col(i).try_as_col_major() {
                Some(c) => visit(from + i, c.as_slice()),
                None => visit(from + i, &dots.col(i).iter().copied().collect::<Vec<_>>()),
            }
        }
    }
}

/// Calls `visit(i, squares)` for every row `i` of `a`, where `squares[j]` is |a_i - b_j|^2, by
/// |a|^2 + |b|^2 - 2ab cut at 0: accurate to about 1e-16 times the squared lengths.
pub(crate) fn for_squares(a: &Features, b: &Features, mut visit: impl FnMut(usize, &[f64])) {
    let norms: Vec<f64> = b.data().chunks_exact(b.d()).map(square).collect();
    let mut out = vec![0.0; b.n()];
    for_dots(a, b, |i, dots| {
        let own = square(a.row(i));
        for ((o, &dot), &norm) in out.iter_mut().zip(dots).zip(&norms) {
            *o = (own + norm - 2.0 * dot).max(0.0);
        }
        visit(i, &out);
    });
}

fn square(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn squares_over_several_blocks_are_the_direct_ones() {
        let a = Features::new((0..BLOCK * 2 * 3 + 6).map(|i| (i as f64).sin()).collect(), BLOCK * 2 + 2, 3)
            .unwrap();
        let b = Features::new((0..15).map(|i| (i as f64).cos()).collect(), 5, 3).unwrap();
        let mut seen = 0;
        for_squares(&a, &b, |i, sq| {
            seen += 1;
            for (j, s) in sq.iter().enumerate() {
                let direct: f64 = a.row(i).iter().zip(b.row(j)).map(|(p, q)| (p - q) * (p - q)).sum();
                assert!((s - direct).abs() < 1e-14, "rounding of sums below 10");
            }
        });
        assert_eq!(seen, a.n());
    }
}
