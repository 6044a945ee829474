//! The Metropolis decision and the masks that follow from it.

use ebm_core::bounds::smaller;
use ebm_core::candle::{Device, Tensor};
use ebm_core::{ChainState, Chains, Key, Learning, Link, Result, Slope, Stepped, flat_rows, per_row, within};

use super::rows::sums::mean_square;
use super::{Sizes, StepSize, rows};

/// Which proposals are taken, one decision a row.
///
/// ```
/// use ebm_core::candle::{Device, Tensor};
/// use ebm_core::{Chains, Key};
/// use ebm_samplers::kit::Decision;
///
/// let log_ratio = Tensor::new(&[0.3f64, f64::NAN, -1e9], &Device::Cpu)?;
/// let decision = Decision::draw(&log_ratio, &Chains::range(0, 3), Key::root(1).at("accept"))?;
/// assert_eq!(decision.accepted.to_vec1::<f64>()?, [1.0, 0.0, 0.0]);
/// let (new, old) = (Tensor::ones((3, 2), log_ratio.dtype(), &Device::Cpu)?, log_ratio.zeros_like()?);
/// let x = decision.select(&new, &old.unsqueeze(1)?.broadcast_as((3, 2))?)?;
/// assert_eq!(x.to_vec2::<f64>()?, [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]);
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub struct Decision {
    taken: Taken,
    /// 1 where the proposal is taken, else 0, `(B,)` in the dtype of the ratio.
    pub accepted: Tensor,
    /// `min(1, exp log_ratio)`, `(B,)`: what adaptation averages (less noisy than `accepted`).
    pub chance: Tensor,
}

/// 1 where the proposal is taken, `(B,)`.
enum Taken {
    /// As a list, where samples are on the processor.
    Rows(Vec<bool>),
    /// As a tensor of u8.
    Mask(Tensor),
}

impl Decision {
    /// Takes row `b` with probability `min(1, exp(log_ratio_b))`. A ratio that is not a number
    /// or infinite (the energy left its domain) is a rejection. `log_ratio` is `(B,)`.
    ///
    /// # Errors
    /// If an operation fails; so for all methods.
    pub fn draw(log_ratio: &Tensor, chains: &Chains, key: Key) -> Result<Self> {
        if let Some((taken, accepted, chance)) = rows::decide(log_ratio, chains, key)? {
            return Ok(Decision { taken: Taken::Rows(taken), accepted, chance });
        }
        let zero = log_ratio.zeros_like()?;
        // |r| < ∞ is false for NaN too.
        let finite = log_ratio.abs()?.lt(f64::INFINITY)?;
        let below = smaller(log_ratio, &zero)?.exp()?;
        let chance = finite.where_cond(&below, &zero)?;
        let u = key.uniform(chains, &[], log_ratio.dtype(), log_ratio.device())?;
        let taken = u.lt(&chance)?;
        Ok(Decision { accepted: taken.to_dtype(log_ratio.dtype())?, taken: Taken::Mask(taken), chance })
    }

    /// Rows of `new` `(B, ...)` where the proposal is taken, rows of `old` elsewhere.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn select(&self, new: &Tensor, old: &Tensor) -> Result<Tensor> {
        let mask = match &self.taken {
            Taken::Mask(mask) => mask.clone(),
            Taken::Rows(taken) => match rows::select(taken, new, old)? {
                Some(chosen) => return Ok(chosen),
                None => self.accepted.ne(0.0)?.to_device(new.device())?,
            },
        };
        let mask = per_row(&mask, new)?.broadcast_as(new.shape())?;
        Ok(mask.where_cond(new, old)?)
    }

    /// The step that follows: to the proposal `(x, there)` where it is taken; elsewhere the chain stays, where its slope is
    /// `here`. The slope at the end is cached; diagnostics are `energy`, `grad_square` and `accepted`.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn step(
        self,
        state: &ChainState,
        here: &Slope,
        (x, there): (&Tensor, &Slope),
        link: Link,
    ) -> Result<Stepped> {
        let slope = Slope {
            energy: self.select(&there.energy, &here.energy)?,
            grad: self.select(&there.grad, &here.grad)?,
        };
        let mut next = state.advance(self.select(x, &state.at.x)?);
        next.cache = Some(slope.clone());
        Ok(Stepped::new(next, link)
            .with("grad_square", mean_square(&slope.grad, &slope.energy)?)
            .with("energy", slope.energy)
            .with("accepted", self.accepted))
    }

    /// The mask as a factor that broadcasts over samples like `like` `(B, ...)`.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn factor(&self, like: &Tensor) -> Result<Tensor> {
        per_row(&self.accepted, like)
    }
}

/// A move whose error of the Hamiltonian, or of the log ratio, is larger has diverged (Betancourt 2017; Stan's number).
const DIVERGENT: f64 = 1000.0;

/// 1 where a move left what its step size can follow: `log_ratio` `(B,)` below −1000 or no number, or the energy at the
/// proposal not finite; else 0. A proposal that only left its box (a ratio of −∞ at a finite energy) is merely rejected.
fn divergent(log_ratio: &Tensor, energy: &Tensor) -> Result<Tensor> {
    if let Some(told) = rows::diverged(log_ratio, energy, -DIVERGENT)? {
        return Ok(told);
    }
    // Comparisons with NaN are false.
    let sane = (log_ratio.ge(-DIVERGENT)? * log_ratio.lt(f64::INFINITY)?)?;
    let outside = (log_ratio.eq(f64::NEG_INFINITY)? * energy.abs()?.lt(f64::INFINITY)?)?;
    Ok((sane + outside)?.eq(0.0)?.to_dtype(log_ratio.dtype())?)
}

/// `stepped` with what measures of chains look at besides: `divergent` and, where step sizes adapt, `step_size` and `at_limit`. It came from `from` by moves along the
/// gradient of step sizes `sizes`, with this log ratio `(B,)` and energy `(B,)` at the proposal. In training it is as it was.
///
/// # Errors
/// If an operation fails.
pub fn diagnosed(
    stepped: Stepped,
    from: &ChainState,
    (step, sizes): (&StepSize, &Sizes),
    log_ratio: &Tensor,
    energy: &Tensor,
) -> Result<Stepped> {
    if from.learning == Learning::Follow {
        return Ok(stepped);
    }
    let stepped = stepped.with("divergent", divergent(log_ratio, energy)?);
    Ok(match step.at_limit(from, sizes)? {
        Some(at_limit) => {
            let n = from.at.len();
            let all: Vec<f64> = (0..n).map(|row| sizes.at(row)).collect();
            stepped.with("at_limit", at_limit).with("step_size", Tensor::from_vec(all, n, &Device::Cpu)?)
        }
        None => stepped,
    })
}

/// `−∞` where a coordinate of the row leaves `range`, else 0, `(B,)`: added to a log ratio it
/// restricts the target to the box. None without a range.
///
/// # Errors
/// If an operation fails.
pub fn outside(x: &Tensor, range: Option<(f64, f64)>) -> Result<Option<Tensor>> {
    let Some((low, high)) = range else { return Ok(None) };
    let inside = flat_rows(&within(x, low, high)?)?.min(1)?;
    let zero = inside.zeros_like()?;
    let barrier = (&zero - f64::INFINITY)?;
    Ok(Some(inside.gt(0.5)?.where_cond(&zero, &barrier)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_move_diverges_by_its_error_and_not_by_leaving_its_box() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let ratio = Tensor::new(&[-999.0f64, -1001.0, nan, -inf, -inf, inf, 5.0], &Device::Cpu).unwrap();
        let energy = Tensor::new(&[1.0, 1.0, nan, 1.0, inf, -inf, 1.0], &Device::Cpu).unwrap();
        let want = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0];
        assert_eq!(divergent(&ratio, &energy).unwrap().to_vec1::<f64>().unwrap(), want);
        // The same by tensor operations, as for tensors that do not lie in one piece.
        let strided =
            |t: &Tensor| Tensor::stack(&[t, t], 1).unwrap().narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
        let (ratio, energy) = (strided(&ratio), strided(&energy));
        assert!(!ratio.is_contiguous());
        assert_eq!(divergent(&ratio, &energy).unwrap().to_vec1::<f64>().unwrap(), want);
    }
}
