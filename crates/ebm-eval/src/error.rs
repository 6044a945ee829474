//! The one error type of this crate: what was handed in and why it cannot be measured.

/// Result of every fallible measure here.
pub type Result<T> = std::result::Result<T, EvalError>;

/// Why a measure could not be taken. Every variant comes from the caller's input, none from chance.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A flat slice does not hold `rows` times `width` numbers.
    #[error("{what}: found {found} values, wanted {rows} rows of {width}")]
    Shape {
        /// Which input.
        what: &'static str,
        /// Length of the slice.
        found: usize,
        /// Rows asked for.
        rows: usize,
        /// Values a row.
        width: usize,
    },
    /// Two inputs that must have the same length or width do not.
    #[error("{what}: found {found}, wanted {wanted}, as in {other}")]
    Mismatch {
        /// Which figure of which input.
        what: &'static str,
        /// What it is.
        found: usize,
        /// What it should be.
        wanted: usize,
        /// The input that sets the wanted value.
        other: &'static str,
    },
    /// Fewer rows, draws or chains than the measure is defined for.
    #[error("{what}: found {found}, wanted at least {wanted}")]
    TooFew {
        /// Which input.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are needed.
        wanted: usize,
    },
    /// A NaN or an infinity where only finite numbers can be measured.
    #[error("{what}: value {index} is {value}, wanted finite numbers; drop or repair diverged samples first")]
    NotFinite {
        /// Which input.
        what: &'static str,
        /// Position in the flat input.
        index: usize,
        /// The value found, widened to f64.
        value: f64,
    },
    /// A setting outside its range.
    #[error("{what}: found {found}, wanted {wanted}")]
    Setting {
        /// Name of the setting.
        what: &'static str,
        /// The value found.
        found: f64,
        /// The range, in words.
        wanted: &'static str,
    },
    /// A density of the plane has no integral that can be had.
    #[error("quadrature in the plane: {0}")]
    Plane(#[from] crate::plane::refusal::PlaneRefusal),
    /// The caller's energy failed; its message is passed on.
    #[error("energy on the grid: {0}")]
    Energy(String),
    /// The eigenvalue iteration did not converge (only seen with wildly scaled features).
    #[error(
        "{what}: the eigenvalues of a {width} x {width} covariance did not converge; rescale the features"
    )]
    Eigen {
        /// Which measure.
        what: &'static str,
        /// Width of the matrix.
        width: usize,
    },
}

/// Errs on the first value of `values` that is not finite.
pub(crate) fn all_finite(what: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(EvalError::NotFinite { what, index, value: values[index] }),
    }
}

/// Errs unless `found >= wanted`.
pub(crate) fn at_least(what: &'static str, found: usize, wanted: usize) -> Result<()> {
    if found < wanted { Err(EvalError::TooFew { what, found, wanted }) } else { Ok(()) }
}

/// Errs unless `found == wanted`.
pub(crate) fn same(what: &'static str, found: usize, wanted: usize, other: &'static str) -> Result<()> {
    if found != wanted { Err(EvalError::Mismatch { what, found, wanted, other }) } else { Ok(()) }
}
