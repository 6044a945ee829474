//! Numbers that come back from the device. Each read waits for all that the device has yet to do, so a training step makes few, and
//! none for a step of its sampler; they all go through here, which counts them.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};

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

/// All entries of `t` in row-major order.
///
/// # Errors
/// If it cannot be read.
pub fn numbers(t: &Tensor) -> Result<Vec<f64>> {
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
