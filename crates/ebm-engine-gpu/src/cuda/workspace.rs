//! Memory of libraries, which lasts, and cuBLAS's own.

use candle_core::cuda::cudarc::cublas::sys as cublas;
use candle_core::cuda::cudarc::driver::DevicePtr;
use candle_core::{CudaDevice, Error, Result};

use super::graph::recording;

/// Bytes of it, as its documentation has them for Hopper (section cublasSetWorkspace).
const BYTES: usize = 32 << 20;

/// The address of so many bytes that are never given back, as the device is never closed and recordings go on to use them.
///
/// # Errors
/// If there are none; in a recording, whose own memory they would be: a step that wants them started other work than the one that was run before it,
/// and is run too.
pub(super) fn lasting(device: &CudaDevice, bytes: usize) -> Result<u64> {
    let stream = device.cuda_stream();
    if recording(&stream).map_err(Error::wrap)? {
        candle_core::bail!("the step wants more memory for a library than it did when it was run")
    }
    // SAFETY: the library writes before it reads.
    let memory = unsafe { device.alloc::<u8>(bytes)? };
    let address = memory.device_ptr(&stream).0;
    std::mem::forget(memory);
    Ok(address)
}

/// The address of memory for cuBLAS.
///
/// # Errors
/// As [`lasting`].
pub(super) fn taken(device: &CudaDevice) -> Result<u64> {
    lasting(device, BYTES)
}

/// Lets cuBLAS use the memory at an address of [`taken`]: what it takes by itself may differ between steps that are run and steps that are recorded,
/// and with it the algorithm and the order of its sums.
///
/// # Errors
/// If the library refuses.
pub(super) fn give(device: &CudaDevice, address: u64) -> Result<()> {
    // SAFETY: the memory is of this length and never given back.
    let given =
        unsafe { cublas::cublasSetWorkspace_v2(*device.cublas_handle().handle(), address as *mut _, BYTES) };
    given.result().map_err(|e| Error::Msg(format!("cuBLAS: {e:?}")))
}
