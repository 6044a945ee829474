//! The quadratic form of a normal density on blocks of rows: one product with the precision matrix a row.

use ebm_core::{Result, RowNumber, RowProduct, RowSlopes, widened};

/// Widest sample whose matrix is packed for rows; beyond it tensor products are as good.
pub(crate) const WIDEST: usize = 512;

/// `E = ½ yᵀPy`, `∇E = Py` with `y = x − μ` and a full precision matrix `P`, multiplied in numbers of type `T`.
pub(crate) struct Quadratic<T> {
    mean: Vec<f64>,
    precision: RowProduct<T>,
}

impl<T: RowNumber> Quadratic<T> {
    /// From the whitening matrix `A` `(D, D)`, row by row: `P = AᵀA`, summed in f64.
    pub(crate) fn whitened_by(a: &[f64], mean: Vec<f64>) -> Self {
        let d = mean.len();
        let mut precision = vec![0.0; d * d];
        for row in a.chunks_exact(d.max(1)) {
            for (v, out) in row.iter().zip(precision.chunks_exact_mut(d)) {
                out.iter_mut().zip(row).for_each(|(o, w)| *o += v * w);
            }
        }
        Quadratic { precision: RowProduct::of(&precision, mean.clone()), mean }
    }
}

impl<T: RowNumber> RowSlopes for Quadratic<T> {
    fn slopes(&self, x: &[f64], energy: &mut [f64], grad: &mut [f64]) -> Result<()> {
        self.precision.times(x, grad);
        halves(x, &self.mean, grad, energy);
        Ok(())
    }
}

/// `½ Σ (x − m)·g` of each row.
#[inline(always)]
fn halves_plain(x: &[f64], m: &[f64], g: &[f64], energy: &mut [f64]) {
    for ((e, x), g) in energy.iter_mut().zip(x.chunks_exact(m.len())).zip(g.chunks_exact(m.len())) {
        *e = 0.5 * along(x, m, g);
    }
}

widened! {
    fn halves(x: &[f64], m: &[f64], g: &[f64], energy: &mut [f64]) = halves_plain, halves_plain
}

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
