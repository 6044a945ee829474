//! What is measured: a borrowed f32 view of samples and an owned f64 table of their features.

use crate::error::{EvalError, Result, all_finite, same};

/// `n` samples of `d` numbers each, row by row, borrowed. Images are flattened `(C, H, W)`, in `[0, 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    data: &'a [f32],
    n: usize,
    d: usize,
}

impl<'a> Samples<'a> {
    /// View of `data`, `(n, d)` row-major.
    ///
    /// Errs if the length is not `n d`, if `d` is 0, or on a NaN or infinity (a diverged chain must be dropped
    /// or repaired by the caller, and said so: no measure here ignores rows in silence).
    pub fn new(data: &'a [f32], n: usize, d: usize) -> Result<Self> {
        if d == 0 || n.checked_mul(d) != Some(data.len()) {
            return Err(EvalError::Shape { what: "samples", found: data.len(), rows: n, width: d });
        }
        match data.iter().position(|v| !v.is_finite()) {
            None => Ok(Self { data, n, d }),
            Some(i) => Err(EvalError::NotFinite { what: "samples", index: i, value: f64::from(data[i]) }),
        }
    }

    /// Number of samples.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Numbers a sample.
    pub fn d(&self) -> usize {
        self.d
    }

    /// All values, row by row.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// Sample `i`, `(d)`. Panics if `i >= n`, as slices do.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.d..(i + 1) * self.d]
    }

    /// The samples `from..to`, both cut to `n`.
    pub fn slice(&self, from: usize, to: usize) -> Samples<'a> {
        let to = to.min(self.n);
        let from = from.min(to);
        Samples { data: &self.data[from * self.d..to * self.d], n: to - from, d: self.d }
    }

    /// The first `n / 2` samples and the rest.
    pub fn halves(&self) -> (Samples<'a>, Samples<'a>) {
        (self.slice(0, self.n / 2), self.slice(self.n / 2, self.n))
    }

    /// The values themselves as features, widened to f64.
    pub fn features(&self) -> Features {
        Features { data: self.data.iter().map(|&v| f64::from(v)).collect(), n: self.n, d: self.d }
    }
}

/// `n` feature vectors of `d` numbers each, row by row, owned: what the distances between sets compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    data: Vec<f64>,
    n: usize,
    d: usize,
}

impl Features {
    /// Table over `data`, `(n, d)` row-major. Errs like [`Samples::new`].
    pub fn new(data: Vec<f64>, n: usize, d: usize) -> Result<Self> {
        if d == 0 || n.checked_mul(d) != Some(data.len()) {
            return Err(EvalError::Shape { what: "features", found: data.len(), rows: n, width: d });
        }
        all_finite("features", &data)?;
        Ok(Self { data, n, d })
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Numbers a row.
    pub fn d(&self) -> usize {
        self.d
    }

    /// All values, row by row.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// Row `i`, `(d)`. Panics if `i >= n`, as slices do.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.d..(i + 1) * self.d]
    }
}

/// Errs unless both tables have the same width.
pub(crate) fn same_width(a: &Features, b: &Features) -> Result<()> {
    same("width of the first features", a.d, b.d, "the second")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_view_keeps_rows_apart() {
        let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let s = Samples::new(&data, 3, 2).unwrap();
        assert_eq!(s.row(1), &[3.0, 4.0]);
        assert_eq!(s.slice(1, 9).data(), &data[2..]);
        assert_eq!(s.slice(7, 9).n(), 0);
        assert_eq!((s.halves().0.n(), s.halves().1.row(0)), (1, s.row(1)));
        assert_eq!(s.features().row(2), &[5.0, 6.0]);
    }

    #[test]
    fn wrong_lengths_and_diverged_values_are_named() {
        let e = Samples::new(&[0.0; 5], 2, 3).unwrap_err().to_string();
        assert_eq!(e, "samples: found 5 values, wanted 2 rows of 3");
        assert!(Samples::new(&[], 0, 0).is_err());
        let e = Samples::new(&[0.0, f32::NAN], 1, 2).unwrap_err().to_string();
        assert!(e.starts_with("samples: value 1 is NaN"), "{e}");
        assert!(Features::new(vec![f64::INFINITY], 1, 1).is_err());
    }
}
