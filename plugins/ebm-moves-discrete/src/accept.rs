//! The accept test of moves by the slope.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Batch, ChainState, Key, Link, Result, Slope, Stepped, host, per_row};

/// The step to `there` where it is accepted by `E(here) − E(there) + log_ratio`, the last the logarithm of the ratio of the proposals,
/// backwards over forwards, of each row; elsewhere the chain stays. `None` for `log_ratio` accepts all.
pub(crate) fn decide(
    state: &ChainState,
    (here, at, there): (&Slope, &Batch, &Slope),
    log_ratio: Option<&[f64]>,
    key: Key,
) -> Result<Stepped> {
    let (old, new) = (host::numbers(&here.energy)?, host::numbers(&there.energy)?);
    let taken: Vec<u8> = match log_ratio {
        None => vec![1; old.len()],
        Some(ratio) => {
            let chance = |row: usize| old[row] - new[row] + ratio[row];
            let ids = at.chains.ids().iter().enumerate();
            // A comparison with NaN rejects.
            ids.map(|(row, id)| u8::from(key.uniform_at(*id) < chance(row).exp())).collect()
        }
    };
    let mask = Tensor::from_vec(taken, old.len(), &Device::Cpu)?.to_device(at.device())?;
    let select = |new: &Tensor, old: &Tensor| -> Result<Tensor> {
        Ok(per_row(&mask, new)?.broadcast_as(new.shape())?.where_cond(new, old)?)
    };
    let slope =
        Slope { energy: select(&there.energy, &here.energy)?, grad: select(&there.grad, &here.grad)? };
    let mut next = state.advance(select(&at.x, &state.at.x)?);
    next.cache = Some(slope.clone());
    // Link::Cut: which state a chain goes to has no derivative.
    Ok(Stepped::new(next, Link::Cut)
        .with("energy", slope.energy)
        .with("accepted", mask.to_dtype(at.dtype())?))
}
