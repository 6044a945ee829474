//! What the twins of both engines share: tensors as slices, and whole walks as the energy trait returns them.

use candle_core::{DType, Device, Storage, Tensor};
use ebm_core::{Batch, EnergyFn, Error, Result, Walked};

use crate::dense::WalkOut;
use crate::unsupported::{Unsupported, refuse};

/// The parameter `name` of `e`, if its numbers are where an engine reads them.
///
/// # Errors
/// The reason if it is not there, or not in f32 on the processor.
pub(crate) fn parameter<'e>(e: &'e dyn EnergyFn, name: &str) -> std::result::Result<&'e Tensor, Unsupported> {
    let Some(t) = e.params().get(name) else {
        return refuse(format!("the energy has no parameter `{name}`"));
    };
    if t.dtype() != DType::F32 || !t.device().is_cpu() {
        let place = format!("{:?} on {:?}", t.dtype(), t.device().location());
        return refuse(format!("parameter `{name}` is {place}, needs f32 on the processor"));
    }
    Ok(t)
}

/// Runs `f` on the entries of a tensor in f32 on the processor; copies only if they are not contiguous.
///
/// # Errors
/// If the tensor is elsewhere.
pub(crate) fn with_floats<R>(t: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let t = t.contiguous()?;
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cpu(cpu) = &*storage else {
        return Err(Error::config("engine", "a tensor left the processor between check and use"));
    };
    let start = layout.start_offset();
    Ok(f(&cpu.as_slice::<f32>()?[start..start + layout.shape().elem_count()]))
}

/// Checks that `v` has one direction for each sample of `at`.
///
/// # Errors
/// A shape error if not.
pub(crate) fn direction(engine: &str, at: &Batch, v: &Tensor) -> Result<()> {
    if v.dims() == at.x.dims() && v.dtype() == DType::F32 && v.device().is_cpu() {
        return Ok(());
    }
    let want = format!("a direction like the samples, {:?} in f32", at.x.dims());
    let hint = "give one direction a sample, in the samples' dtype and on their device";
    Err(Error::shape(engine, v.dims(), want, hint))
}

/// The numbers of weights `(B, T)` for terms of this shape.
///
/// # Errors
/// A shape error if they differ.
pub(crate) fn term_weights(w: &Tensor, dims: &[usize]) -> Result<Vec<f32>> {
    if w.dims() != dims {
        let want = format!("{dims:?} as the terms");
        return Err(Error::shape("weights of the terms", w.dims(), want, "return one weight a term"));
    }
    Ok(w.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

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
