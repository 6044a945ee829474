//! Slopes at places of some rows of a batch, where a kernel's own arithmetic is on the processor in f64.

use ebm_core::candle::{DType, Device, Tensor, WithDType};
use ebm_core::{Batch, EnergyFn, Result, RowSlopes, Slope, host};
use rayon::prelude::*;

/// Asks an energy for slopes of those rows of a batch that still need some; in the samples' type are only the places themselves.
pub(crate) struct Places<'a> {
    e: &'a dyn EnergyFn,
    at: &'a Batch,
    rows: Vec<usize>,
    part: Batch,
}

impl<'a> Places<'a> {
    pub(crate) fn new(e: &'a dyn EnergyFn, at: &'a Batch) -> Self {
        Places { e, at, rows: (0..at.len()).collect(), part: at.clone() }
    }

    /// Energies and gradients of `rows` at `points`, one row after the other.
    ///
    /// # Errors
    /// If the energy fails.
    pub(crate) fn slopes(&mut self, rows: &[usize], points: Vec<f64>) -> Result<(Vec<f64>, Vec<f64>)> {
        if rows != self.rows {
            let index: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
            self.part = if rows.len() == self.at.len() { self.at.clone() } else { self.at.rows(&index)? };
            rows.clone_into(&mut self.rows);
        }
        let slope = self.e.slope(&self.part.with_x(samples(points, &self.part)?))?;
        Ok((host::numbers(&slope.energy)?, host::numbers(&slope.grad)?))
    }
}

/// The slopes of rows of `e`, if it has them and there is a number to move.
///
/// # Errors
/// If the batch does not fit the energy.
pub(crate) fn row_slopes<'a>(e: &'a dyn EnergyFn, at: &Batch) -> Result<Option<Box<dyn RowSlopes + 'a>>> {
    if at.x.elem_count() == 0 { Ok(None) } else { e.rows(at) }
}

/// Fewest rows that are worth a thread.
const SHARE: usize = 4;

/// Calls `run` with all of `rows`, or with parts of them on several threads, each with the number of its first row. Parts depend on how
/// many threads there are, so no row may see another one of its part.
///
/// # Errors
/// The first of the errors of the parts.
pub(crate) fn shares<T: Send>(
    rows: &mut [T],
    run: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    let part = rows.len().div_ceil(rayon::current_num_threads()).max(SHARE);
    if part >= rows.len() {
        return run(0, rows);
    }
    let parts = rows.par_chunks_mut(part).enumerate();
    parts.map(|(i, part_of)| run(i * part, part_of)).collect::<Vec<_>>().into_iter().collect()
}

/// Rows of f64 as samples like those of `like`.
///
/// # Errors
/// If a tensor cannot be made.
pub(crate) fn samples(rows: Vec<f64>, like: &Batch) -> Result<Tensor> {
    match like.dtype() {
        DType::F64 => shaped(rows, like),
        _ => gathered([rows.as_slice()], like),
    }
}

/// The same of rows that lie apart.
///
/// # Errors
/// If a tensor cannot be made.
pub(crate) fn gathered<'a>(rows: impl IntoIterator<Item = &'a [f64]>, like: &Batch) -> Result<Tensor> {
    fn all<'a, T: Copy>(
        rows: impl IntoIterator<Item = &'a [f64]>,
        n: usize,
        of: impl Fn(f64) -> T,
    ) -> Vec<T> {
        let mut all = Vec::with_capacity(n);
        rows.into_iter().for_each(|row| all.extend(row.iter().map(|v| of(*v))));
        all
    }
    let n = like.x.elem_count();
    match like.dtype() {
        DType::F32 => shaped(all(rows, n, |v| v as f32), like),
        _ => shaped(all(rows, n, |v| v), like),
    }
}

fn shaped<T: WithDType>(numbers: Vec<T>, like: &Batch) -> Result<Tensor> {
    let t = Tensor::from_vec(numbers, like.x.shape(), &Device::Cpu)?;
    Ok(t.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// The slope of energies and gradients of rows like those of `like`, energies in `dtype`.
///
/// # Errors
/// If a tensor cannot be made.
pub(crate) fn slope(energies: Vec<f64>, grads: Vec<f64>, like: &Batch, dtype: DType) -> Result<Slope> {
    Ok(Slope { energy: one_a_row(energies, like, dtype)?, grad: samples(grads, like)? })
}

/// A number of each row of `like` in `dtype`, `(B,)`, where its samples are.
///
/// # Errors
/// If a tensor cannot be made.
pub(crate) fn one_a_row(all: Vec<f64>, like: &Batch, dtype: DType) -> Result<Tensor> {
    let all = match dtype {
        DType::F32 => {
            Tensor::from_vec(all.into_iter().map(|v| v as f32).collect(), like.len(), &Device::Cpu)?
        }
        _ => Tensor::from_vec(all, like.len(), &Device::Cpu)?.to_dtype(dtype)?,
    };
    Ok(all.to_device(like.device())?)
}

/// A number for each of `n` rows, `(B,)` in f64.
///
/// # Errors
/// If a tensor cannot be made.
pub(crate) fn numbers(n: usize, f: impl Fn(usize) -> f64) -> Result<Tensor> {
    Ok(Tensor::from_vec((0..n).map(f).collect::<Vec<f64>>(), n, &Device::Cpu)?)
}
