//! The Metropolis decision and the masks that follow from it.

use candle_core::Tensor;
use ebm_core::{ChainState, Chains, Key, Link, Result, Slope, Stepped, per_row};

use crate::rows;

/// Which proposals are taken.
pub(crate) struct Decision {
    taken: Taken,
    /// The same in the dtype of the samples.
    pub(crate) accepted: Tensor,
    /// `min(1, exp log_ratio)`, `(B,)`: what adaptation averages (less noisy than `accepted`).
    pub(crate) chance: Tensor,
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
    /// or infinite (the energy left its domain) is a rejection.
    pub(crate) fn draw(log_ratio: &Tensor, chains: &Chains, key: Key) -> Result<Self> {
        if let Some((taken, accepted, chance)) = rows::decide(log_ratio, chains, key)? {
            return Ok(Decision { taken: Taken::Rows(taken), accepted, chance });
        }
        let zero = log_ratio.zeros_like()?;
        // |r| < ∞ is false for NaN too.
        let finite = log_ratio.abs()?.lt(f64::INFINITY)?;
        let below = log_ratio.minimum(&zero)?.exp()?;
        let chance = finite.where_cond(&below, &zero)?;
        let u = key.uniform(chains, &[], log_ratio.dtype(), log_ratio.device())?;
        let taken = u.lt(&chance)?;
        Ok(Decision { accepted: taken.to_dtype(log_ratio.dtype())?, taken: Taken::Mask(taken), chance })
    }

    /// Rows of `new` where the proposal is taken, rows of `old` elsewhere.
    pub(crate) fn select(&self, new: &Tensor, old: &Tensor) -> Result<Tensor> {
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

    /// The step that follows: to the proposal `(x, there)` where it is taken; elsewhere the chain stays, where its slope is `here`.
    pub(crate) fn step(
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
            .with("grad_square", row_mean(&slope.grad.sqr()?)?)
            .with("energy", slope.energy)
            .with("accepted", self.accepted))
    }

    /// The mask as a factor that broadcasts over samples like `like`.
    pub(crate) fn factor(&self, like: &Tensor) -> Result<Tensor> {
        per_row(&self.accepted, like)
    }
}

/// 1 where `low ≤ t ≤ high` (bounds included), else 0, in the dtype of `t`.
pub(crate) fn within(t: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    Ok((t.ge(low)? * t.le(high)?)?.to_dtype(t.dtype())?)
}

/// Mean over the coordinates of each row, `(B,)`.
pub(crate) fn row_mean(t: &Tensor) -> Result<Tensor> {
    Ok(flat(t)?.mean(1)?)
}

/// Sum over the coordinates of each row, `(B,)`.
pub(crate) fn row_sum(t: &Tensor) -> Result<Tensor> {
    Ok(flat(t)?.sum(1)?)
}

fn flat(t: &Tensor) -> Result<Tensor> {
    let b = t.dims().first().copied().unwrap_or(0);
    Ok(t.reshape((b, t.elem_count() / b.max(1)))?)
}

/// `−∞` where a coordinate of the row leaves `range`, else 0, `(B,)`: added to a log ratio it
/// restricts the target to the box.
pub(crate) fn outside(x: &Tensor, range: Option<(f64, f64)>) -> Result<Option<Tensor>> {
    let Some((low, high)) = range else { return Ok(None) };
    let inside = flat(&within(x, low, high)?)?.min(1)?;
    let zero = inside.zeros_like()?;
    let barrier = (&zero - f64::INFINITY)?;
    Ok(Some(inside.gt(0.5)?.where_cond(&zero, &barrier)?))
}
