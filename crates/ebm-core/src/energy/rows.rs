//! Slopes of rows as plain numbers, for kernels that move a few numbers at a time.

use crate::Result;

/// An energy of single rows without tensors, as [`EnergyFn::rows`](crate::EnergyFn::rows) hands it out; tensors of a few rows
/// take ten times as long as their numbers.
///
/// ```
/// use ebm_core::{Result, RowSlopes};
///
/// /// E(x) = |x|²/2 in two coordinates.
/// struct Bowl;
/// impl RowSlopes for Bowl {
///     fn slopes(&self, x: &[f64], energy: &mut [f64], grad: &mut [f64]) -> Result<()> {
///         grad.copy_from_slice(x);
///         energy.iter_mut().zip(x.chunks_exact(2)).for_each(|(e, x)| *e = 0.5 * (x[0] * x[0] + x[1] * x[1]));
///         Ok(())
///     }
/// }
/// let (mut energy, mut grad) = ([0.0], [0.0; 2]);
/// Bowl.slopes(&[3.0, 4.0], &mut energy, &mut grad)?;
/// assert_eq!((energy, grad), ([12.5], [3.0, 4.0]));
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub trait RowSlopes: Sync {
    /// Energies `(n,)`, nats, of the `n` flattened samples `x` `(n, D)`, row by row, and their gradients `(n, D)`. What a row gets does not
    /// depend, to the last bit, on the rows that are asked for with it: callers group them as they like, on several threads.
    ///
    /// # Errors
    /// If the energy fails.
    fn slopes(&self, x: &[f64], energy: &mut [f64], grad: &mut [f64]) -> Result<()>;
}
