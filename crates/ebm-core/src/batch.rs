//! A batch of samples with its condition and the identity of its chains.

use candle_core::{DType, Device, Tensor};

use crate::{Chains, Error, Result};

/// `B` samples `(B, ...)`, an optional condition `(B, n)`, and the chain index of each row.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Batch {
    /// Samples, `(B, ...)`.
    pub x: Tensor,
    /// Condition (a label vector for each row), `(B, n)`.
    pub cond: Option<Tensor>,
    /// Which global chain each row is; selects its random stream.
    pub chains: Chains,
}

impl Batch {
    /// A batch of samples without condition; rows are chains `0..B`.
    ///
    /// # Errors
    /// If `x` has no batch axis.
    pub fn new(x: Tensor) -> Result<Self> {
        let rows = match x.dims() {
            [] => return Err(Error::shape("batch", &[], "(B, ...)", "put the samples along the first axis")),
            dims => dims[0],
        };
        Ok(Batch { x, cond: None, chains: Chains::range(0, rows) })
    }

    /// The same rows with other sample values of the same number of rows.
    #[must_use]
    pub fn with_x(&self, x: Tensor) -> Self {
        Batch { x, cond: self.cond.clone(), chains: self.chains.clone() }
    }

    /// The same rows under the condition `(B, n)`.
    #[must_use]
    pub fn with_cond(mut self, cond: Option<Tensor>) -> Self {
        self.cond = cond;
        self
    }

    /// The same rows as these chains.
    #[must_use]
    pub fn with_chains(mut self, chains: Chains) -> Self {
        self.chains = chains;
        self
    }

    /// Number of rows `B`.
    pub fn len(&self) -> usize {
        self.x.dims().first().copied().unwrap_or(0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        self.x.dims().get(1..).unwrap_or(&[])
    }

    /// Number type of the samples.
    pub fn dtype(&self) -> DType {
        self.x.dtype()
    }

    /// Device of the samples.
    pub fn device(&self) -> &Device {
        self.x.device()
    }

    /// Rows `start .. start + count`.
    ///
    /// # Errors
    /// If the rows are out of range.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        Ok(Batch {
            x: self.x.narrow(0, start, count)?,
            cond: self.cond.as_ref().map(|c| c.narrow(0, start, count)).transpose()?,
            chains: self.chains.narrow(start, count),
        })
    }

    /// The rows of these numbers, in their order.
    ///
    /// # Errors
    /// If a row is out of range.
    pub fn rows(&self, index: &[u32]) -> Result<Self> {
        let pick = |t: &Tensor| t.index_select(&Tensor::from_slice(index, index.len(), t.device())?, 0);
        let x = pick(&self.x)?;
        let ids = index.iter().map(|&row| self.chains.ids()[row as usize]).collect();
        Ok(Batch { x, cond: self.cond.as_ref().map(pick).transpose()?, chains: Chains::from_ids(ids) })
    }

    /// All rows of all batches, in order. Conditions must be present in all or in none.
    ///
    /// # Errors
    /// If shapes differ, or only some parts have a condition.
    pub fn cat(parts: &[&Batch]) -> Result<Self> {
        let xs: Vec<&Tensor> = parts.iter().map(|b| &b.x).collect();
        let conds: Vec<&Tensor> = parts.iter().filter_map(|b| b.cond.as_ref()).collect();
        let cond = match conds.len() {
            0 => None,
            n if n == parts.len() => Some(Tensor::cat(&conds, 0)?),
            _ => {
                return Err(Error::config(
                    "condition",
                    "some batches have a condition and some have none; give it to all or to none",
                ));
            }
        };
        let ids = parts.iter().flat_map(|b| b.chains.ids().iter().copied()).collect();
        Ok(Batch { x: Tensor::cat(&xs, 0)?, cond, chains: Chains::from_ids(ids) })
    }
}

/// Reshapes `(B,)` to `(B, 1, ...)` so that it broadcasts over samples of the rank of `like`.
///
/// # Errors
/// If `per_row` has not one entry a row.
pub fn per_row(per_row: &Tensor, like: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; like.rank()];
    shape[0] = per_row.elem_count();
    Ok(per_row.reshape(shape)?)
}

/// Sum over the coordinates of each row, `(B,)`.
///
/// # Errors
/// If an operation fails.
pub fn row_sum(t: &Tensor) -> Result<Tensor> {
    Ok(wide(&flat_rows(t)?, |t| t.sum(1))?)
}

/// Mean over the coordinates of each row, `(B,)`.
///
/// # Errors
/// If an operation fails.
pub fn row_mean(t: &Tensor) -> Result<Tensor> {
    Ok(wide(&flat_rows(t)?, |t| t.mean(1))?)
}

/// A sum or mean `f` of `t`, of half-precision numbers in single precision: their sums stand still where a part is a few hundred
/// times the next number (in bf16 a thousand ones add up to 256).
pub(crate) fn wide(
    t: &Tensor,
    f: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> candle_core::Result<Tensor> {
    match t.dtype() {
        DType::BF16 | DType::F16 => f(&t.to_dtype(DType::F32)?)?.to_dtype(t.dtype()),
        _ => f(t),
    }
}

/// The rows of `t` `(B, ...)` as vectors: `(B, D)`, for no rows too.
///
/// # Errors
/// If an operation fails.
pub fn flat_rows(t: &Tensor) -> Result<Tensor> {
    let b = t.dims().first().copied().unwrap_or(0);
    Ok(t.reshape((b, t.elem_count() / b.max(1)))?)
}

/// 1 where `low ≤ t ≤ high` (bounds included), else 0, in the dtype of `t`.
///
/// # Errors
/// If an operation fails.
pub fn within(t: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    Ok((t.ge(low)? * t.le(high)?)?.to_dtype(t.dtype())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Diff, sum_of_squares};

    #[test]
    fn sums_of_half_precision_do_not_stand_still() {
        for dtype in [DType::BF16, DType::F16] {
            let ones = Tensor::ones((2, 4000), dtype, &Device::Cpu).unwrap();
            let single =
                |t: Tensor| t.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(single(row_sum(&ones).unwrap()), [4000.0; 2]);
            assert_eq!(single(row_mean(&ones).unwrap()), [1.0; 2]);
            assert_eq!(single(ones.sum_last().unwrap()), [4000.0; 2]);
            assert_eq!(single(ones.mean_last().unwrap()), [1.0; 2]);
            assert_eq!(sum_of_squares(&ones).unwrap(), 8000.0);
        }
    }
}
