//! Weights of the terms of a pass, of which `grad_theta` takes the gradient: Σ w_bt·E_t(x_b).

use std::ops::Range;

use candle_core::Tensor;

use crate::Result;

/// Weights of some rows, `(rows, T)`, from the terms of these rows alone, `(rows, T)`; told which rows of the batch they are.
pub type RowWeights<'a> = dyn Fn(Range<usize>, &Tensor) -> Result<Tensor> + Send + Sync + 'a;

/// Weights `(B, T)` from the terms `(B, T)` of the whole batch.
pub type AllWeights<'a> = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'a;

/// Weights `(B, T)` as a function of the terms `(B, T)` of the same pass.
///
/// Where the weights of a row are a function of this row alone, say so: an engine then asks for them part by part, and goes back through a
/// part while its maps are in memory. Weights of all rows together need the terms of the whole batch first, for which the processor's
/// convolutional engine runs forward once more.
///
/// ```
/// # use ebm_core::WeightFn;
/// # use ebm_core::candle::{Device, Tensor};
/// let terms = Tensor::new(&[[1f64], [3.0]], &Device::Cpu)?;
/// let squares = WeightFn::by_row(|_, terms| Ok((terms * 2.0)?));
/// let softmax = WeightFn::of_all(|terms| Ok(terms.exp()?.broadcast_div(&terms.exp()?.sum_all()?)?));
/// assert_eq!(squares.of(&terms)?.to_vec2::<f64>()?, [[2.0], [6.0]]);
/// assert!(squares.is_by_row() && !softmax.is_by_row());
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub enum WeightFn<'a> {
    /// The weights of each row are a function of this row alone. Called for parts of a batch, in any order, on any thread, perhaps while the
    /// energy is busy: it must not call the energy.
    ByRow(Box<RowWeights<'a>>),
    /// The weights of a row look at other rows. Called once, with all of them.
    OfAll(Box<AllWeights<'a>>),
}

impl<'a> WeightFn<'a> {
    /// Weights of which each row's are a function of this row alone; see [`WeightFn::ByRow`].
    pub fn by_row(f: impl Fn(Range<usize>, &Tensor) -> Result<Tensor> + Send + Sync + 'a) -> Self {
        WeightFn::ByRow(Box::new(f))
    }

    /// Weights that may look at all rows; see [`WeightFn::OfAll`].
    pub fn of_all(f: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'a) -> Self {
        WeightFn::OfAll(Box::new(f))
    }

    /// The weights `w` `(B, T)`, whatever the terms are.
    pub fn fixed(w: Tensor) -> Self {
        WeightFn::by_row(move |rows, _| Ok(w.narrow(0, rows.start, rows.len())?))
    }

    /// 1 for every term of every row.
    pub fn ones() -> Self {
        WeightFn::by_row(|_, terms| Ok(terms.ones_like()?))
    }

    /// Whether each row's weights are a function of this row alone.
    pub fn is_by_row(&self) -> bool {
        matches!(self, WeightFn::ByRow(_))
    }

    /// The weights of a whole batch with these terms `(B, T)`.
    ///
    /// # Errors
    /// Those of the function.
    pub fn of(&self, terms: &Tensor) -> Result<Tensor> {
        self.of_rows(0..terms.dim(0)?, terms)
    }

    /// The weights of these rows of a batch with these terms `(rows, T)`; of weights that look at all rows it must be asked with all of them.
    ///
    /// # Errors
    /// Those of the function.
    pub fn of_rows(&self, rows: Range<usize>, terms: &Tensor) -> Result<Tensor> {
        match self {
            WeightFn::ByRow(f) => f(rows, terms),
            WeightFn::OfAll(f) => f(terms),
        }
    }

    /// The same weights, for whoever takes them by value.
    pub fn borrowed(&self) -> WeightFn<'_> {
        match self {
            WeightFn::ByRow(f) => WeightFn::by_row(f),
            WeightFn::OfAll(f) => WeightFn::of_all(f),
        }
    }

    /// Weights around these: `f` is told the rows, sees their terms, and gets a call of these weights for as many rows. They are by row if
    /// these are, so `f` must look at each row alone.
    #[must_use]
    pub fn around(
        self,
        f: impl Fn(Range<usize>, &Tensor, &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> + Send + Sync + 'a,
    ) -> WeightFn<'a> {
        match self {
            WeightFn::ByRow(own) => {
                WeightFn::by_row(move |rows, terms| f(rows.clone(), terms, &|terms| own(rows.clone(), terms)))
            }
            WeightFn::OfAll(own) => WeightFn::of_all(move |terms| f(0..terms.dim(0)?, terms, &*own)),
        }
    }

    /// The weights of `factor` times the energy, as a function of the energy's terms: `factor · w(factor · terms)`.
    #[must_use]
    pub fn of_scaled(self, factor: f64) -> WeightFn<'a> {
        self.around(move |_, terms, w| Ok(w(&terms.affine(factor, 0.0)?)?.affine(factor, 0.0)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;

    use super::*;

    fn terms() -> Tensor {
        Tensor::new(&[[1f64, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap()
    }

    /// What wraps weights keeps their form, and hands the rows on.
    #[test]
    fn weights_around_weights_are_asked_for_the_same_rows() {
        let fixed = WeightFn::fixed((terms() * 10.0).unwrap());
        let scaled = fixed.borrowed().of_scaled(2.0);
        let WeightFn::ByRow(part) = &scaled else { panic!("no longer by row") };
        let rows = part(1..3, &terms().narrow(0, 1, 2).unwrap()).unwrap();
        assert_eq!(rows.to_vec2::<f64>().unwrap(), [[60.0, 80.0], [100.0, 120.0]]);
        let squares = WeightFn::of_all(|t| Ok(t.sqr()?)).of_scaled(2.0);
        assert!(!squares.is_by_row());
        assert_eq!(squares.of(&terms()).unwrap().to_vec2::<f64>().unwrap()[0], [8.0, 32.0]);
    }
}
