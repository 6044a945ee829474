//! Arrays of `f32` `(N, D…)`: points, feature vectors, anything that is not a byte image.

use crate::{DataError, Result};

/// `N` samples of one shape, row-major.
///
/// ```
/// use ebm_data::ArraySet;
/// let points = ArraySet::new(vec![0.0, 1.0, 2.0, 3.0], vec![2, 2])?;
/// assert_eq!(points.sample(1), Some(&[2.0, 3.0][..]));
/// # Ok::<(), ebm_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ArraySet {
    data: Vec<f32>,
    dims: Vec<usize>,
}

impl ArraySet {
    /// Samples from their values and the whole shape `(N, D…)`; `(N,)` holds scalars.
    ///
    /// # Errors
    /// If the shape is empty, a size beyond the first is 0, or the product is not the number of values.
    pub fn new(data: Vec<f32>, dims: Vec<usize>) -> Result<Self> {
        let product = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        if dims.is_empty() || dims[1..].contains(&0) || product != Some(data.len()) {
            return Err(DataError::mismatch(
                "an array",
                format!("{} values with shape {dims:?}", data.len()),
                "a shape (N, D…) whose product is the number of values",
            ));
        }
        Ok(Self { data, dims })
    }

    /// Number of samples N.
    pub fn len(&self) -> usize {
        self.dims[0]
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole shape `(N, D…)`.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of values of one sample.
    pub fn sample_len(&self) -> usize {
        self.dims[1..].iter().product()
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.data
    }

    /// All values, row-major, by value.
    pub fn into_values(self) -> Vec<f32> {
        self.data
    }

    /// The values `(D…)` of sample `i`, or `None` past the end.
    pub fn sample(&self, i: usize) -> Option<&[f32]> {
        let n = self.sample_len();
        self.data.get(i.checked_mul(n)?..i.checked_add(1)?.checked_mul(n)?)
    }

    /// The samples at `indices`, in that order, repeats allowed.
    ///
    /// # Errors
    /// If an index is not below [`len`](Self::len).
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let mut data = Vec::with_capacity(indices.len().saturating_mul(self.sample_len()));
        for &i in indices {
            data.extend_from_slice(self.sample(i).ok_or_else(|| {
                DataError::mismatch("index of a sample", i.to_string(), format!("below {}", self.len()))
            })?);
        }
        let mut dims = self.dims.clone();
        dims[0] = indices.len();
        Ok(Self { data, dims })
    }

    /// `(training, held-out)`: samples 0, k, 2k, … are held out, see [`every`](crate::split::every).
    ///
    /// # Errors
    /// If `k` is below 2.
    pub fn split_every(&self, k: usize) -> Result<(Self, Self)> {
        let (train, held) = crate::split::every(self.len(), k)?;
        Ok((self.select(&train)?, self.select(&held)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_shape_must_hold_exactly_the_values() {
        for dims in [vec![], vec![3], vec![2, 0], vec![usize::MAX, 2], vec![0, 2]] {
            assert!(ArraySet::new(vec![0.0; 4], dims.clone()).is_err(), "{dims:?}");
        }
        assert!(ArraySet::new(vec![], vec![0, 2]).unwrap().is_empty());
    }

    #[test]
    fn a_split_takes_whole_samples() {
        let set = ArraySet::new((0..6).map(|v| v as f32).collect(), vec![3, 2]).unwrap();
        let (train, held) = set.split_every(2).unwrap();
        assert_eq!(held.values(), [0.0, 1.0, 4.0, 5.0]);
        assert_eq!((train.dims(), train.values()), (&[1, 2][..], &[2.0, 3.0][..]));
        assert_eq!(set.sample(3), None);
    }
}
