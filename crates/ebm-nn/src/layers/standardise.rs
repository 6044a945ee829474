//! Weight standardisation (Qiao et al. 2019), in the published program's form.

use candle_core::{Result, Tensor};
use ebm_core::bounds::at_least;

use super::norm::centred;

/// Floor of the variance: the root has no slope at 0. A filter of equal weights is 0, and so is the slope through its deviation.
const FLOOR: f64 = 1e-30;

/// `(w − mean)/(std + 1e−5)` for each output channel of `w` `(O, C, k, k)`: the unbiased
/// deviation, the constant added outside the root. Gradients flow through mean and deviation.
///
/// # Errors
/// If a channel has fewer than two weights.
pub fn standardised(w: &Tensor) -> Result<Tensor> {
    let (o, c, k, k2) = w.dims4()?;
    let n = c * k * k2;
    if n < 2 {
        candle_core::bail!("weight standardisation: found {n} weight a channel, wanted two or more");
    }
    let flat = w.reshape((o, n))?;
    let centred = centred(&flat)?;
    let variance = (centred.sqr()?.sum_keepdim(1)? / (n - 1) as f64)?;
    let scale = (at_least(&variance, FLOOR)?.sqrt()? + 1e-5)?.recip()?;
    centred.broadcast_mul(&scale)?.reshape((o, c, k, k2))
}
