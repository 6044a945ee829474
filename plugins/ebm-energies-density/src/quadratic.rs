//! The quadratic form of a normal density on blocks of rows: one product with the precision matrix a row.

use ebm_core::{Result, RowSlopes, widened};

/// Entries of a tile of columns: one wide register of f32, two of f64.
const COLUMNS: usize = 16;

/// Widest sample whose matrix is packed for rows; beyond it tensor products are as good.
pub(crate) const WIDEST: usize = 512;

/// `E = ½ yᵀPy`, `∇E = Py` with `y = x − μ` and a full precision matrix `P`, multiplied in numbers of type `T`.
pub(crate) struct Quadratic<T> {
    mean: Vec<f64>,
    /// `P` in tiles of columns: for each tile its part of row 0, of row 1, ...; the last one is filled up with zeros.
    tiles: Vec<[T; COLUMNS]>,
}

/// What the product needs of a number type.
pub(crate) trait Number: Copy + Default + Sync {
    fn of(v: f64) -> Self;
    fn wide(self) -> f64;
    /// `self + a·b`, rounded once if `FUSED`, which is slow where the processor has no such instruction.
    fn plus<const FUSED: bool>(self, a: Self, b: Self) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn of(v: f64) -> Self {
        v as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn plus<const FUSED: bool>(self, a: Self, b: Self) -> Self {
        if FUSED { a.mul_add(b, self) } else { self + a * b }
    }
}

impl Number for f64 {
    #[inline(always)]
    fn of(v: f64) -> Self {
        v
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn plus<const FUSED: bool>(self, a: Self, b: Self) -> Self {
        if FUSED { a.mul_add(b, self) } else { self + a * b }
    }
}

impl<T: Number> Quadratic<T> {
    /// From the whitening matrix `A` `(D, D)`, row by row: `P = AᵀA`, summed in f64.
    pub(crate) fn whitened_by(a: &[f64], mean: Vec<f64>) -> Self {
        let d = mean.len();
        let mut precision = vec![0.0; d * d];
        for row in a.chunks_exact(d.max(1)) {
            for (v, out) in row.iter().zip(precision.chunks_exact_mut(d)) {
                out.iter_mut().zip(row).for_each(|(o, w)| *o += v * w);
            }
        }
        let mut tiles = Vec::with_capacity(d.div_ceil(COLUMNS) * d);
        for tile in 0..d.div_ceil(COLUMNS) {
            for row in precision.chunks_exact(d) {
                let mut packed = [T::default(); COLUMNS];
                packed.iter_mut().zip(&row[tile * COLUMNS..]).for_each(|(p, v)| *p = T::of(*v));
                tiles.push(packed);
            }
        }
        Quadratic { mean, tiles }
    }

    /// `R` rows `x` `(R, D)` at once. Products are added one after the other along `D`: what a row gets does not depend on `R`.
    #[inline(always)]
    fn block<const R: usize, const FUSED: bool>(&self, x: &[f64], energy: &mut [f64], grad: &mut [f64]) {
        let d = self.mean.len();
        let mut y = vec![T::default(); x.len()];
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            y.iter_mut().zip(x).zip(&self.mean).for_each(|((y, x), m)| *y = T::of(x - m));
        }
        let mut rows: [&[T]; R] = [&[]; R];
        rows.iter_mut().zip(y.chunks_exact(d)).for_each(|(row, y)| *row = y);
        for (tile, columns) in self.tiles.chunks_exact(d).enumerate() {
            let sums = product::<T, R, FUSED>(&rows, columns);
            for (sums, grad) in sums.iter().zip(grad.chunks_exact_mut(d)) {
                grad[tile * COLUMNS..].iter_mut().zip(sums).for_each(|(g, s)| *g = s.wide());
            }
        }
        for ((e, x), grad) in energy.iter_mut().zip(x.chunks_exact(d)).zip(grad.chunks_exact(d)) {
            *e = 0.5 * along(x, &self.mean, grad);
        }
    }

    /// All rows, eight at a time, then four, then one.
    fn rows(&self, by: [&Block<T>; 3], x: &[f64], energy: &mut [f64], grad: &mut [f64]) {
        let (d, mut from) = (self.mean.len(), 0);
        while from < energy.len() {
            let (rows, block) = match energy.len() - from {
                8.. => (8, by[0]),
                4..8 => (4, by[1]),
                _ => (1, by[2]),
            };
            let of = from * d..(from + rows) * d;
            block(self, &x[of.clone()], &mut energy[from..from + rows], &mut grad[of]);
            from += rows;
        }
    }
}

/// Of `R` rows with a tile of columns.
#[inline(always)]
fn product<T: Number, const R: usize, const FUSED: bool>(
    rows: &[&[T]; R],
    tile: &[[T; COLUMNS]],
) -> [[T; COLUMNS]; R] {
    // Of one length to the eyes of the compiler, so that sums stay in registers.
    let mut of = [&[] as &[T]; R];
    for r in 0..R {
        of[r] = &rows[r][..tile.len()];
    }
    let mut sums = [[T::default(); COLUMNS]; R];
    for k in 0..tile.len() {
        let columns = tile[k];
        for r in 0..R {
            let y = of[r][k];
            for c in 0..COLUMNS {
                sums[r][c] = sums[r][c].plus::<FUSED>(columns[c], y);
            }
        }
    }
    sums
}

/// Slopes of a number of rows.
type Block<T> = dyn Fn(&Quadratic<T>, &[f64], &mut [f64], &mut [f64]);

/// `Σ (x − m)·g`, in eight lanes.
#[inline(always)]
fn along(x: &[f64], m: &[f64], g: &[f64]) -> f64 {
    let ((x, x_rest), (m, m_rest), (g, g_rest)) =
        (x.as_chunks::<8>(), m.as_chunks::<8>(), g.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for ((x, m), g) in x.iter().zip(m).zip(g) {
        (0..8).for_each(|l| lanes[l] += (x[l] - m[l]) * g[l]);
    }
    let rest = x_rest.iter().zip(m_rest).zip(g_rest).map(|((x, m), g)| (x - m) * g);
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

macro_rules! row_slopes {
    ($number:ty) => {
        impl RowSlopes for Quadratic<$number> {
            fn slopes(&self, x: &[f64], energy: &mut [f64], grad: &mut [f64]) -> Result<()> {
                type Form = Quadratic<$number>;
                widened! {
                    fn eight(q: &Form, x: &[f64], e: &mut [f64], g: &mut [f64]) = Form::block::<8, false>, Form::block::<8, true>
                }
                widened! {
                    fn four(q: &Form, x: &[f64], e: &mut [f64], g: &mut [f64]) = Form::block::<4, false>, Form::block::<4, true>
                }
                widened! {
                    fn one(q: &Form, x: &[f64], e: &mut [f64], g: &mut [f64]) = Form::block::<1, false>, Form::block::<1, true>
                }
                self.rows([&eight, &four, &one], x, energy, grad);
                Ok(())
            }
        }
    };
}

row_slopes!(f32);
row_slopes!(f64);

/// The form of a diagonal precision matrix: `E = ½ Σ (a_i y_i)²`.
pub(crate) struct Axes {
    pub(crate) mean: Vec<f64>,
    /// Precision of each coordinate.
    pub(crate) precision: Vec<f64>,
}

impl RowSlopes for Axes {
    fn slopes(&self, x: &[f64], energy: &mut [f64], grad: &mut [f64]) -> Result<()> {
        let d = self.mean.len();
        for ((e, x), grad) in energy.iter_mut().zip(x.chunks_exact(d)).zip(grad.chunks_exact_mut(d)) {
            *e = axes(x, &self.mean, &self.precision, grad);
        }
        Ok(())
    }
}

/// `g = p·(x − m)`, and the energy.
#[inline(always)]
fn axes_plain(x: &[f64], m: &[f64], p: &[f64], g: &mut [f64]) -> f64 {
    g.iter_mut().zip(x).zip(m).zip(p).for_each(|(((g, x), m), p)| *g = p * (x - m));
    0.5 * along(x, m, g)
}

widened! {
    fn axes(x: &[f64], m: &[f64], p: &[f64], g: &mut [f64]) -> f64 = axes_plain, axes_plain
}
