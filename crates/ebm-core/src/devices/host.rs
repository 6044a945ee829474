//! Numbers that come back from the device. Each read waits for all that the device has yet to do, so a training step makes few, and
//! none for a step of its sampler; they all go through here, which counts them.

use std::cell::Cell;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use super::operators::operators;
use crate::Result;

thread_local!(static READS: Cell<u64> = const { Cell::new(0) });

/// How many times this thread has read numbers of tensors.
pub fn reads() -> u64 {
    READS.get()
}

/// Counts a read that is made in another way.
pub fn count() {
    READS.set(READS.get() + 1);
}

/// The one entry of `t`.
///
/// # Errors
/// If it has another number of entries, or cannot be read.
pub fn scalar(t: &Tensor) -> Result<f64> {
    count();
    // Not every device has f64.
    Ok(t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.reshape(())?.to_scalar::<f64>()?)
}

/// `t` on the processor in f64, which not every device has: what is computed in f64 is computed here.
///
/// # Errors
/// If it cannot be read.
pub fn wide(t: &Tensor) -> candle_core::Result<Tensor> {
    if !near(t) {
        count();
    }
    t.to_device(&Device::Cpu)?.to_dtype(DType::F64)
}

/// `values` `(n,)` on `device` in `dtype`, rounded by the processor: not every device has f64 to round from.
///
/// # Errors
/// If the device has no room.
pub fn given(values: &[f64], dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
    Tensor::new(values, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// All entries of `t` in row-major order.
///
/// # Errors
/// If it cannot be read.
pub fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    if let Some(all) = on_slice(t, |v| v.iter().map(|v| f64::from(*v)).collect(), <[f64]>::to_vec) {
        return Ok(all);
    }
    count();
    Ok(t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
}

/// [`numbers`] in f32.
///
/// # Errors
/// If it cannot be read.
pub fn singles(t: &Tensor) -> Result<Vec<f32>> {
    count();
    Ok(t.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
}

/// Whether the numbers of `t` are the processor's own, so that reading them waits for nothing. A processor whose operators were
/// installed counts as a device, so that what is done on one can be tried.
pub fn near(t: &Tensor) -> bool {
    t.device().is_cpu() && operators(t.device()).is_none()
}

/// Runs `f32s` or `f64s` on the values of `t` if they lie in one piece [near](near).
pub fn on_slice<R>(t: &Tensor, f32s: impl FnOnce(&[f32]) -> R, f64s: impl FnOnce(&[f64]) -> R) -> Option<R> {
    if !near(t) {
        return None;
    }
    let (storage, layout) = t.storage_and_layout();
    let (start, end) = layout.contiguous_offsets()?;
    let result = match &*storage {
        Storage::Cpu(CpuStorage::F32(v)) => f32s(&v[start..end]),
        Storage::Cpu(CpuStorage::F64(v)) => f64s(&v[start..end]),
        _ => return None,
    };
    count();
    Some(result)
}
