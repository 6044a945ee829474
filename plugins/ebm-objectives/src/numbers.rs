//! Means over the rows of a batch of which a part may be here, as the terms take them.

use ebm_core::candle::{D, Tensor};
use ebm_core::{Error, Portion, Result, StepInput, host};

/// The sum of all entries, read from the device.
pub(crate) fn sum(t: &Tensor) -> Result<f64> {
    host::scalar(&t.sum_all()?)
}

/// The mean of all entries.
pub(crate) fn mean(t: &Tensor) -> Result<f64> {
    Ok(sum(t)? / t.elem_count().max(1) as f64)
}

/// The energies `(B,)` of rows with these terms `(B, T)`.
pub(crate) fn total(terms: &Tensor) -> Result<Tensor> {
    Ok(terms.sum(D::Minus1)?)
}

/// One weight a row `(B,)` for each of the terms `(B, T)`.
pub(crate) fn for_terms(rows: &Tensor, terms: &Tensor) -> Result<Tensor> {
    Ok(rows.unsqueeze(1)?.broadcast_as(terms.dims())?.contiguous()?)
}

/// Entries of the whole batch of which `t` `(B, T)` are the terms of some rows.
pub(crate) fn entries(t: &Tensor, portion: Portion) -> f64 {
    (t.elem_count() / t.dims()[0].max(1) * portion.of).max(1) as f64
}

/// The samples of a step, for the objective `who`.
///
/// # Errors
/// If there are none.
pub(crate) fn samples<'a>(input: &StepInput<'a>, who: &str) -> Result<&'a ebm_core::Drawn> {
    input.drawn.ok_or_else(|| {
        Error::capability(
            format!("objective `{who}`"),
            "samples from the model",
            "the step",
            "give the run a sampler",
        )
    })
}
