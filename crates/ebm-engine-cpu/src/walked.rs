//! A whole walk as the energy trait returns it, from an engine that walks on slices.

use candle_core::{Device, Tensor};
use ebm_core::{Batch, Error, Result, Walked};

use crate::dense::WalkOut;

/// Calls `walk` with room for `steps` steps of the chains of `at`, whose samples start as `x`.
///
/// # Errors
/// If a row lacks its chain index, or `walk` fails.
pub(crate) fn walked(
    at: &Batch,
    mut x: Vec<f32>,
    steps: usize,
    walk: impl FnOnce(&[u64], WalkOut<'_>) -> Result<()>,
) -> Result<Walked> {
    let b = at.len();
    if at.chains.len() != b {
        let hint = "give every row its chain index";
        return Err(Error::shape("chains of the batch", &[at.chains.len()], format!("({b},)"), hint));
    }
    let (mut hat, mut grad) = (vec![0f32; x.len()], vec![0f32; x.len()]);
    let (mut energy, mut square) = (vec![0f32; b * steps], vec![0f32; b * steps]);
    let out =
        WalkOut { x: &mut x, hat: &mut hat, grad: &mut grad, energy: &mut energy, grad_square: &mut square };
    walk(at.chains.ids(), out)?;
    let like_x = |v: Vec<f32>| Tensor::from_vec(v, at.x.dims(), &Device::Cpu);
    let by_step = |v: Vec<f32>| Tensor::from_vec(v, (b, steps), &Device::Cpu)?.t()?.contiguous();
    Ok(Walked {
        x: like_x(x)?,
        hat: like_x(hat)?,
        grad: like_x(grad)?,
        energy: by_step(energy)?,
        grad_square: by_step(square)?,
    })
}
