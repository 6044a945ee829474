//! Products of single rows of numbers with a matrix that many rows meet, packed once.

use std::ops::Range;

use crate::widened;

/// Entries of a tile of columns: one wide register of f32, two of f64.
const COLUMNS: usize = 16;

/// Rows that go together, and the fewest for which the loop is made: sums of fewer wait for one another, so that they take as long.
const ROWS: usize = 8;
const FEW: usize = 4;

/// What a product needs of a number type.
pub trait RowNumber: Copy + Default + Send + Sync + 'static {
    /// The nearest number of this type.
    fn of(v: f64) -> Self;
    /// As f64.
    fn wide(self) -> f64;
    /// `self + a·b`, rounded once if `FUSED`, which is slow where the processor has no such instruction.
    #[must_use]
    fn plus<const FUSED: bool>(self, a: Self, b: Self) -> Self;
    /// The rows of `x` in the product `p`, for this processor.
    #[doc(hidden)]
    fn multiply(p: &RowProduct<Self>, x: &[f64], out: &mut [f64]);
}

/// `y = (x − o)·M` for rows `x` `(n, K)` of a matrix `M` `(K, N)`, multiplied in numbers of type `T`, f32 or f64.
///
/// Products are added one after the other along `K`: what a row gets does not depend, to the last bit, on the rows beside it. Zeros above
/// and below the entries of sixteen columns are left out, so a triangle takes half the time.
///
/// ```
/// use ebm_core::RowProduct;
///
/// let lower = [1.0, 0.0, 2.0, 3.0]; // (2, 2)
/// let p = RowProduct::<f64>::of(&lower, vec![10.0, 0.0]);
/// let mut y = [0.0; 4];
/// p.times(&[11.0, 1.0, 10.0, 2.0], &mut y);
/// assert_eq!(y, [1.0 + 2.0, 3.0, 4.0, 6.0]);
/// ```
#[derive(Clone, Debug)]
pub struct RowProduct<T> {
    /// What is taken from rows, `(K,)`.
    origin: Vec<f64>,
    /// N.
    width: usize,
    tiles: Vec<Tile>,
    /// Sixteen columns of row after row, tile by tile; the last one is filled up with zeros.
    entries: Vec<[T; COLUMNS]>,
}

/// Sixteen columns.
#[derive(Clone, Debug)]
struct Tile {
    /// First row of the matrix with an entry that is not zero.
    first: usize,
    entries: Range<usize>,
}

impl<T: RowNumber> RowProduct<T> {
    /// Packs `matrix` `(K, N)`, row by row, for rows from which `origin` `(K,)` is taken.
    pub fn of(matrix: &[f64], origin: Vec<f64>) -> Self {
        let depth = origin.len();
        let width = matrix.len() / depth.max(1);
        let (mut tiles, mut entries) = (Vec::new(), Vec::new());
        for from in (0..width).step_by(COLUMNS) {
            let columns = from..width.min(from + COLUMNS);
            let part = |k: usize| &matrix[k * width..][columns.clone()];
            let some = |k: &usize| part(*k).iter().any(|v| *v != 0.0);
            let first = (0..depth).find(some).unwrap_or(0);
            let last = (first..depth).rev().find(some).map_or(first, |k| k + 1);
            let begin = entries.len();
            entries.extend((first..last).map(|k| {
                let mut packed = [T::default(); COLUMNS];
                packed.iter_mut().zip(part(k)).for_each(|(p, v)| *p = T::of(*v));
                packed
            }));
            tiles.push(Tile { first, entries: begin..entries.len() });
        }
        RowProduct { origin, width, tiles, entries }
    }

    /// Writes the product of each row of `x` `(n, K)` to `out` `(n, N)`.
    pub fn times(&self, x: &[f64], out: &mut [f64]) {
        T::multiply(self, x, out);
    }

    /// At most `R` rows at once.
    #[inline(always)]
    fn block<const R: usize, const FUSED: bool>(&self, x: &[f64], out: &mut [f64]) {
        let depth = self.origin.len();
        let mut y = Vec::with_capacity(R * depth);
        for x in x.chunks_exact(depth) {
            y.extend(x.iter().zip(&self.origin).map(|(x, o)| T::of(x - o)));
        }
        y.resize(R * depth, T::default());
        for (tile, from) in self.tiles.iter().zip((0..).step_by(COLUMNS)) {
            let sums = sums::<T, R, FUSED>(&y, depth, tile.first, &self.entries[tile.entries.clone()]);
            for (sums, out) in sums.iter().zip(out.chunks_exact_mut(self.width)) {
                let out = &mut out[from..];
                match out.first_chunk_mut::<COLUMNS>() {
                    Some(out) => (0..COLUMNS).for_each(|c| out[c] = sums[c].wide()),
                    None => out.iter_mut().zip(sums).for_each(|(o, s)| *o = s.wide()),
                }
            }
        }
    }

    /// All rows, eight at a time, and what is left.
    #[inline(always)]
    fn blocks<const FUSED: bool>(&self, x: &[f64], out: &mut [f64]) {
        if self.origin.is_empty() || self.width == 0 {
            return out.fill(0.0);
        }
        let blocks = x.chunks(ROWS * self.origin.len()).zip(out.chunks_mut(ROWS * self.width));
        for (x, out) in blocks {
            match x.len() / self.origin.len() {
                0..=FEW => self.block::<FEW, FUSED>(x, out),
                _ => self.block::<ROWS, FUSED>(x, out),
            }
        }
    }
}

/// Sums of `R` rows `y` `(R, depth)` over sixteen columns, which have entries from row `first` of the matrix on.
#[inline(always)]
fn sums<T: RowNumber, const R: usize, const FUSED: bool>(
    y: &[T],
    depth: usize,
    first: usize,
    entries: &[[T; COLUMNS]],
) -> [[T; COLUMNS]; R] {
    // Of one length to the eyes of the compiler, so that sums stay in registers.
    let mut rows = [&[] as &[T]; R];
    for r in 0..R {
        rows[r] = &y[r * depth + first..][..entries.len()];
    }
    let mut sums = [[T::default(); COLUMNS]; R];
    for k in 0..entries.len() {
        let columns = entries[k];
        for r in 0..R {
            let y = rows[r][k];
            for c in 0..COLUMNS {
                sums[r][c] = sums[r][c].plus::<FUSED>(columns[c], y);
            }
        }
    }
    sums
}

macro_rules! row_number {
    ($number:ident) => {
        impl RowNumber for $number {
            #[inline(always)]
            fn of(v: f64) -> Self {
                v as $number
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn plus<const FUSED: bool>(self, a: Self, b: Self) -> Self {
                if FUSED { a.mul_add(b, self) } else { self + a * b }
            }
            fn multiply(p: &RowProduct<Self>, x: &[f64], out: &mut [f64]) {
                type Product = RowProduct<$number>;
                widened! {
                    fn all(p: &Product, x: &[f64], out: &mut [f64]) = Product::blocks::<false>, Product::blocks::<true>
                }
                all(p, x, out);
            }
        }
    };
}

row_number!(f32);
row_number!(f64);

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, salt: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7 + salt * 5 + i * i % 13) % 11) as f64 - 5.0).collect()
    }

    /// Products of small whole numbers are added without rounding: any order gives the same, in both types.
    #[test]
    fn products_are_those_of_a_loop() {
        for (depth, width) in [(1, 1), (5, 3), (16, 16), (17, 33), (40, 20), (3, 50)] {
            let mut matrix = numbers(depth * width, 1);
            // An upper triangle, and a column tile that is all zeros.
            matrix
                .iter_mut()
                .enumerate()
                .filter(|(i, _)| i % width < i / width || i % width >= 32)
                .for_each(|(_, v)| *v = 0.0);
            let origin = numbers(depth, 2);
            for n in [0, 1, 4, 5, 8, 9, 19] {
                let x = numbers(n * depth, 3);
                let want: Vec<f64> = (0..n * width)
                    .map(|i| {
                        let (row, column) = (i / width, i % width);
                        (0..depth)
                            .map(|k| (x[row * depth + k] - origin[k]) * matrix[k * width + column])
                            .sum()
                    })
                    .collect();
                let mut out = vec![f64::NAN; n * width];
                RowProduct::<f64>::of(&matrix, origin.clone()).times(&x, &mut out);
                assert_eq!(out, want, "{depth} {width} {n}");
                out.fill(f64::NAN);
                RowProduct::<f32>::of(&matrix, origin.clone()).times(&x, &mut out);
                assert_eq!(out, want, "{depth} {width} {n}");
            }
        }
    }

    /// Callers cut rows into groups as threads and lengths of trajectories have it.
    #[test]
    fn a_row_has_the_same_bits_beside_any_others() {
        let (depth, n) = (37, 13);
        let root = |all: Vec<f64>| all.into_iter().map(|v| v / 7.0).collect::<Vec<_>>();
        let (matrix, x) = (root(numbers(depth * depth, 1)), root(numbers(n * depth, 3)));
        let p = RowProduct::<f64>::of(&matrix, root(numbers(depth, 2)));
        let mut all = vec![0.0; n * depth];
        p.times(&x, &mut all);
        for part in 1..n {
            let mut out = vec![0.0; n * depth];
            for (x, out) in x.chunks(part * depth).zip(out.chunks_mut(part * depth)) {
                p.times(x, out);
            }
            assert_eq!(out, all, "{part}");
        }
    }
}
