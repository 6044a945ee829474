//! Everything that is asked of an entropy estimator.

use ebm_core::candle::{DType, Tensor};
use ebm_core::{EntropyEstimator, Key, Result};

use super::targets::{normal, numbers, sum};
use crate::difference::relative_gap;
use crate::gap::x_gap;
use crate::{Failure, Verdict};

/// Checks `estimator` on samples of `shape`:
///
/// 1. one value a sample, a gradient of the shape of the samples, the same for the same key;
/// 2. the gradient is that of the *mean* of the values, against central differences to 1e−6, the bank held fixed;
/// 3. samples in another order give their values and gradients in that order, the bank in another order the same to rounding;
/// 4. samples twice as far from the bank have a larger entropy: the sign is that of an entropy, not of its negative;
/// 5. it works with the smallest bank that it states, and refuses an empty one.
///
/// # Errors
/// Names the first law that fails.
pub fn entropy(estimator: &dyn EntropyEstimator, shape: &[usize]) -> Verdict {
    let name = estimator.name();
    let rows = 5;
    let size = estimator.smallest_bank().max(9);
    let (x, bank) = (normal(shape, rows, Key::root(1))?, normal(shape, size, Key::root(2))?);
    let of = |x: &Tensor, bank: &Tensor| estimator.estimate(x, bank, Key::root(3));
    let found = of(&x, &bank)?;
    Failure::unless(found.value.dims() == [rows] && found.grad.dims() == x.dims(), || {
        format!(
            "{name}: values have shape {:?} and the gradient {:?}, wanted ({rows},) and {:?}",
            found.value.dims(),
            found.grad.dims(),
            x.dims()
        )
    })?;
    let again = of(&x, &bank)?;
    let gap = relative_gap(&found.value, &again.value)?.max(relative_gap(&found.grad, &again.grad)?);
    Failure::unless(gap == 0.0, || {
        format!("{name}: the same samples, bank and key gave two results, {gap:.3e} apart")
    })?;
    let mean = |x: &Tensor| -> Result<f64> { Ok(sum(&of(x, &bank)?.value)? / rows as f64) };
    let gap = x_gap(&found.grad, &x, 1e-5, 1e-6, mean)?;
    Failure::unless(gap.relative() <= 1e-6, || {
        format!(
            "{name}: the gradient deviates from differences of the mean of the values by {:.3e} relative, at {} (differences); it is the \
             gradient of the mean, so it has a factor 1/B, and the sign of the value",
            gap.relative(),
            gap.at
        )
    })?;
    let turn = |t: &Tensor| -> Result<Tensor> {
        let index: Vec<u32> = (0..t.dims()[0] as u32).rev().collect();
        Ok(t.index_select(&Tensor::new(index.as_slice(), t.device())?, 0)?)
    };
    let turned = of(&turn(&x)?, &bank)?;
    let gap = relative_gap(&turned.value, &turn(&found.value)?)?
        .max(relative_gap(&turned.grad, &turn(&found.grad)?)?);
    Failure::unless(gap <= 1e-11, || {
        format!(
            "{name}: samples in another order have other values or gradients, by {gap:.3e}; a row is estimated by itself"
        )
    })?;
    let other = of(&x, &turn(&bank)?)?;
    let gap = relative_gap(&other.value, &found.value)?;
    Failure::unless(gap <= 1e-9, || {
        format!("{name}: a bank in another order gives another estimate, by {gap:.3e}; a set has no order")
    })?;
    let far = of(&x.affine(4.0, 0.0)?, &bank)?;
    let (near, far) = (sum(&found.value)? / rows as f64, sum(&far.value)? / rows as f64);
    Failure::unless(far > near, || {
        format!(
            "{name}: samples four times as wide have the entropy {far:.4}, less than {near:.4}; the sign is turned"
        )
    })?;
    let least = estimator.smallest_bank();
    let small = of(&x, &normal(shape, least, Key::root(4))?)
        .map_err(|e| Failure::new(format!("{name}: states that a bank of {least} is enough, but: {e}")))?;
    let all = numbers(&small.value)?;
    Failure::unless(all.iter().all(|v| v.is_finite()), || {
        format!("{name}: with the smallest bank of {least} values are {all:?}")
    })?;
    let single = estimator.estimate(&x.to_dtype(DType::F32)?, &bank.to_dtype(DType::F32)?, Key::root(3));
    let single = single.map_err(|e| Failure::new(format!("{name}: in single precision: {e}")))?;
    let gap = relative_gap(&single.grad, &found.grad)?;
    Failure::unless(gap <= 1e-3, || format!("{name}: in single precision gradients are {gap:.3e} off"))
}
