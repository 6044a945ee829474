//! The same on many tensors at once: what an update does to each parameter, without a launch for each.

use candle_core::{Result, Tensor};

use super::{Elementwise, Formula, map_entries, operators};

/// Operations on lists of tensors, of any shapes, in f32.
pub trait ManyOps: Send + Sync {
    /// The outputs of `program` for each of `rows`, whose tensors have one shape each; see
    /// [`ElementwiseOps::map`](super::ElementwiseOps::map), whose bits these are.
    ///
    /// # Errors
    /// If the device fails.
    fn map(
        &self,
        program: &Elementwise,
        numbers: &[f64],
        rows: &[Vec<&Tensor>],
    ) -> Result<Option<Vec<Vec<Tensor>>>>;

    /// Sums of squares of each first tensor, less the second where there is one: `(n,)`.
    ///
    /// # Errors
    /// If the device fails.
    fn squares(&self, pairs: &[(&Tensor, Option<&Tensor>)]) -> Result<Option<Tensor>>;

    /// Writes each first tensor over the second, which has its shape. False where it is not covered, and nothing was written.
    ///
    /// # Errors
    /// If the device fails.
    fn copy(&self, pairs: &[(&Tensor, &Tensor)]) -> Result<bool>;
}

/// [`map_entries`] of each of `rows`: by one kernel for all of them where the device has [`ManyOps`].
///
/// # Errors
/// If shapes differ within a row or an operation fails.
pub fn map_each<F: Formula<K, N, M>, const K: usize, const N: usize, const M: usize>(
    formula: &F,
    rows: &[[&Tensor; N]],
) -> Result<Vec<[Tensor; M]>> {
    let device = rows.first().and_then(|row| row.first()).map(|t| t.device());
    if let Some(many) = device.and_then(operators).and_then(|o| o.many.clone()) {
        let lists: Vec<Vec<&Tensor>> = rows.iter().map(|row| row.to_vec()).collect();
        if let Some(done) = many.map(&Elementwise::of::<F, K, N, M>(), &formula.numbers(), &lists)? {
            let exactly = |all: Vec<Tensor>| {
                all.try_into().map_err(|all: Vec<Tensor>| {
                    candle_core::Error::Msg(format!("a formula of {M} results gave {}", all.len()))
                })
            };
            return done.into_iter().map(exactly).collect();
        }
    }
    rows.iter().map(|row| map_entries(formula, *row)).collect()
}
